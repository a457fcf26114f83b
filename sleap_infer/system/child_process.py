"""Start and end child processes, with everything that they start in turn.

A child ends with this process, also where this process is killed; what a child started ends with the child, also where
it hangs. On Linux `guard.py` sees to both. On macOS, a child has a process group of its own, and ends when its stdin
does; on Windows only the child itself is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

GUARD = Path(__file__).with_name("guard.py")
HAS_GUARD = sys.platform.startswith("linux")
HAS_GROUPS = os.name == "posix"

PATIENCE_S = 5.0
"""For the guard of a child, which has to end a few processes."""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a child process.

    Args:
        command: program and arguments.
        options: of `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    if not HAS_GUARD:
        return subprocess.Popen(command, start_new_session=HAS_GROUPS, **options)
    guarded = (sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *command)
    # The kernel ends the child with the thread that started it, so that one has to last as long as this process.
    return _starter(os.getpid()).submit(lambda: subprocess.Popen(guarded, start_new_session=True, **options)).result()


def end(process: subprocess.Popen[Any]) -> None:
    """End a child that `start` started, and all that it started, and wait for that."""
    if HAS_GUARD and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
    is_left = process.poll() is None or not HAS_GUARD or process.returncode == -signal.SIGKILL
    if HAS_GROUPS and is_left:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif is_left:
        process.kill()
    process.wait()


def leave(code: int) -> None:
    """End this process, a child whose asker is gone; with its process group, if it leads one."""
    if HAS_GROUPS and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(code)


def ask(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program that answers soon, and return its exit code, output and errors.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it did not answer, and was killed.
    """
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """Return the thread of a process that starts children; a fork of the process has none until it asks."""
    return ThreadPoolExecutor(1, thread_name_prefix="starts-children")
