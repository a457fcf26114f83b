"""A second look: images of which lower precision is not sure go through a more precise graph too.

In lower precision all numbers change a little. That moves points by little; but where a value lies at the threshold, a
point, or an animal, comes or goes, and where two pairings score about the same, points change places. Such images can
be told by these numbers (`runners.doubts`). They get what the more precise graph finds. In all others the same peaks
are above the threshold, and almost always joined to the same others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import ExportedModelError
from sleap_infer.model import ModelSpec, find_model_files, read_spec
from sleap_infer.model.readers.directory import METADATA_NAME, SECOND_LOOK
from sleap_infer.model.spec import Margins
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, Pending
from sleap_infer.runners.doubts import find_unsure, lower_thresholds
from sleap_infer.runners.outer import OuterRunner


class SecondLookRunner(OuterRunner):
    """Runs one network in lower precision, and again in a higher one on images of which that is not sure.

    Args:
        quick: in lower precision; it finds peaks from a margin below the thresholds on.
        careful: in higher precision, with the settings that count.
        margins: how far numbers may be off.

    Attributes:
        n_images: that were looked at.
        n_twice: of these, again.
    """

    def __init__(self, quick: BaseInferenceRunner, careful: BaseInferenceRunner, margins: Margins) -> None:
        super().__init__((quick, careful), careful.settings)
        self.quick, self.careful, self.margins = quick, careful, margins
        self.n_images = self.n_twice = 0

    def _start(self, images: Images) -> Pending:
        begun = self.quick.start(images)

        def take() -> Candidates:
            found = begun()
            unsure = find_unsure(found, self.spec, self.settings, self.margins)
            self.n_images += len(unsure)
            self.n_twice += int(unsure.sum())
            return replace(found, unsure, self.careful.start(images[unsure])()) if unsure.any() else found

        return take


def looked_twice(runners: Sequence[BaseInferenceRunner]) -> dict[str, float]:
    """The share of images so far that were looked at twice, by kind of model, of runners that do."""
    return {
        runner.spec.kind: runner.n_twice / max(runner.n_images, 1)
        for runner in runners
        if isinstance(runner, SecondLookRunner)
    }


def replace(found: Candidates, which: NDArray[np.bool_], better: Candidates) -> Candidates:
    """Candidates of a batch, those of some of its images replaced; the others stay as they are."""
    replaced = {name: values.copy() for name, values in found.items()}
    for name, values in replaced.items():
        values[which] = better[name]
    return replaced


def open_with_second_look(runner: type[BaseInferenceRunner], opening: Opening) -> BaseInferenceRunner:
    """Open a model on one device, with its second look where its export has one.

    Raises:
        ExportedModelError: the export has one, and its files are not there.
        BackendError: the backend or the device is not there.
        OptionError: this backend does not have the precision.
    """
    margins = opening.spec.exported.second_look if opening.spec.exported else None
    files = find_model_files(opening.path) if margins else None
    if margins is None or files is None or files.config.name != METADATA_NAME:  # a graph alone has only itself
        return runner.open(opening)
    path = files.directory / SECOND_LOOK
    careful_spec = _read(path, files.directory)
    quick = runner.open(attrs.evolve(opening, settings=lower_thresholds(opening.settings, margins.values)))
    try:
        careful = runner.open(attrs.evolve(opening, path=path, spec=careful_spec, precision=None))
    except BaseException:
        quick.close()
        raise
    return SecondLookRunner(quick, careful, margins)


def _read(path: Path, export: Path) -> ModelSpec:
    if not path.is_dir():
        raise ExportedModelError(
            f"{export} was exported with a second look, and {path.name}/ is not there. Copy the whole directory, or "
            "export the model again (--no-second-look: without)."
        )
    return read_spec(path)
