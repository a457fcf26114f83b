"""One check, in a process of its own: what is broken may crash or hang.

    python -m sleap_infer.doctor.probe_main NAME DEVICE

It prints JSON lines: what it is about to do as `{"stage": ...}`, and last, if it lives, `{"answer": {...}}`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from sleap_infer.doctor.subjects import DRIVER, Subject, all_subjects
from sleap_infer.system.runtimes import import_runtime

Answer: TypeAlias = dict[str, Any]
Say: TypeAlias = Callable[[str], None]
"""Takes what is done next, in words that follow `while`."""

IMPORT_ONLY = "none"
"""In place of a device: only import."""


def main() -> None:
    """Make the check that the command line names."""
    name, device = sys.argv[1:]
    subject = next(item for item in all_subjects() if item.name == name)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not for our reader

    def tell(**line: Any) -> None:
        print(json.dumps(line), file=out, flush=True)

    try:
        answer = run(subject, device, lambda stage: tell(stage=stage))
    except Exception as error:  # whatever a broken package raises is what we are here to tell
        answer = {"error": "\n".join(_messages(error)), "trace": traceback.format_exc()[-4000:]}
    answer["torch_cuda"] = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    tell(stage="closing", answer=answer)


def run(subject: Subject, device: str, say: Say) -> Answer:
    """Make a check.

    Returns:
        What `Reference.compare` says, or likewise of pixels, with `ms` per frame and the `device` that was used.
    """
    if subject is DRIVER:
        from sleap_infer.doctor.driver import ask_driver

        say("asking the NVIDIA driver")
        return ask_driver()
    module = subject.module() or next(iter(subject.imports), "")
    if module:
        say(f"importing {module}")
        import_runtime(module)
    if device == IMPORT_ONLY:
        return {}
    if subject.kind == "backend":
        return run_backend(subject.name, device, say)
    from sleap_infer.doctor.check_readers import READ

    return READ[subject.name](device, say)


def run_backend(name: str, device: str, say: Say) -> Answer:
    """Predict twice on the same frames, and compare with what is known."""
    import numpy as np

    from sleap_infer.doctor.reference import Reference
    from sleap_infer.runners.registry import find_runner

    reference = Reference.read()
    with tempfile.TemporaryDirectory() as folder:  # a copy, beside which backends may keep things
        model = shutil.copytree(reference.model_path(name), Path(folder) / "model")
        say(f"opening a model on {device}")
        with find_runner(name).from_model_path(model, device=device) as runner:
            say("predicting for the first time")
            runner.predict(reference.images)
            say("predicting")
            start = time.perf_counter()
            found = runner.predict(reference.images)
            seconds = time.perf_counter() - start
            used = runner.device
    answer = reference.compare([np.asarray(outputs.pred_keypoints) for outputs in found])
    return {**answer, "ms": 1000 * seconds / len(found), "device": used}


def _messages(error: BaseException | None) -> Iterator[str]:
    """An error and those that led to it, a line or more each."""
    while error is not None:
        yield from (line.rstrip() for line in traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
