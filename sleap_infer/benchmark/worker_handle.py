"""The parent's side of a worker process: send one task, receive one answer, and report how it ended otherwise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from attrs import frozen

from sleap_infer.benchmark.protocol import Task
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.system.cache_directory import CACHE_VARIABLE
from sleap_infer.system.child_process import Child

Kind = TypeVar("Kind")

COMMAND = (sys.executable, "-P", "-X", "faulthandler", "-m", "sleap_infer.benchmark.worker_main")
"""-P: a file `torch.py` in the working directory is not imported as PyTorch."""

CACHE_VARIABLES = (CACHE_VARIABLE, "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


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
        request = {"task": type(task).__name__, "begun": perf_counter(), **to_plain(task)}
        reply: dict[str, Any] = {}
        with Child(self.command, variables, self.timeout) as child:
            for message in child.messages(request):
                reply |= message
                if "answer" in reply:
                    return from_plain(kind, reply["answer"])
                if "error" in reply:
                    return Failure(reply["error"], reply.get("kind", ""))
            ending = child.ending()
        reason = f"{ending.reason} while {reply.get('stage', 'starting')}"
        return Failure(": ".join(filter(None, (reason, ending.last_lines()))))
