"""A worker process, seen from the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from sleap_infer import errors
from sleap_infer.errors import SleapInferError, WorkerError
from sleap_infer.jobs.run.protocol import Answer, Done, Failed, Look, Looked, Open, Opened, Request, Run, receive, send
from sleap_infer.system import child_process as children

if TYPE_CHECKING:
    from sleap_infer.jobs.run.worker_session import Session

Tell: TypeAlias = Callable[[Answer], None]

COMMAND = (sys.executable, "-m", "sleap_infer.jobs.run.worker_main")
LAST_WORDS = 600
OUT_OF_MEMORY = (-9, 137)
"""Exit codes of a process that the system killed, as it does where memory runs out."""


class Crash(Exception):
    """A worker process ended in the middle of its work.

    Attributes:
        code: its exit code; negative for a signal.
        words: the last lines that it wrote.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(describe_end(code) + words)
        self.code = code
        self.words = words

    @property
    def is_memory(self) -> bool:
        """Whether memory may have run out."""
        return self.code in OUT_OF_MEMORY


class WorkerProcess:
    """One worker; a context manager.

    Args:
        command: that starts it.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self._errors: IO[bytes] | None = None

    def start(self) -> None:
        """Start the process, if it does not run.

        Raises:
            WorkerError: it cannot be started.
        """
        self._started()

    def ask(self, request: Request, tell: Tell) -> None:
        """Have something done.

        Args:
            request: what.
            tell: takes what happens, as it happens.

        Raises:
            SleapInferError: it cannot be done.
            Crash: the process is gone.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it may be dead; the answer says so
            send(process.stdin, request)
        while (answer := receive(process.stdout)) is not None:
            if isinstance(answer, Failed):
                raise as_error(answer)
            tell(answer)
            if isinstance(answer, (Done, Opened, Looked)):
                return
        if self._is_over:
            raise WorkerError("The worker was stopped.")
        code = process.wait()
        words = self._last_words()
        self._discard()
        raise Crash(code, words)

    def look(self, request: Look, tell: Tell) -> Looked:
        """Have a source opened, and described.

        Args:
            request: which.
            tell: takes what else happens.

        Raises:
            SourceError: it cannot be read.
            Crash: the process is gone.
        """
        found: list[Looked] = []

        def hear(answer: Answer) -> None:
            if isinstance(answer, Looked):
                found.append(answer)
            else:
                tell(answer)

        self.ask(request, hear)
        return found[0]

    @property
    def pid(self) -> int | None:
        """Of the process that leads the worker, where it runs."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """End the process, if it runs, for good."""
        self._is_over = True
        self._discard()

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        children.end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if self._errors is not None:
            self._errors.close()

    def __enter__(self) -> WorkerProcess:
        """Enter the lifetime of the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._is_over:
            raise WorkerError("The worker was stopped.")
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
            try:
                self._process = children.start(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
                )
            except OSError as error:
                raise WorkerError(f"A worker process cannot be started: {error}") from error
        return self._process

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - LAST_WORDS, 0))
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return f" ({' / '.join(lines[-3:])})" if lines else ""


class InThisProcess:
    """What can be asked like a worker process, without one: nothing outlives a crash."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def ask(self, request: Request, tell: Tell) -> None:
        """As `WorkerProcess.ask`."""
        if isinstance(request, Open):
            from sleap_infer.jobs.run.worker_session import Session

            self._session = Session(request, tell)
        else:
            assert self._session is not None
            assert isinstance(request, Run)
            self._session.run(request, tell)

    def look(self, request: Look, tell: Tell) -> Looked:
        """As `WorkerProcess.look`."""
        from sleap_infer.jobs.run.source_facts import look

        return look(request)

    def stop(self) -> None:
        """Give the models back."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def as_error(failed: Failed) -> SleapInferError:
    """The error that another process met."""
    kind: Any = getattr(errors, failed.kind, WorkerError)
    error: SleapInferError = kind(failed.message)
    return error


def describe_end(code: int) -> str:
    """How a process ended, in words.

    >>> describe_end(3), describe_end(-6)
    ('the process ended with exit code 3', 'the process was ended by SIGABRT')
    """
    if code >= 0:
        return f"the process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"the process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
