"""Work of a worker before anything is timed: check which backends can run, and export the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from sleap_infer.benchmark.measure import read_images
from sleap_infer.benchmark.protocol import BackendReasons, Build, Built, CheckBackends
from sleap_infer.choices import Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE, SourceSpec
from sleap_infer.runners.registry import what_can_run, why_not

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult

Progress = Callable[[str], None]

MAX_CHECKED = 32
"""Maximum number of frames on which an export is compared with its model."""


def check_backends(task: CheckBackends, progress: Progress) -> BackendReasons:
    """Return which backends can run here."""
    progress("importing the packages of the backends")
    if len(task.backends) > 1:
        found = what_can_run(task.device)
        return BackendReasons({str(name): reason for name, reason in found.items() if name in task.backends})
    (name,) = task.backends
    return BackendReasons({name: why_not(name, task.device)})


def build(task: Build, progress: Progress) -> Built:
    """Export a model, including the export check.

    Raises:
        SleapInferError: it cannot be exported, or the export differs from the model.
    """
    progress("importing the packages for export")
    from sleap_infer.export import ExportOptions, export

    frames = calibration_frames(task.models, task.video, task.frames, task.ignore_unknown_settings)
    n_frames = len(task.frames) or MAX_CHECKED
    options = ExportOptions(
        precision=cast(Precision, task.precision),
        format="tensorrt" if task.engines else "onnx",
        max_batch_size=task.max_batch_size if task.engines and task.max_batch_size > DEFAULT_BATCH_SIZE else None,
        n_frames=min(n_frames, MAX_CHECKED),
        calibration_frames=n_frames,
    )
    start = perf_counter()
    ignore = {"ignore_unknown_settings": True} if task.ignore_unknown_settings else {}
    results = export([Path(path) for path in task.models], Path(task.directory), options, frames, progress, **ignore)
    return Built(perf_counter() - start, notes_of(results, task.precision))


def calibration_frames(
    models: Sequence[str], video: SourceSpec, frames: Sequence[int], ignore_unknown: bool = False
) -> Any:
    """Return the data on which an export is calibrated and checked.

    Returns:
        (F, H, W, C) images of the given frames, only those of the size of the first one; the path of the labels for a
        model that runs on crops alone, because it needs their instances; `None` without frames.
    """
    if not frames:
        return None
    from sleap_infer.model import read_spec

    if len(models) == 1 and read_spec(models[0], ignore_unknown).row.on_crops:
        return video
    import numpy as np

    images = read_images(video, frames)
    same_size = [image for image in images if image.shape == images[0].shape]
    return np.stack(same_size) if same_size else None


def notes_of(results: Sequence[ExportResult], precision: str) -> tuple[str, ...]:
    """Return notes on exports whose precision differs from the one requested."""
    notes = []
    for result in results:
        facts = result.spec.exported
        assert facts is not None
        if facts.precision != precision:
            notes.append(f"{result.spec.kind} was exported in {facts.precision}: poses in {precision} differed")
        elif facts.kept:
            notes.append(f"{result.spec.kind} has blocks in fp32: {', '.join(facts.kept)}")
    return tuple(notes)
