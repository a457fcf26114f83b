"""What is done before anything is timed, in a worker: which backends are there, and exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from sleap_infer.benchmark.measure import read_images
from sleap_infer.benchmark.protocol import AskBackends, Build, Built, Reasons
from sleap_infer.choices import Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.runners.registry import what_can_run

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult

Say = Callable[[str], None]

MOST_CHECKED = 32
"""Frames that an export is compared on."""


def ask_backends(task: AskBackends, say: Say) -> Reasons:
    """Which backends can run here."""
    from sleap_infer.errors import BackendError
    from sleap_infer.runners import find_runner

    say("importing what backends need")
    if len(task.backends) > 1:
        found = what_can_run(task.device)
        return Reasons({str(name): reason for name, reason in found.items() if name in task.backends})
    (name,) = task.backends
    try:
        find_runner(name).require(task.device)
    except BackendError as error:
        return Reasons({name: str(error)})
    return Reasons({name: None})


def build(task: Build, say: Say) -> Built:
    """Export a model, with the check that an export makes of itself.

    Raises:
        SleapInferError: it cannot be exported, or the export differs from the model.
    """
    say("importing what exporting needs")
    from sleap_infer.export import ExportOptions, export

    frames = calibration_frames(task.models, task.video, task.frames, task.ignore_unknown_settings)
    n_frames = len(task.frames) or MOST_CHECKED
    options = ExportOptions(
        precision=cast(Precision, task.precision),
        format="tensorrt" if task.engines else "onnx",
        max_batch_size=task.most if task.engines and task.most > DEFAULT_BATCH_SIZE else None,
        n_frames=min(n_frames, MOST_CHECKED),
        calibration_frames=n_frames,
    )
    begun = perf_counter()
    ignore = {"ignore_unknown_settings": True} if task.ignore_unknown_settings else {}
    results = export([Path(path) for path in task.models], Path(task.place), options, frames, say, **ignore)
    return Built(perf_counter() - begun, notes_of(results, task.precision))


def calibration_frames(models: Sequence[str], video: str, frames: Sequence[int], ignore_unknown: bool = False) -> Any:
    """What an export measures and checks itself on: images of some frames, or, for a model that looks at crops alone,
    the labels, whose animals it needs. Of frames of several sizes those that are as large as the first. `None` if there
    are none.
    """
    if not frames:
        return None
    from sleap_infer.model import read_spec
    from sleap_infer.model.settings import SECOND_STAGES

    if len(models) == 1 and read_spec(models[0], ignore_unknown).kind in SECOND_STAGES:
        return video
    import numpy as np

    images = read_images(video, frames)
    alike = [image for image in images if image.shape == images[0].shape]
    return np.stack(alike) if alike else None


def notes_of(results: Sequence[ExportResult], precision: str) -> tuple[str, ...]:
    """What came out otherwise than asked for."""
    notes = []
    for result in results:
        facts = result.spec.exported
        assert facts is not None
        if facts.precision != precision:
            notes.append(f"{result.spec.kind} came out in {facts.precision}: in {precision} its poses were off")
        elif facts.kept:
            notes.append(f"{result.spec.kind} keeps in 32 bits: {', '.join(facts.kept)}")
    return tuple(notes)
