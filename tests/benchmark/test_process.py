"""Worker processes that die, hang, babble or leave children behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sleap_infer.benchmark.protocol import BackendReasons, CheckBackends, Measure, Setup
from sleap_infer.benchmark.worker_handle import CACHE_VARIABLES, COMMAND, Failure, Workers

TASK = CheckBackends(("torch",), "cpu")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="process groups")


def workers(tmp_path: Path, program: str, timeout: float = 60.0) -> Workers:
    return Workers(tmp_path, timeout, (sys.executable, "-c", program))


def ask(tmp_path: Path, program: str, timeout: float = 60.0) -> BackendReasons | Failure:
    return workers(tmp_path, program, timeout).run(TASK, BackendReasons, "cache")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def wait_until_dead(pid: int) -> bool:
    end = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_an_answer_among_noise(tmp_path: Path) -> None:
    program = """print('hello'); print('[1]'); print('{"stage": "working"}')
print('{"answer": {"by_backend": {"torch": null}}}', flush=True)"""
    assert ask(tmp_path, program) == BackendReasons({"torch": None})


def test_the_task_arrives_as_one_line(tmp_path: Path) -> None:
    program = """import json, sys
task = json.loads(sys.stdin.readline())
print(json.dumps({"answer": {"by_backend": {task["task"] + task["device"]: str(sorted(task))}}}))"""
    assert ask(tmp_path, program) == BackendReasons({"CheckBackendscpu": "['backends', 'begun', 'device', 'task']"})


def test_a_refusal_keeps_its_kind(tmp_path: Path) -> None:
    found = ask(tmp_path, """print('{"error": "no such thing", "kind": "OptionError"}')""")
    assert found == Failure("no such thing", "OptionError")


def test_an_exit_code_and_last_words(tmp_path: Path) -> None:
    program = """import sys
print('{"stage": "opening the model"}', flush=True)
sys.stderr.write("one\\ntwo\\n\\nthree\\nfour\\n")
sys.exit(3)"""
    assert ask(tmp_path, program) == Failure("ended with exit code 3 while opening the model: two / three / four")


@needs_posix
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_is_named(tmp_path: Path, name: str) -> None:
    found = ask(tmp_path, f"import os, signal; os.kill(os.getpid(), signal.{name})")
    assert isinstance(found, Failure)
    assert found.reason.startswith(f"ended by {name}")
    assert found.error == ""


def test_one_that_hangs_is_stopped(tmp_path: Path) -> None:
    found = ask(tmp_path, """import time; print('{"stage": "waiting"}', flush=True); time.sleep(600)""", timeout=1.0)
    assert found == Failure("stopped after 1 s while waiting")


@needs_posix
def test_children_go_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = f"""import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(note)!r}, "w").write(str(child.pid))
print('{{"answer": {{"by_backend": {{}}}}}}', flush=True)"""
    assert ask(tmp_path, program) == BackendReasons({})
    assert wait_until_dead(int(note.read_text(encoding="ascii")))


@needs_posix
def test_it_goes_with_whoever_asked(tmp_path: Path) -> None:
    """Also when that one is killed and can do nothing about it."""
    note = tmp_path / "pid"
    worker = f"""import os, sys, threading, time
from sleap_infer.benchmark import worker_main as worker
def do(task, python_s, progress):
    open({str(note)!r}, "w").write(str(os.getpid()))
    time.sleep(600)
worker.do = do
worker.main()"""
    asking = f"""import sys
from pathlib import Path
from sleap_infer.benchmark.worker_handle import Workers
from sleap_infer.benchmark.protocol import CheckBackends, BackendReasons
Workers(Path({str(tmp_path)!r}), 600, (sys.executable, "-c", {worker!r})).run(
    CheckBackends(("torch",), "cpu"), BackendReasons, "cache")"""
    process = subprocess.Popen([sys.executable, "-c", asking])
    end = time.monotonic() + 60
    while not note.exists() or not note.read_text(encoding="ascii"):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until_dead(int(note.read_text(encoding="ascii")))


@needs_posix
def test_it_goes_when_the_asking_is_interrupted(tmp_path: Path) -> None:
    """As by Ctrl-C."""
    note = tmp_path / "pid"
    worker = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    asking = f"""import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background may be told to ignore it
from pathlib import Path
from sleap_infer.benchmark.worker_handle import Workers
from sleap_infer.benchmark.protocol import CheckBackends, BackendReasons
Workers(Path({str(tmp_path)!r}), 600, (sys.executable, "-c", {worker!r})).run(
    CheckBackends(("torch",), "cpu"), BackendReasons, "cache")"""
    process = subprocess.Popen([sys.executable, "-c", asking], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not note.exists() or not note.read_text(encoding="ascii"):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert wait_until_dead(int(note.read_text(encoding="ascii")))


def test_nothing_is_taken_from_the_users_cache(tmp_path: Path) -> None:
    program = """import json, os
names = ("SLEAP_INFER_CACHE", "TORCHINDUCTOR_CACHE_DIR")
print(json.dumps({"answer": {"by_backend": {name: os.environ[name] for name in names}}}))"""
    found = ask(tmp_path, program)
    assert isinstance(found, BackendReasons)
    assert set(found.by_backend.values()) == {str(tmp_path / "caches" / "cache")}
    assert set(found.by_backend) <= set(CACHE_VARIABLES)


def test_the_worker_itself_tells_what_it_was_refused(tmp_path: Path) -> None:
    setup = Setup((str(tmp_path / "none"),), "onnx", None, "cpu", 1)
    task = Measure(setup, "none.mp4", 1, True, False, str(tmp_path))
    found = Workers(tmp_path, 60, COMMAND).run(task, BackendReasons, "cache")
    assert isinstance(found, Failure)
    assert found.error == "ModelNotFoundError"
    assert "there is no such file or directory" in found.reason


def test_what_libraries_print_does_not_confuse(tmp_path: Path) -> None:
    program = """from sleap_infer.benchmark import worker_main as worker
from sleap_infer.benchmark.protocol import BackendReasons
def do(task, python_s, progress):
    print('{"answer": "nonsense"}', flush=True)
    progress("importing")
    assert 0 < python_s < 600
    return BackendReasons({"torch": "none"})
worker.do = do
worker.main()"""
    assert ask(tmp_path, program) == BackendReasons({"torch": "none"})


def test_an_error_that_is_not_ours_is_a_failure_without_a_kind(tmp_path: Path) -> None:
    program = """from sleap_infer.benchmark import worker_main as worker
def do(task, python_s, progress):
    raise RuntimeError("out of cheese")
worker.do = do
worker.main()"""
    assert ask(tmp_path, program) == Failure("RuntimeError: out of cheese")
