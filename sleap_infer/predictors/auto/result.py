"""Compare the poses of a candidate with those of the reference, within the tolerance of its precision."""

from __future__ import annotations

from collections.abc import Sequence

from sleap_infer.choices import Precision
from sleap_infer.poses.compare import Tolerance, compare_frames, points_of
from sleap_infer.poses.outputs import Outputs


def difference(found: Sequence[Outputs], expected: Sequence[Outputs], precision: Precision) -> str | None:
    """Describe how poses differ from those of the reference by more than the tolerance; `None` if they do not."""
    compared = compare_frames([points_of(item) for item in found], [points_of(item) for item in expected])
    tolerance = Tolerance.of(precision)
    if compared.changed_instances > tolerance.changed:
        return f"its poses differ: {compared.n_missed} instances missed, {compared.n_false} false positives"
    away = compared.percentile(tolerance.percent)
    return f"its poses differ by {away:.2g} px, more than {tolerance.px:g}" if away > tolerance.px else None
