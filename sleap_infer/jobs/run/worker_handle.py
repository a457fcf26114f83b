"""A worker process, seen from the job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from sleap_infer import errors
from sleap_infer.errors import SleapInferError, WorkerError
from sleap_infer.jobs.run.protocol import Answer, Done, Failed, Look, Looked, Open, Opened, Request, Run, receive, send
from sleap_infer.system.child_process import Child, ProcessEnd

if TYPE_CHECKING:
    from sleap_infer.jobs.run.worker_session import Session

OnAnswer: TypeAlias = Callable[[Answer], None]

COMMAND = (sys.executable, "-m", "sleap_infer.jobs.run.worker_main")


class Crash(Exception):
    """A worker process ended in the middle of its work.

    Attributes:
        code: its exit code; negative for a signal.
        words: the last lines that it wrote.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"the process {ProcessEnd(code).reason}{words}")
        self.code = code
        self.words = words

    @property
    def is_memory(self) -> bool:
        """Return whether memory may have run out."""
        return ProcessEnd(self.code).is_out_of_memory


class WorkerProcess:
    """One worker; a context manager.

    Args:
        command: that starts it.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._child: Child | None = None
        self._is_over = False

    def start(self) -> None:
        """Start the process, if it does not run.

        Raises:
            WorkerError: it cannot be started.
        """
        self._started()

    def ask(self, request: Request, on_answer: OnAnswer) -> None:
        """Have something done.

        Args:
            request: what.
            on_answer: called with each answer at once.

        Raises:
            SleapInferError: it cannot be done.
            Crash: the process is gone.
        """
        child = self._started()
        with suppress(OSError):  # it may be dead; the answer says so
            send(child.stdin, request)
        while (answer := receive(child.stdout)) is not None:
            if isinstance(answer, Failed):
                raise as_error(answer)
            on_answer(answer)
            if isinstance(answer, (Done, Opened, Looked)):
                return
        if self._is_over:
            raise WorkerError("The worker was stopped.")
        end = child.ending(None)
        self._discard()
        words = end.last_lines()
        raise Crash(end.code or 0, f" ({words})" if words else "")

    def look(self, request: Look, on_answer: OnAnswer) -> Looked:
        """Have a source opened, and described.

        Args:
            request: which.
            on_answer: called with the other answers.

        Raises:
            SourceError: it cannot be read.
            Crash: the process is gone.
        """
        found: list[Looked] = []

        def hear(answer: Answer) -> None:
            if isinstance(answer, Looked):
                found.append(answer)
            else:
                on_answer(answer)

        self.ask(request, hear)
        return found[0]

    @property
    def pid(self) -> int | None:
        """Of the process that leads the worker, where it runs."""
        return None if self._child is None else self._child.pid

    def stop(self) -> None:
        """End the process, if it runs, for good."""
        self._is_over = True
        self._discard()

    def _discard(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def __enter__(self) -> WorkerProcess:
        """Enter the lifetime of the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _started(self) -> Child:
        if self._is_over:
            raise WorkerError("The worker was stopped.")
        if self._child is None:
            try:
                self._child = Child(self._command)
            except OSError as error:
                raise WorkerError(f"A worker process cannot be started: {error}") from error
        return self._child


class InThisProcess:
    """Runs requests in this process, with the interface of a worker process; a crash ends everything."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def ask(self, request: Request, on_answer: OnAnswer) -> None:
        """As `WorkerProcess.ask`."""
        if isinstance(request, Open):
            from sleap_infer.jobs.run.worker_session import Session

            self._session = Session(request, on_answer)
        else:
            assert self._session is not None
            assert isinstance(request, Run)
            self._session.run(request, on_answer)

    def look(self, request: Look, on_answer: OnAnswer) -> Looked:
        """As `WorkerProcess.look`."""
        from sleap_infer.jobs.run.source_facts import look

        return look(request)

    def stop(self) -> None:
        """Give the models back."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def as_error(failed: Failed) -> SleapInferError:
    """Return the error that another process met."""
    kind: Any = getattr(errors, failed.kind, WorkerError)
    error: SleapInferError = kind(failed.message)
    return error
