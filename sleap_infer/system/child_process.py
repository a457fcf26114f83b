"""Child processes: start one, exchange messages, find out how it ended, end it with everything that it started.

A child ends with this process, also if this process is killed; what a child started ends with the child, also if it
hangs. On Linux, `subreaper.py` does both. On Windows (untried), a job object of the kernel does. On macOS (untried),
a child ends when its stdin does, and its process group and its descendants are killed with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    import psutil

SUBREAPER = Path(__file__).with_name("subreaper.py")

GRACE_S = 5.0
"""Time for the subreaper of a child to end a few processes."""

EXIT_TIMEOUT_S = 10.0
"""Maximum time for a child to exit after it closed its output."""

TAIL_BYTES = 4000
"""End of what a child wrote to stderr that is retained."""

OUT_OF_MEMORY = (-9, 137)
"""Exit codes of a process that the system killed, as it does where memory runs out."""

WINDOWS_CRASH = 0xC0000005
"""Exit code of a process that Windows ended for an access violation."""

_jobs: dict[int, Any] = {}
"""Windows: job objects by process id; the kernel ends their processes when the last handle is closed."""


@frozen
class ProcessEnd:
    """The end of a child process.

    Attributes:
        code: exit code; negative for a signal; `None` if it did not end on its own.
        stderr: the end of what it wrote to stderr.
        stopped_after_s: its time limit in seconds, if it was ended because of that.
    """

    code: int | None
    stderr: str = ""
    stopped_after_s: float | None = None

    @property
    def is_out_of_memory(self) -> bool:
        """Return whether memory may have run out."""
        return self.code in OUT_OF_MEMORY

    @property
    def reason(self) -> str:
        """Return how it ended, as text for people that follows the name of a process.

        >>> ProcessEnd(3).reason, ProcessEnd(-9).reason
        ('ended with exit code 3', 'ended by SIGKILL (as when memory runs out)')
        """
        if self.stopped_after_s is not None:
            return f"stopped after {self.stopped_after_s:g} s"
        if self.code is None:
            return "closed its output"
        crash = crash_name(self.code)
        if not crash:
            return f"ended with exit code {self.code}"
        return f"ended by {crash}" + (" (as when memory runs out)" if crash == "SIGKILL" else "")

    def last_lines(self, count: int = 3) -> str:
        """Return the last lines of stderr that are not empty, joined by slashes."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return " / ".join(lines[-count:])


def crash_name(code: int) -> str:
    """Return the name of the signal or exception that an exit code stands for; empty for other codes.

    >>> crash_name(-6), crash_name(1)
    ('SIGABRT', '')
    """
    if code == WINDOWS_CRASH:
        return "access violation"
    if code >= 0:
        return ""
    return signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"


class Child:
    """A child process that answers on its stdout; a context manager that ends it.

    Args:
        command: program and arguments.
        variables: environment variables that are added to those of this process.
        limit_s: seconds after which it is ended; `None` for no limit.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None, limit_s: float | None = None
    ) -> None:
        self._limit_s = limit_s
        self._is_late = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        try:
            self._process = start(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **(variables or {})},
            )
        except BaseException:
            self._errors.close()
            raise
        self._timer = threading.Timer(limit_s or 0.0, self._stop)
        self._timer.daemon = True
        if limit_s is not None:
            self._timer.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Pipe to the child. Writing raises `OSError` if it has ended."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Pipe from the child."""
        assert self._process.stdout is not None
        return self._process.stdout

    def messages(self, request: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects that the child writes to stdout, one a line; other lines are ignored.

        Args:
            request: JSON object to send first, as a line.
        """
        if request is not None:
            with suppress(OSError):  # it may have ended already
                self.stdin.write(json.dumps(request).encode() + b"\n")
                self.stdin.flush()
        for line in self.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message

    def ending(self, timeout_s: float | None = EXIT_TIMEOUT_S) -> ProcessEnd:
        """Wait until the child has ended, for some seconds (`None`: without a limit), and return how."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
        tail = self._errors.read().decode(errors="replace")
        if self._is_late:
            return ProcessEnd(None, tail, self._limit_s)
        return ProcessEnd(self._process.returncode, tail)

    def close(self) -> None:
        """End the child, if it runs, and everything that it started."""
        self._timer.cancel()
        end(self._process)
        for pipe in (self.stdin, self.stdout, self._errors):
            with suppress(OSError):
                pipe.close()

    def __enter__(self) -> Child:
        """Return the child."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def _stop(self) -> None:
        self._is_late = self._process.poll() is None
        end(self._process)


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
    family = [] if sys.platform == "linux" else descendants(process.pid)
    if process.poll() is None or sys.platform != "linux" or process.returncode == -signal.SIGKILL:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if family:
        kill_all(family)
    process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Return the children of a process, their children, and so on; none if it has ended."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, except those that have ended or belong to another user."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()  # psutil compares the time of its start, so that it kills no other process of this id


def pipe_to_parent() -> IO[bytes]:
    """Return the stdout of this process, a child; from now on, libraries that print to stdout print to stderr."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def send_line(out: IO[bytes], message: Mapping[str, Any]) -> None:
    """Send a JSON object to the parent, see `Child.messages`."""
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def end_with_parent() -> None:
    """End this process, a child, when its stdin closes: its parent is gone. Nothing else may read stdin."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        leave(1)

    threading.Thread(target=wait, daemon=True).start()


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
