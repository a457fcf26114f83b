"""Compare poses with expected ones: match instances, measure distances, apply a tolerance. NumPy and SciPy.

Everything that compares poses uses this module: the export check, the choice of a backend, benchmarks, doctor, demo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.config.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.poses.outputs import Outputs

Floats = NDArray[np.float32]

MATCHING_RADIUS_PX = 20.0
"""Instances are matched only if the mean distance of their points is at most this."""

GPU_ERROR_PX = 0.05
"""Tolerance for fp32 on a GPU, which sums in a different order than the CPU."""

OKS_STDDEV = 0.025
"""Spread of every node in `similarity`, in units of the square root of the area: that of sleap-nn's evaluation."""

MAX_FAR = 0.05
"""Fraction of the points that may be farther off than the budget."""


@frozen
class Tolerance:
    """Maximum difference of poses.

    Attributes:
        px: distance in image pixels.
        percent: percentage of points that must be within it.
        changed: fraction of instances and points, from 0 to 1, that may be missed or false positives.
    """

    px: float
    percent: float
    changed: float

    @classmethod
    def of(cls, precision: str, device: str = "cpu") -> Tolerance:
        """Return the tolerance for a precision on a device.

        >>> Tolerance.of("fp32", "cpu")
        Tolerance(px=0.01, percent=100.0, changed=0.0)
        """
        if precision != "fp32":
            return cls(DEFAULT_BUDGET_PX, 95.0, MAX_CHANGED)
        return cls(MAX_ERROR_PX if device.startswith("cpu") else GPU_ERROR_PX, 100.0, 0.0)

    def __str__(self) -> str:
        """Return a description for people."""
        if not self.changed:
            return f"all points within {self.px:g} px, the same instances"
        return f"{self.percent:g} % of points within {self.px:g} px, at most {self.changed:.0%} of instances changed"


@frozen
class FrameComparison:
    """Poses of one frame compared with expected ones.

    Attributes:
        found: (I, N, 2) poses.
        expected: (J, N, 2) poses.
        rows: (M,) matched instances, as rows of `found`.
        columns: (M,) the same instances, as rows of `expected`.
    """

    found: Floats
    expected: Floats
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def px(self) -> Floats:
        """(M, N) distances of the points of matched instances in pixels, NaN where one of them lacks the point."""
        away: Floats = np.linalg.norm(self.found[self.rows] - self.expected[self.columns], axis=-1).astype(np.float32)
        return away

    @property
    def distances(self) -> Floats:
        """(P,) distances in pixels of all points that both have, in matched instances."""
        away = self.px
        return away[~np.isnan(away)]

    @property
    def n_expected(self) -> int:
        """Number of expected instances."""
        return len(self.expected)

    @property
    def n_matched(self) -> int:
        """Number of expected instances that were found."""
        return len(self.rows)

    @property
    def n_missed(self) -> int:
        """Number of expected instances that were not found."""
        return len(self.expected) - len(self.rows)

    @property
    def n_false(self) -> int:
        """Number of instances that were found but not expected."""
        return len(self.found) - len(self.rows)

    @property
    def missed_points(self) -> NDArray[np.bool_]:
        """(M, N) points of matched instances that were not found."""
        return ~_missing(self.expected[self.columns]) & _missing(self.found[self.rows])

    @property
    def false_points(self) -> NDArray[np.bool_]:
        """(M, N) points of matched instances that were found but not expected."""
        return _missing(self.expected[self.columns]) & ~_missing(self.found[self.rows])


@frozen
class Comparison:
    """Poses of several frames compared with expected ones.

    Attributes:
        frames: one by one.
    """

    frames: tuple[FrameComparison, ...]

    @property
    def distances(self) -> Floats:
        """(P,) distances in pixels of all points that both have, in matched instances."""
        return np.concatenate([np.zeros(0, np.float32), *(frame.distances for frame in self.frames)])

    @property
    def n_expected(self) -> int:
        """Number of expected instances."""
        return sum(frame.n_expected for frame in self.frames)

    @property
    def n_missed(self) -> int:
        """Number of expected instances that were not found."""
        return sum(frame.n_missed for frame in self.frames)

    @property
    def n_false(self) -> int:
        """Number of instances that were found but not expected."""
        return sum(frame.n_false for frame in self.frames)

    @property
    def n_expected_points(self) -> int:
        """Number of expected points."""
        return sum(int((~_missing(frame.expected)).sum()) for frame in self.frames)

    @property
    def n_missed_points(self) -> int:
        """Number of expected points that were not found, also of instances that were not."""
        return self.n_expected_points - len(self.distances)

    @property
    def n_false_points(self) -> int:
        """Number of points that were found but not expected, also of instances that were not."""
        return sum(int((~_missing(frame.found)).sum()) for frame in self.frames) - len(self.distances)

    @property
    def changed_instances(self) -> float:
        """Missed and false instances, as a fraction of the expected ones."""
        return (self.n_missed + self.n_false) / max(self.n_expected, 1)

    @property
    def changed(self) -> float:
        """Missed and false instances or points, whichever is more, as a fraction of the expected ones."""
        points = (self.n_missed_points + self.n_false_points) / max(self.n_expected_points, 1)
        return max(self.changed_instances, points)

    def percentile(self, percent: float) -> float:
        """Return a percentile of the distances in pixels; 0 for none."""
        distances = self.distances
        return float(np.percentile(distances, percent)) if len(distances) else 0.0

    def is_within(self, tolerance: Tolerance) -> bool:
        """Return whether the poses differ by no more than that."""
        return self.percentile(tolerance.percent) <= tolerance.px and self.changed <= tolerance.changed


def points_of(outputs: Outputs) -> Floats:
    """Return the poses of a frame, (I, N, 2), of the rows with a point; centroids are poses of one node.

    >>> points_of(Outputs(pred_centroids=np.array([[1, 2], [np.nan, np.nan]]))).tolist()
    [[[1.0, 2.0]]]
    """
    points = outputs.pred_keypoints if outputs.pred_keypoints is not None else outputs.pred_centroids
    array = np.zeros((0, 1, 2), np.float32) if points is None else np.asarray(points, np.float32)
    array = array[:, None] if array.ndim == 2 else array
    return array[~_missing(array).all(axis=1)]


def compare_frames(found: Sequence[Floats], expected: Sequence[Floats]) -> Comparison:
    """Compare poses frame by frame.

    Args:
        found: (I, N, 2) of each frame, NaN where a point is missing.
        expected: (J, N, 2) of each frame.

    Raises:
        ValueError: the numbers of frames differ.
    """
    return Comparison(tuple(compare_poses(a, b) for a, b in zip(found, expected, strict=True)))


def compare_poses(found: Floats, expected: Floats, radius: float = MATCHING_RADIUS_PX) -> FrameComparison:
    """Match instances one to one so that the mean distance of their points is smallest.

    Args:
        found: (I, N, 2), NaN where a point is missing.
        expected: (J, N, 2).
        radius: instances whose points have a larger mean distance, in pixels, are not matched.

    >>> pose = np.array([[[1, 1], [5, 1]]], np.float32)
    >>> compare_poses(pose + 1, pose).distances.round(2).tolist()
    [1.409999966621399, 1.409999966621399]
    """
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, which not all models need

    steps = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    common = ~np.isnan(steps)
    count = common.sum(axis=-1)
    mean = np.where(count > 0, np.where(common, steps, 0).sum(axis=-1) / np.maximum(count, 1), np.inf)
    rows, columns = linear_sum_assignment(np.minimum(mean, 1e6))
    near = mean[rows, columns] <= radius
    return FrameComparison(found, expected, rows[near], columns[near])


def cautious_limit(distances: NDArray[np.floating]) -> float:
    """Return the upper 95 % confidence limit of the 95th percentile of distances (P,); 0 for none.

    At least half of the points that may exceed it do not (Conover 1999, "Practical Nonparametric Statistics", 3.2, from
    the binomial distribution).

    >>> cautious_limit(np.arange(40.0)), cautious_limit(np.arange(1000.0))
    (38.0, 961.0)
    """
    from scipy.stats import binom  # half a second, which only exports need

    n_points = len(distances)
    if n_points == 0:
        return 0.0
    proven = int(binom.ppf(MAX_FAR, n_points, MAX_FAR))
    proven -= int(binom.cdf(proven, n_points, MAX_FAR) > MAX_FAR)
    n_far = max(int(n_points * MAX_FAR / 2), proven)
    return float(np.sort(distances)[n_points - 1 - n_far])


def similarity(found: Floats, expected: Floats) -> float:
    """Return the object keypoint similarity of two poses (N, 2), from 0 to 1; missing points count as far.

    `mean over expected points of exp(-d^2 / (2 area (2 stddev)^2))`, the area being that of the expected pose's box.

    >>> pose = np.array([[0, 0], [10, 10]], np.float32)
    >>> similarity(pose, pose), round(similarity(pose + [0.5, 0], pose), 3)
    (1.0, 0.607)
    """
    seen = ~np.isnan(expected[:, 0])
    if not seen.any():
        return float("nan")
    area = max(float(np.prod(np.ptp(expected[seen], axis=0))), 1.0)
    squared = ((found[seen] - expected[seen]) ** 2).sum(axis=-1)
    near = np.exp(-squared / (2 * area * (2 * OKS_STDDEV) ** 2))
    return float(np.nan_to_num(near).mean())


def _missing(poses: Floats) -> NDArray[np.bool_]:
    return np.isnan(poses[..., 0])
