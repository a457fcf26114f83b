"""Compare the poses of a candidate with those of the reference, within the tolerance of its precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sleap_infer.choices import Precision
from sleap_infer.poses.compare import Comparison, Tolerance, compare_frames, points_of
from sleap_infer.poses.outputs import Outputs

MAX_UNSTABLE = 0.01
"""Fraction of the points that may be unstable: their refinement divides by almost nothing, so that the last digits of a
network move them."""

UNSTABLE_PX = 1.0
"""Distance up to which a point counts as unstable and not as wrong."""


def compare_outputs(found: Sequence[Outputs], expected: Sequence[Outputs]) -> Comparison:
    """Compare the poses of each frame."""
    return compare_frames([points_of(item) for item in found], [points_of(item) for item in expected])


def difference(compared: Comparison, precision: Precision) -> str | None:
    """Describe how poses differ from those of the reference by more than the tolerance; `None` if they do not."""
    tolerance = Tolerance.of(precision)
    if compared.changed_instances > tolerance.changed:
        return f"its poses differ: {compared.n_missed} instances missed, {compared.n_false} false positives"
    away = compared.percentile(tolerance.percent)
    return f"its poses differ by {away:.2g} px, more than {tolerance.px:g}" if _is_far(compared, tolerance) else None


def describe_unstable(compared: Comparison, precision: Precision) -> str:
    """List the points in fp32 that are farther off than the tolerance; empty if there are none."""
    tolerance = Tolerance.of(precision)
    beyond = compared.distances[compared.distances > tolerance.px]
    if tolerance.percent < 100.0 or not len(beyond):
        return ""
    n_points = len(compared.distances)
    return (
        f"{len(beyond)} of {n_points} points beyond {tolerance.px:g} px (unstable refinement), up to {beyond.max():.2g}"
    )


def _is_far(compared: Comparison, tolerance: Tolerance) -> bool:
    """Return whether more points are beyond the tolerance than may be unstable."""
    if tolerance.percent < 100.0:
        return compared.percentile(tolerance.percent) > tolerance.px
    distances = compared.distances
    beyond = distances[distances > tolerance.px]
    return len(beyond) > MAX_UNSTABLE * len(distances) or bool(np.any(beyond > UNSTABLE_PX))
