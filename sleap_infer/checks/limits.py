"""The limits of the export check: what passes, what is a warning, and what fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from sleap_infer.checks.figures import PoseErrors, RawErrors
from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import MAX_CHANGED, MAX_ERROR_PX

Result: TypeAlias = Literal["PASS", "WARN", "FAIL"]

EXCELLENT, GOOD = 1e-5, 1e-4
"""Largest difference of network outputs that is excellent, and good."""

LEAST_COSINE = 0.9999
"""Smallest cosine similarity of network outputs in lower precision."""


def grade(row: RawErrors) -> str:
    """Return the grade of one output of a graph: excellent, good or poor."""
    if row.is_position:
        return "good" if row.max_abs <= MAX_ERROR_PX else "poor"
    return "excellent" if row.max_abs < EXCELLENT else "good" if row.max_abs < GOOD else "poor"


def judge_raw(rows: Iterable[RawErrors], precision: Precision) -> Result:
    """Return the result for network outputs. In lower precision it is at most a warning, because poses decide."""
    if precision == "fp32":
        return "FAIL" if any(grade(row) == "poor" or row.n_unequal for row in rows) else "PASS"
    return "PASS" if all(row.cosine >= LEAST_COSINE and not row.n_unequal for row in rows) else "WARN"


def judge_poses(poses: PoseErrors, precision: Precision, budget_px: float) -> Result:
    """Return the result for poses; a warning if there were none.

    Args:
        poses: their differences.
        precision: of the export. In fp32 the largest distance counts, else the 95th percentile.
        budget_px: largest distance that passes, in image pixels.
    """
    if precision == "fp32":
        fails = poses.max_px > budget_px or poses.changed > 0
    else:
        fails = poses.p95_px > budget_px or poses.changed > MAX_CHANGED
    if fails:
        return "FAIL"
    return "WARN" if poses.n_points == 0 or poses.n_capped or poses.changed > 0 else "PASS"


def judge(raw: Result, poses: Result, precision: Precision, are_real: bool) -> Result:
    """Return the worse of both results; in lower precision that of the poses, if the frames are real."""
    if "FAIL" in (raw, poses):
        return "FAIL"
    if precision != "fp32" and are_real:
        return poses
    return "WARN" if "WARN" in (raw, poses) else "PASS"
