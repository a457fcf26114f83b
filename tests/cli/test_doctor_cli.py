"""The report of `sleap-infer doctor`, produced in this process; tests/doctor tests the checks themselves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sleap_infer.cli.app import app
from sleap_infer.cli.doctor import agreement, describe, show, together
from sleap_infer.cli.output.terminal import Terminal
from sleap_infer.doctor.machine import Gpu, Machine
from sleap_infer.doctor.report import Check, Diagnosis

MACHINE = Machine(
    os="Linux 6",
    python="3.11.7",
    executable="/python",
    cpu="A CPU",
    cores=2,
    memory_gb=24.0,
    gpus=(Gpu("A GPU", 80.0),),
    driver="550.54",
    driver_cuda="12.4",
)


def check(name: str, state: str, cause: str = "", fix: str = "") -> Check:
    return Check(
        name=name,
        kind="backend",
        device="cpu",
        state=state,  # type: ignore[arg-type]
        packages={},
        agreement=None if state != "ok" else 0.0004,
        unit="px",
        ms=1.25 if state == "ok" else None,
        cause=cause,
        fix=fix,
    )


def test_failed_checks_come_first_and_commands_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "pip install " + " ".join(f"package-number-{number}" for number in range(12))
    checks = (check("onnx", "ok"), check("nvdec", "absent", "not installed"), check("torch", "failed", "broken", long))
    show(Diagnosis(machine=MACHINE, checks=checks), Terminal())
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert f"    {long}" in lines
    assert shown.index("broken") < shown.index("not installed")
    assert "< 0.001 px" in shown
    assert lines[-1] == "1 of 3 checks failed."


def test_checks_with_one_cause_are_named_together() -> None:
    same = [check(name, "failed", "no driver", "sudo reboot") for name in ("torch", "onnx")]
    groups = together(Diagnosis(machine=MACHINE, checks=(*same, check("video", "ok"))))
    assert [[item.name for item in group] for group in groups] == [["torch", "onnx"]]


def test_a_machine_in_lines() -> None:
    assert describe(MACHINE) == [
        "Linux 6, Python 3.11.7",
        "CPU: A CPU, 2 cores, 24 GB",
        "GPU 0: A GPU, 80 GB",
        "NVIDIA driver 550.54, for CUDA up to 12.4",
    ]
    assert agreement(check("torch", "failed")) == ""


def test_the_command_in_text_and_json() -> None:
    shown = CliRunner().invoke(app, ["doctor", "--only", "images"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == "Nothing is broken."
    (found,) = json.loads(CliRunner().invoke(app, ["doctor", "--only", "images", "--json"]).stdout)["checks"]
    assert (found["name"], found["state"]) == ("images", "ok")
