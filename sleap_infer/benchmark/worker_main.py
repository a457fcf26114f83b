"""A worker process: one task in, one answer out, both as JSON lines.

    python -m sleap_infer.benchmark.worker_main

It reads a task from stdin, and prints what it is doing as `{"stage": ...}`, and last `{"answer": ...}`, or
`{"error": ..., "kind": ...}`. Logs and whatever libraries print go to stderr. It ends when stdin does, with all that it
started: whoever asked is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from sleap_infer.benchmark.protocol import TASKS, Answer, AskBackends, Build, Measure, Predict, Task
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.errors import SleapInferError
from sleap_infer.system.child_process import leave

Say: TypeAlias = Callable[[str], None]
"""Takes what is done next, in words that follow `while`."""


def main() -> None:
    """Do the task that stdin names."""
    entered = perf_counter()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**line: Any) -> None:
        print(json.dumps(line), file=out, flush=True)

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    kind = TASKS[request.pop("task")]
    python_s = entered - request.pop("begun")
    try:
        tell(answer=to_plain(do(from_plain(kind, request), python_s, lambda stage: tell(stage=stage))))
    except SleapInferError as error:
        tell(error=str(error), kind=type(error).__name__)
    except Exception as error:  # whatever breaks is a row of the report
        traceback.print_exc()
        tell(error=f"{type(error).__name__}: {error}", kind="")


def do(task: Task, python_s: float, say: Say) -> Answer:
    """Do a task.

    Args:
        task: what to do.
        python_s: seconds from starting this process until it ran our code.
        say: gets what is done next.

    Raises:
        SleapInferError: it cannot be done.
    """
    if isinstance(task, AskBackends):
        from sleap_infer.benchmark.build_exports import ask_backends

        return ask_backends(task, say)
    if isinstance(task, Build):
        from sleap_infer.benchmark.build_exports import build

        return build(task, say)
    from sleap_infer.benchmark import measure as measuring

    if isinstance(task, Predict):
        return measuring.predict(task, say)
    assert isinstance(task, Measure)
    return measuring.measure(task, python_s, say)


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    leave(1)


if __name__ == "__main__":
    main()
