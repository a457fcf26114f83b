"""Every command, in a new home: the files, connections and processes that it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from traces import HAS_PROC, Traces, run

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="processes are looked for in /proc")

OURS = (".cache/sleap_infer/", ".local/state/sleap_infer/")


def check(found: Traces, code: int | None = 0) -> None:
    """Nothing outside of our cache, nobody called, nobody left."""
    assert code is None or found.code == code, found.text
    assert {name for name in found.files if not name.startswith(OURS)} == set()
    assert found.processes == ()
    assert found.connections in (None, ()), found.connections


def single(models: Path, videos: Path) -> list[str]:
    return [str(videos / "one_fly.mp4"), "-m", str(models / "single_instance"), "-n", "4"]


def test_a_job_on_openvino(videos: Path, tmp_path: Path) -> None:
    """A worker that opens an exported model ends within the seconds in which OpenVINO's report would hang."""
    source, output = [str(videos / "two_flies.mp4"), "-m", str(videos.parent / "doctor"), "-n", "4"], tmp_path / "a.slp"
    check(run(["-m", "sleap_infer", "predict", *source, "-r", "openvino", "-o", str(output)], tmp_path))
    assert output.exists()


@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["torch", "onnx", "mnn", "openvino", "auto"])
def test_jobs(backend: str, models: Path, videos: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out.slp")
    check(run(["-m", "sleap_infer", "predict", *single(models, videos), "-r", backend, "-o", output], tmp_path))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "command", ["info", "cache", "export", "validate", "doctor", "demo", "live", "merge", "benchmark"]
)
def test_commands(command: str, models: Path, videos: Path, tmp_path: Path) -> None:
    model, video, out = str(models / "single_instance"), str(videos / "one_fly.mp4"), str(tmp_path / "out")
    arguments = {
        "info": [model],
        "export": [model, "-o", out],
        "demo": ["-o", out],
        "live": [video, "-m", model, "-n", "4"],
        "merge": [str(tmp_path)],
        "benchmark": [model, video, "-n", "8", "-r", "onnx", "--repeats", "1", "-o", str(tmp_path / "report.json")],
        "validate": [out, "-m", model, "--n-frames", "2"],
    }
    if command == "validate":
        check(run(["-m", "sleap_infer", "export", *arguments["export"]], tmp_path))
    codes = {"merge": 2, "doctor": None}  # there is no journal; what works here does not matter
    check(run(["-m", "sleap_infer", command, *arguments.get(command, [])], tmp_path), codes.get(command, 0))
