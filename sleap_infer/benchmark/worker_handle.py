"""The parent's side of a worker process: send one task, receive one answer, and report how it ended otherwise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import IO, Any, TypeVar

from attrs import frozen

from sleap_infer.benchmark.protocol import Task
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.system import child_process as children
from sleap_infer.system.cache_directory import CACHE_VARIABLE

Kind = TypeVar("Kind")

COMMAND = (sys.executable, "-P", "-X", "faulthandler", "-m", "sleap_infer.benchmark.worker_main")
"""-P: a file `torch.py` in the working directory is not imported as PyTorch."""

CACHE_VARIABLES = (CACHE_VARIABLE, "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
TAIL_BYTES, TAIL_LINES = 4000, 3
EXIT_TIMEOUT_S = 10.0
"""Maximum time for a process to exit after it closed its output."""


@frozen
class Failure:
    """Why a task has no answer.

    Attributes:
        reason: text for people.
        error: name of the class in `sleap_infer.errors` that the worker raised; empty if it died.
    """

    reason: str
    error: str = ""


@frozen
class Workers:
    """Runs each task in a new worker process.

    Attributes:
        folder: directory of their caches, so that code compiled in an earlier run is not used.
        timeout: maximum duration of a task in seconds.
        command: starts a worker.
    """

    folder: Path
    timeout: float
    command: Sequence[str] = COMMAND

    def run(self, task: Task, kind: type[Kind], cache: str) -> Kind | Failure:
        """Run a task in a new process; the process and its children have ended when this returns.

        Args:
            task: the task.
            kind: type of the answer, see `protocol.Task`.
            cache: name of the cache; tasks with the same name share it.
        """
        variables = {name: str(self.folder / "caches" / cache) for name in CACHE_VARIABLES}
        with tempfile.TemporaryFile() as err:
            reply, ending = self._run(task, variables, err)
            if "answer" in reply:
                return from_plain(kind, reply["answer"])
            if "error" in reply:
                return Failure(reply["error"], reply.get("kind", ""))
            return Failure(f"{ending} while {reply.get('stage', 'starting')}{_last_lines(err)}")

    def _run(self, task: Task, variables: Mapping[str, str], err: IO[bytes]) -> tuple[dict[str, Any], str]:
        start = perf_counter()
        process = children.start(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            env=os.environ | variables,
            text=True,
            encoding="utf-8",
        )
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            children.end(process)

        timer = threading.Timer(self.timeout, stop)
        timer.daemon = True
        try:
            timer.start()
            return self._exchange(process, {"task": type(task).__name__, "begun": start, **to_plain(task)}, timed_out)
        finally:
            timer.cancel()
            children.end(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _exchange(
        self, process: subprocess.Popen[str], request: dict[str, Any], timed_out: threading.Event
    ) -> tuple[dict[str, Any], str]:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it may be dead already
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        reply: dict[str, Any] = {}
        for line in process.stdout:
            reply |= _read(line)
            if "answer" in reply or "error" in reply:
                return reply, ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(EXIT_TIMEOUT_S)
        ending = f"stopped after {self.timeout:g} s" if timed_out.is_set() else describe_end(process.returncode)
        return reply, ending


def describe_end(returncode: int | None) -> str:
    """Return how a process ended, as text.

    >>> describe_end(3), describe_end(-9)
    ('ended with exit code 3', 'ended by SIGKILL, as when memory runs out,')
    """
    if returncode is None:
        return "closed its output"
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in list(signal.Signals) else f"signal {-returncode}"
    return f"ended by {name}" + (", as when memory runs out," if name == "SIGKILL" else "")


def _read(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _last_lines(err: IO[bytes]) -> str:
    err.seek(max(err.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
    lines = [line.strip() for line in err.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {' / '.join(lines[-TAIL_LINES:])}" if lines else ""
