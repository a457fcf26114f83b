"""Child processes end with who asked for them, and take all that they started with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from traces import MARK, end_left, left

from sleap_infer.system import child_process as children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the subreaper is Linux only")

HANGS = "import time; time.sleep(600)"
FAMILY = f"""import os, subprocess, sys, time
for alone in (False, True):
    subprocess.Popen([sys.executable, "-S", "-c", {HANGS!r}], start_new_session=alone)
if os.fork() == 0:  # as multiprocessing and openvino-telemetry do, with all that is open
    time.sleep(600)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""
"""Has three children that hang, one of them in a session of its own; writes its process id."""

ASKER = f"""import sys, time
from sleap_infer.system import child_process as children
process = children.start([sys.executable, "-S", "-c", {FAMILY!r}, sys.argv[1]])
process.wait()
time.sleep(600)
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Of all processes that a test starts."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return value


def pid_in(note: Path) -> int:
    end = time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(note.read_text())


@pytest.mark.parametrize("killed", ["the asker", "the child", "the asker and the child"])
def test_whoever_is_killed_nothing_is_left(killed: str, tmp_path: Path, mark: str) -> None:
    asker = subprocess.Popen([sys.executable, "-c", ASKER, str(tmp_path / "pid")])
    child = pid_in(tmp_path / "pid")
    if "child" in killed:
        os.kill(child, signal.SIGKILL)
    if "asker" in killed:
        asker.kill()
        asker.wait()
        assert left(mark) == ()
        return
    end = time.monotonic() + 10
    while len(left(mark, 0.0)) > 1 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(left(mark, 0.0)) == 1, "nothing but who asked"
    asker.kill()
    asker.wait()


@pytest.mark.parametrize("is_subreaper_killed", [False, True])
def test_ending_a_child_ends_its_family(is_subreaper_killed: bool, tmp_path: Path, mark: str) -> None:
    process = children.start([sys.executable, "-S", "-c", FAMILY, str(tmp_path / "pid")])
    pid_in(tmp_path / "pid")
    if is_subreaper_killed:
        process.kill()
    children.end(process)
    in_other_sessions = 1 if is_subreaper_killed else 0  # only the subreaper can end these
    assert len(left(mark, 3.0)) <= in_other_sessions
    end_left(mark)


def test_pipes_end_with_the_child(tmp_path: Path, mark: str) -> None:
    """A forked child that hangs has the pipe open. Whoever reads it must not wait for ever."""
    code = "import os, sys, time\nif os.fork() == 0: time.sleep(600)\nprint('done', flush=True)"
    process = children.start([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read() == b"done\n"
    assert process.wait() == 0
    process.stdout.close()
    assert left(mark) == ()


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sys.exit(0)", 0), ("sys.exit(7)", 7), ("os.abort()", -signal.SIGABRT), ("os.kill(os.getpid(), 9)", -9)],
)
def test_it_ends_as_the_command_did(code: str, expected: int) -> None:
    process = children.start([sys.executable, "-S", "-c", f"import os, sys; {code}"], stderr=subprocess.DEVNULL)
    assert process.wait() == expected


def test_it_outlives_the_thread_that_asked(tmp_path: Path) -> None:
    """The kernel ties a child to the thread that started it."""
    started = []
    command = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
    thread = threading.Thread(target=lambda: started.append(children.start(command, stdin=subprocess.PIPE)))
    thread.start()
    thread.join()
    time.sleep(0.5)
    assert started[0].poll() is None
    started[0].stdin.close()
    assert started[0].wait() == 0


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    process = children.start([str(tmp_path / "none")], stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"cannot be started: No such file" in process.stderr.read()
    assert process.wait() == 1
    process.stderr.close()


def child(code: str, limit_s: float | None = None) -> children.Child:
    return children.Child([sys.executable, "-S", "-c", code], limit_s=limit_s)


def test_messages_among_noise() -> None:
    code = """import json, sys
request = json.loads(sys.stdin.readline())
print("noise"); print([1]); print(json.dumps({"stage": "working"}))
print(json.dumps({"answer": request["number"] + 1}), flush=True)"""
    with child(code) as asked:
        assert list(asked.messages({"number": 1})) == [{"stage": "working"}, {"answer": 2}]
        assert asked.ending() == children.ProcessEnd(0)


@pytest.mark.parametrize(
    ("code", "reason", "is_out_of_memory"),
    [
        ("sys.exit(3)", "ended with exit code 3", False),
        ("os.abort()", "ended by SIGABRT", False),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL (as when memory runs out)", True),
    ],
)
def test_how_a_child_ended(code: str, reason: str, is_out_of_memory: bool) -> None:
    with child(
        f"import os, sys; sys.stderr.write('one\\n\\ntwo\\nthree\\nfour\\n'); sys.stderr.flush(); {code}"
    ) as ended:
        assert list(ended.messages()) == []
        end = ended.ending()
    assert (end.reason, end.is_out_of_memory) == (reason, is_out_of_memory)
    assert end.last_lines() == "two / three / four"


def test_a_child_that_hangs_is_stopped(mark: str) -> None:
    with child(HANGS, limit_s=0.5) as hanging:
        assert list(hanging.messages()) == []
        assert hanging.ending().reason == "stopped after 0.5 s"
    assert left(mark) == ()


def test_leaving_ends_the_child(mark: str) -> None:
    with child(HANGS) as hanging:
        assert hanging.pid > 0
    assert left(mark) == ()


def test_an_exit_code_of_windows() -> None:
    assert children.ProcessEnd(0xC0000005).reason == "ended by access violation"


def test_descendants_are_killed_also_in_other_sessions(tmp_path: Path, mark: str) -> None:
    """As on macOS, where no process supervises the child."""
    process = subprocess.Popen([sys.executable, "-S", "-c", FAMILY, str(tmp_path / "pid")])
    pid_in(tmp_path / "pid")
    family = children.descendants(process.pid)
    assert len(family) == 3
    process.kill()
    process.wait()
    children.kill_all(family)
    assert left(mark) == ()
    assert children.descendants(process.pid) == []
    children.kill_all(family)
