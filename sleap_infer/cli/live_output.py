"""The poses of a live run as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sleap_infer.labels import LabelsBuilder, save_labels

if TYPE_CHECKING:
    from sleap_infer.frames.live import LiveSource
    from sleap_infer.outputs import Outputs
    from sleap_infer.predictors import Predictor
    from sleap_infer.predictors.live import LiveReport, LiveResult


class Kept:
    """Keeps the poses of a run, to be written at its end; until then they cost no time.

    Args:
        predictor: that gives them.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._facts = predictor.describe()
        self._builder = LabelsBuilder(predictor.runners[-1].spec, predictor.settings, self._facts)
        self._outputs: list[Outputs] = []

    def add(self, result: LiveResult) -> None:
        """Keep the poses of a frame."""
        self._outputs.append(result.outputs)

    def write(self, report: LiveReport, source: LiveSource, path: Path, overwrite: bool = False) -> None:
        """Write them to a `.slp` file; its provenance has the report as `live`.

        Raises:
            OutputError: it cannot be written.
        """
        self._facts["live"] = report.as_dict()
        for outputs in self._outputs:
            self._builder.add(outputs)
        n_frames = 1 + max((outputs.frame_idx or 0 for outputs in self._outputs), default=-1)
        save_labels(self._builder.build(source.described(n_frames)), path, overwrite)
