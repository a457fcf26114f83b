"""Nothing that this package opens reports to anybody, unless the user says so."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from traces import HAS_PROC, VARIABLES_OF_REPORTS, run, strace

from sleap_infer.system import runtimes

SET = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0"}
PACKAGE = "openvino_telemetry"
needs_proc = pytest.mark.skipif(not HAS_PROC, reason="processes are looked for in /proc")

EVERYTHING = """
import importlib, json, sys, threading
import sleap_infer
from sleap_infer.doctor import probe_main as probe
answers = {name: probe.run_backend(name, "cpu", lambda stage: None) for name in ("onnx", "mnn", "openvino")}
for name in "torch sleap_io cv2 av onnx onnxscript pyarrow h5py rich typer scipy.optimize".split():
    importlib.import_module(name)
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
reports = sys.modules.get("openvino_telemetry") is not None
print(json.dumps({"answers": answers, "threads": threads, "reports": reports}))
"""


@pytest.fixture(autouse=True)
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing sleap_infer has switched off reports of this process already."""
    for name in VARIABLES_OF_REPORTS:
        monkeypatch.setenv(name, "")  # so that its value comes back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)


def settings() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in SET}


def test_reports_are_off() -> None:
    assert runtimes.import_runtime("json.decoder") is sys.modules["json.decoder"]
    assert settings() == SET
    assert sys.modules[PACKAGE] is None
    with pytest.raises(ImportError):
        __import__(PACKAGE)


def test_what_the_user_set_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setitem(sys.modules, PACKAGE, json)  # the program has imported it
    runtimes.switch_reports_off()
    assert settings() == SET | {"ORT_DISABLE_TELEMETRY": "0", "RAY_USAGE_STATS_ENABLED": "1"}
    assert sys.modules[PACKAGE] is json


@pytest.mark.parametrize(
    ("allowed", "expected", "is_kept_out"),
    [
        ("all", dict.fromkeys(SET), False),
        ("openvino", SET, False),
        (" onnxruntime , ray", dict.fromkeys(SET), True),
        ("", SET, True),
    ],
)
def test_what_the_user_allows(
    allowed: str, expected: dict[str, str], is_kept_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(runtimes.ALLOW_VARIABLE, allowed)
    runtimes.switch_reports_off()
    assert settings() == expected
    assert (PACKAGE in sys.modules) == is_kept_out


@needs_proc
def test_runtimes_leave_nothing(tmp_path: Path) -> None:
    """No file in a new home, no connection, no thread, no process."""
    found = run(["-c", EVERYTHING], tmp_path, SLEAP_INFER_CACHE=str(tmp_path / "cache"))
    assert found.code == 0, found.text
    said = json.loads(found.text.splitlines()[-1])
    assert [name for name in said["threads"] if not name.startswith("CPU stream")] == []  # but our own
    assert not said["reports"]
    assert all(answer["device"] == "cpu" for answer in said["answers"].values())
    assert found.files == frozenset()
    assert found.processes == ()
    if found.connections is None:
        pytest.skip("connections were not looked for: there is no strace here that works")
    assert found.connections == ()


@pytest.mark.skipif(not strace(), reason="needs strace")
def test_connections_are_seen(tmp_path: Path) -> None:
    """The other tests would notice a connection."""
    code = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('192.0.2.99', 9))"
    assert run(["-c", code], tmp_path).connections == ("192.0.2.99",)
