"""Compare the poses of a candidate with the reference, within the budget of its precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.poses.compare import compare_poses
from sleap_infer.poses.outputs import Outputs

MATCHING_RADIUS_PX = 20.0
"""Matching radius: instances with a larger mean distance do not match, in pixels."""


def difference(found: Sequence[Outputs], expected: Sequence[Outputs], precision: Precision) -> str | None:
    """Return how poses differ from the reference, for people; `None` if they are within the budget.

    In fp32, every point must be within `MAX_ERROR_PX`. In lower precision, 95 % must be within `DEFAULT_BUDGET_PX`, and
    at most a fraction `MAX_CHANGED` of the instances may be missed or false positives.
    """
    pairs = [compare_poses(_points(a), _points(b), MATCHING_RADIUS_PX) for a, b in zip(found, expected, strict=True)]
    distances = np.concatenate([np.zeros(1, np.float32), *(pair.distances for pair in pairs)])
    changed = sum(pair.n_expected - pair.n_matched + pair.n_surplus for pair in pairs)
    fraction = changed / max(sum(pair.n_expected for pair in pairs), 1)
    worst = float(distances.max() if precision == "fp32" else np.percentile(distances, 95))
    budget, allowed = (MAX_ERROR_PX, 0.0) if precision == "fp32" else (DEFAULT_BUDGET_PX, MAX_CHANGED)
    if fraction > allowed:
        return f"its poses differ: {changed} instances missed or false positives"
    return f"its poses differ by {worst:.2g} px, more than {budget:g}" if worst > budget else None


def _points(outputs: Outputs) -> Any:
    points = outputs.pred_keypoints
    if points is None:
        points = np.zeros((0, 1, 2)) if outputs.pred_centroids is None else np.asarray(outputs.pred_centroids)[:, None]
    return np.asarray(points)[outputs.present()]
