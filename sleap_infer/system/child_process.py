"""Start and end child processes, together with everything that they start.

A child ends with this process, also if this process is killed; what a child started ends with the child, also if it
hangs. On Linux, `subreaper.py` does both. On Windows (untried), a job object of the kernel does. On macOS, a child
leads a process group, and ends when its stdin does.
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

SUBREAPER = Path(__file__).with_name("subreaper.py")

GRACE_S = 5.0
"""Time for the subreaper of a child to end a few processes."""

_jobs: dict[int, Any] = {}
"""Windows: job objects by process id; the kernel ends their processes when the last handle is closed."""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a child process.

    Args:
        command: program and arguments.
        options: of `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    if sys.platform == "win32":
        process = subprocess.Popen(command, **options)
        _jobs[process.pid] = _job_with(process)
        return process
    if sys.platform != "linux":
        return subprocess.Popen(command, start_new_session=True, **options)
    supervised = (sys.executable, "-I", "-S", str(SUBREAPER), str(os.getpid()), *command)
    # The kernel ends the child with the thread that started it, so that one has to last as long as this process.
    return (
        _starter(os.getpid()).submit(lambda: subprocess.Popen(supervised, start_new_session=True, **options)).result()
    )


def end(process: subprocess.Popen[Any]) -> None:
    """End a child that `start` started, and all that it started, and wait for that."""
    if sys.platform == "win32":
        job = _jobs.pop(process.pid, None)
        if job is not None:
            import win32job

            win32job.TerminateJobObject(job, 1)
        process.wait()
        return
    if sys.platform == "linux" and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    if process.poll() is None or sys.platform != "linux" or process.returncode == -signal.SIGKILL:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def leave(code: int) -> None:
    """End this process, whose parent is gone, together with its process group if it leads one."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
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


def _job_with(process: subprocess.Popen[Any]) -> Any:
    """Return a job object of Windows that holds a process; closing its handle ends all processes in it."""
    import win32job

    job = win32job.CreateJobObject(None, "")
    kind = win32job.JobObjectExtendedLimitInformation
    limits = win32job.QueryInformationJobObject(job, kind)
    limits["BasicLimitInformation"]["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    win32job.SetInformationJobObject(job, kind, limits)
    win32job.AssignProcessToJobObject(job, int(process._handle))  # type: ignore[attr-defined]
    return job
