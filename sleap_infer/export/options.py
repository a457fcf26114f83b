"""Everything that can be said about an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen

from sleap_infer.errors import OptionError
from sleap_infer.export.report import DEFAULT_BUDGET_PX, MAX_ERROR_PX
from sleap_infer.graphs.making import GraphOptions
from sleap_infer.options import DEFAULT_CALIBRATION_FRAMES, DEFAULT_CHECKED_FRAMES


def _positive(_options: object, attribute: Any, value: float | None) -> None:
    if value is not None and not value > 0:
        raise OptionError(f"{attribute.name} is a number above 0, found {value!r}.")


@frozen(kw_only=True)
class ExportOptions(GraphOptions):
    """What goes into the graph (as in `GraphOptions`), and what is done around it.

    Attributes:
        validate: compare the export with its source before it is put in place.
        n_frames: so many frames are compared.
        max_error_px: distance in image pixels that points may have: all of them in fp32, 95 % of them else. `None`:
            0.01 in fp32, 0.5 else.
        device: where the source runs for the comparison.
        calibration: frames that the ranges of int8 are measured on, as in `Predictor.predict`; `None`: those that are
            compared.
        calibration_frames: so many of these.
        draw: a file for a picture of the worst frame.
        force: put the export in place although the comparison failed.
        overwrite: replace an export that is there already.
    """

    validate: bool = True
    n_frames: int = field(default=DEFAULT_CHECKED_FRAMES, validator=_positive)
    max_error_px: float | None = field(default=None, validator=_positive)
    device: str = "cpu"
    calibration: Any = None
    calibration_frames: int = field(default=DEFAULT_CALIBRATION_FRAMES, validator=_positive)
    draw: Path | None = None
    force: bool = False
    overwrite: bool = False

    @property
    def budget_px(self) -> float:
        """The distance that points may have."""
        if self.max_error_px is not None:
            return self.max_error_px
        return MAX_ERROR_PX if self.precision == "fp32" else DEFAULT_BUDGET_PX
