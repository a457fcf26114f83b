"""A worker process from the outside: one task, one answer, and whatever end it takes."""

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
"""-P: a file `torch.py` in the user's folder is not PyTorch."""

CACHE_VARIABLES = (CACHE_VARIABLE, "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
LAST_WORDS, LAST_LINES = 4000, 3
PATIENCE_S = 10.0
"""For a process that has said its last word."""


@frozen
class Failure:
    """Why a task has no answer.

    Attributes:
        reason: for people.
        error: name of the error of `sleap_infer.errors` that refused the task; empty if the process broke down.
    """

    reason: str
    error: str = ""


@frozen
class Workshop:
    """Where workers run.

    Attributes:
        folder: for their caches: what was compiled in an earlier run does not count.
        timeout: seconds that one task may take.
        command: that starts a worker.
    """

    folder: Path
    timeout: float
    command: Sequence[str] = COMMAND

    def ask(self, task: Task, kind: type[Kind], cache: str) -> Kind | Failure:
        """Have a task done by a process of its own, which is gone afterwards, with all that it started.

        Args:
            task: what to do.
            kind: of the answer, as `tasks` says.
            cache: name of the cache that it shares with other tasks of this name.
        """
        variables = {name: str(self.folder / "caches" / cache) for name in CACHE_VARIABLES}
        with tempfile.TemporaryFile() as err:
            said, ending = self._run(task, variables, err)
            if "answer" in said:
                return from_plain(kind, said["answer"])
            if "error" in said:
                return Failure(said["error"], said.get("kind", ""))
            return Failure(f"{ending} while {said.get('stage', 'starting')}{_last_words(err)}")

    def _run(self, task: Task, variables: Mapping[str, str], err: IO[bytes]) -> tuple[dict[str, Any], str]:
        begun = perf_counter()
        process = children.start(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            env=os.environ | variables,
            text=True,
            encoding="utf-8",
        )
        late = threading.Event()

        def give_up() -> None:
            late.set()
            children.end(process)

        clock = threading.Timer(self.timeout, give_up)
        clock.daemon = True
        try:
            clock.start()
            return self._talk(process, {"task": type(task).__name__, "begun": begun, **to_plain(task)}, late)
        finally:
            clock.cancel()
            children.end(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _talk(
        self, process: subprocess.Popen[str], request: dict[str, Any], late: threading.Event
    ) -> tuple[dict[str, Any], str]:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it may be dead already
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        said: dict[str, Any] = {}
        for line in process.stdout:
            said |= _read(line)
            if "answer" in said or "error" in said:
                return said, ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        ending = f"stopped after {self.timeout:g} s" if late.is_set() else describe_end(process.returncode)
        return said, ending


def describe_end(returncode: int | None) -> str:
    """How a process ended, in words.

    >>> describe_end(3), describe_end(-9)
    ('ended with exit code 3', 'ended by SIGKILL, as when memory runs out,')
    """
    if returncode is None:
        return "went silent"
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in list(signal.Signals) else f"signal {-returncode}"
    return f"ended by {name}" + (", as when memory runs out," if name == "SIGKILL" else "")


def _read(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _last_words(err: IO[bytes]) -> str:
    """The last lines that a process wrote."""
    err.seek(max(err.seek(0, os.SEEK_END) - LAST_WORDS, 0))
    lines = [line.strip() for line in err.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {' / '.join(lines[-LAST_LINES:])}" if lines else ""
