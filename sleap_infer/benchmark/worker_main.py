"""Worker process: read one task, write one answer, both as JSON lines.

    python -m sleap_infer.benchmark.worker_main

It reads a task from stdin, prints its steps as `{"stage": ...}`, and finally `{"answer": ...}` or
`{"error": ..., "kind": ...}`. Logs and the output of libraries go to stderr. When stdin closes, the parent is gone, and
the worker ends with its children.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from sleap_infer.benchmark.protocol import TASKS, Answer, Build, CheckBackends, Measure, Predict, Task
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.errors import SleapInferError
from sleap_infer.system.child_process import end_with_parent, pipe_to_parent, send_line
from sleap_infer.tuning import tune_process

Progress: TypeAlias = Callable[[str], None]
"""Called with the next step, as text that can follow `while`."""


def main() -> None:
    """Run the task that is read from stdin."""
    entered = perf_counter()
    tune_process()
    out = pipe_to_parent()

    def send(**line: Any) -> None:
        send_line(out, line)

    request = json.loads(sys.stdin.readline())
    end_with_parent()
    kind = TASKS[request.pop("task")]
    python_s = entered - request.pop("begun")
    try:
        send(answer=to_plain(do(from_plain(kind, request), python_s, lambda stage: send(stage=stage))))
    except SleapInferError as error:
        send(error=str(error), kind=type(error).__name__)
    except Exception as error:  # any other error becomes a failed row of the report
        traceback.print_exc()
        send(error=f"{type(error).__name__}: {error}", kind="")


def do(task: Task, python_s: float, progress: Progress) -> Answer:
    """Run a task.

    Args:
        task: the task.
        python_s: seconds from the start of this process until it ran code of this package.
        progress: called with the next step.

    Raises:
        SleapInferError: the model, the video or the backend cannot be used.
    """
    if isinstance(task, CheckBackends):
        from sleap_infer.benchmark.build_exports import check_backends

        return check_backends(task, progress)
    if isinstance(task, Build):
        from sleap_infer.benchmark.build_exports import build

        return build(task, progress)
    from sleap_infer.benchmark.measure import measure, predict

    if isinstance(task, Predict):
        return predict(task, progress)
    assert isinstance(task, Measure)
    return measure(task, python_s, progress)


if __name__ == "__main__":
    main()
