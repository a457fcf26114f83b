"""Child side of a check: a broken package may crash or hang this process.

    python -m sleap_infer.doctor.probe_main NAME DEVICE

It prints JSON lines: the next step as `{"stage": ...}`, and at the end `{"answer": {...}}`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from sleap_infer.doctor.components import DRIVER, Component, all_components
from sleap_infer.system.child_process import end_with_parent, pipe_to_parent, send_line
from sleap_infer.system.runtimes import import_runtime
from sleap_infer.tuning import tune_process

Answer: TypeAlias = dict[str, Any]
Progress: TypeAlias = Callable[[str], None]
"""Called with the next step, in words that follow "while"."""

IMPORT_ONLY = "none"
"""Device name for a check that only imports."""


def main() -> None:
    """Run the check given on the command line."""
    name, device = sys.argv[1:]
    component = next(item for item in all_components() if item.name == name)
    tune_process()
    out = pipe_to_parent()
    end_with_parent()

    def send(**line: Any) -> None:
        send_line(out, line)

    try:
        answer = run(component, device, lambda stage: send(stage=stage))
    except Exception as error:  # a broken package may raise anything
        answer = {"error": "\n".join(_messages(error)), "trace": traceback.format_exc()[-4000:]}
    answer["torch_cuda"] = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    send(stage="closing", answer=answer)


def run(component: Component, device: str, progress: Progress) -> Answer:
    """Run a check.

    Returns:
        The result of `Reference.compare`, or likewise of pixels, with `ms` per frame and the `device` that was used.
    """
    if component is DRIVER:
        from sleap_infer.doctor.driver import ask_driver

        progress("asking the NVIDIA driver")
        return ask_driver()
    module = component.module() or next(iter(component.imports), "")
    if module:
        progress(f"importing {module}")
        import_runtime(module)
    if device == IMPORT_ONLY:
        return {}
    if component.kind == "backend":
        return run_backend(component.name, device, progress)
    from sleap_infer.doctor.check_readers import READ

    return READ[component.name](device, progress)


def run_backend(name: str, device: str, progress: Progress) -> Answer:
    """Predict the same frames twice and compare with the known poses."""
    import numpy as np

    from sleap_infer.doctor.reference import Reference
    from sleap_infer.runners.registry import find_runner

    reference = Reference.read()
    with tempfile.TemporaryDirectory() as folder:  # a copy, since backends may cache files beside it
        model = shutil.copytree(reference.model_path(name), Path(folder) / "model")
        progress(f"opening a model on {device}")
        with find_runner(name).from_model_path(model, device=device) as runner:
            progress("predicting for the first time")
            runner.predict(reference.images)
            progress("predicting")
            start = time.perf_counter()
            found = runner.predict(reference.images)
            seconds = time.perf_counter() - start
            used = runner.device
    answer = reference.compare([np.asarray(outputs.pred_keypoints) for outputs in found])
    return {**answer, "ms": 1000 * seconds / len(found), "device": used}


def _messages(error: BaseException | None) -> Iterator[str]:
    """Yield the messages of an error and of its causes."""
    while error is not None:
        yield from (line.rstrip() for line in traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
