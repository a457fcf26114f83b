"""A second look: images with a peak near its threshold go through a more precise graph too.

In lower precision the values of peaks change a little. That moves points by little; but where a value lies at the
threshold, a point, or an animal, comes or goes. Such images can be told by these values. They get what the more precise
graph finds. In all others the same peaks would be above the threshold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.candidates import Candidates
from sleap_infer.errors import ExportedModelError
from sleap_infer.model import ModelSpec, find_model_files, read_spec
from sleap_infer.model.directory import METADATA_NAME, SECOND_LOOK
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, Pending
from sleap_infer.runners.outer import OuterRunner
from sleap_infer.settings import StageSettings

LEAST_THRESHOLD = 0.5
"""Peaks are looked for down to this share of a threshold, and no lower."""


class SecondLookRunner(OuterRunner):
    """Runs one network in lower precision, and again in a higher one on images of which that is not sure.

    Args:
        quick: in lower precision; it finds peaks from `margin` below the thresholds on.
        careful: in higher precision, with the settings that count.
        margin: how far values of peaks may be off.

    Attributes:
        n_images: that were looked at.
        n_twice: of these, again.
    """

    def __init__(self, quick: BaseInferenceRunner, careful: BaseInferenceRunner, margin: float) -> None:
        super().__init__((quick, careful), careful.settings)
        self.quick, self.careful, self.margin = quick, careful, margin
        self.n_images = self.n_twice = 0

    def _start(self, images: Images) -> Pending:
        begun = self.quick.start(images)

        def take() -> Candidates:
            found = begun()
            unsure = find_unsure(found, self.settings, self.margin)
            self.n_images += len(unsure)
            self.n_twice += int(unsure.sum())
            return replace(found, unsure, self.careful.start(images[unsure])()) if unsure.any() else found

        return take


def looked_twice(runner: BaseInferenceRunner) -> float:
    """The share of images so far that a runner has looked at twice."""
    return runner.n_twice / max(runner.n_images, 1) if isinstance(runner, SecondLookRunner) else 0.0


def find_unsure(found: Candidates, settings: StageSettings, margin: float) -> NDArray[np.bool_]:
    """Which images have a peak, or a centroid, nearer to its threshold than that.

    Args:
        found: with thresholds that are lower by `margin`.
        settings: with the thresholds that count.
        margin: how far values may be off.

    Returns:
        (B,).
    """
    is_fused = "centroid_vals" in found and "peak_vals" in found
    thresholds = {
        "centroid_vals": settings.centroid_threshold if is_fused else settings.peak_threshold,
        "peak_vals": settings.peak_threshold,
    }
    unsure = np.zeros(len(next(iter(found.values()))), bool)
    for name, threshold in thresholds.items():
        if name in found:
            values = found[name]
            near = np.abs(values - np.float32(threshold)) < _reach(threshold, margin)
            if is_fused:  # other places hold what was found in crops of nobody
                near &= found["instance_valid"].astype(bool).reshape(near.shape[:2] + (1,) * (near.ndim - 2))
            unsure |= near.reshape(len(near), -1).any(axis=1)
    return unsure


def _reach(threshold: float, margin: float) -> float:
    """The margin of a threshold, of low ones less."""
    return min(margin, threshold * (1.0 - LEAST_THRESHOLD))


def replace(found: Candidates, which: NDArray[np.bool_], better: Candidates) -> Candidates:
    """Candidates of a batch, those of some of its images replaced; the others stay as they are."""
    replaced = {name: values.copy() for name, values in found.items()}
    for name, values in replaced.items():
        values[which] = better[name]
    return replaced


def lower_thresholds(settings: StageSettings, margin: float) -> StageSettings:
    """Settings that find what lies so far below the thresholds, too."""

    def lower(threshold: float) -> float:
        return threshold - _reach(threshold, margin)

    given = settings.peaks.peak_threshold
    lowered: Any = tuple(map(lower, given)) if isinstance(given, tuple) else lower(given)
    return attrs.evolve(settings, peaks=attrs.evolve(settings.peaks, peak_threshold=lowered))


def open_with_second_look(runner: type[BaseInferenceRunner], opening: Opening) -> BaseInferenceRunner:
    """Open a model on one device, with its second look where its export has one.

    Raises:
        ExportedModelError: the export has one, and its files are not there.
        BackendError: the backend or the device is not there.
        OptionError: this backend does not have the precision.
    """
    margin = opening.spec.exported.second_look if opening.spec.exported else 0.0
    files = find_model_files(opening.path) if margin else None
    if files is None or files.config.name != METADATA_NAME:  # a graph alone has only itself
        return runner.open(opening)
    path = files.directory / SECOND_LOOK
    careful_spec = _read(path, files.directory)
    quick = runner.open(attrs.evolve(opening, settings=lower_thresholds(opening.settings, margin)))
    try:
        careful = runner.open(attrs.evolve(opening, path=path, spec=careful_spec, precision=None))
    except BaseException:
        quick.close()
        raise
    return SecondLookRunner(quick, careful, margin)


def _read(path: Path, export: Path) -> ModelSpec:
    if not path.is_dir():
        raise ExportedModelError(
            f"{export} was exported with a second look, and {path.name}/ is not there. Copy the whole directory, or "
            "export the model again (--no-second-look: without)."
        )
    return read_spec(path)
