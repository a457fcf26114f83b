"""How far two sets of poses of one frame are apart. numpy and scipy."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float32]


OKS_STDDEV = 0.025
"""Spread of every node in `similarity`, in units of the square root of the area: that of sleap-nn's evaluation."""


@frozen
class Agreement:
    """How poses agree with expected ones.

    Attributes:
        distances: (P,) in pixels, of all points that both have, in matched instances.
        n_expected: instances that were expected.
        n_matched: of these, how many were found.
        n_surplus: instances that were found but not expected.
    """

    distances: Floats
    n_expected: int
    n_matched: int
    n_surplus: int


FAR = 0.05
"""Share of the points that may be far off."""


def cautious_limit(distances: NDArray[np.floating]) -> float:
    """What 95 % of the distances on frames that were not seen will hardly exceed.

    Half as many exceed it here as may, or, where there are more points, so many that with a confidence of 95 % no more
    than may exceed it there: the upper confidence limit of a percentile (from the binomial distribution; Conover 1999,
    "Practical Nonparametric Statistics", 3.2).

    Args:
        distances: (P,); 0 for none.

    >>> cautious_limit(np.arange(40.0)), cautious_limit(np.arange(1000.0))
    (38.0, 961.0)
    """
    from scipy.stats import binom  # half a second, which only exports need

    n_points = len(distances)
    if n_points == 0:
        return 0.0
    proven = int(binom.ppf(FAR, n_points, FAR))
    proven -= int(binom.cdf(proven, n_points, FAR) > FAR)
    n_far = max(int(n_points * FAR / 2), proven)
    return float(np.sort(distances)[n_points - 1 - n_far])


def compare_poses(found: Floats, expected: Floats, reach: float) -> Agreement:
    """Match instances one to one so that the mean distance of their points is smallest, and measure it.

    Args:
        found: (I, N, 2), NaN where a point is missing.
        expected: (J, N, 2).
        reach: instances whose points are on average farther apart, in pixels, are not the same.

    >>> pose = np.array([[[1, 1], [5, 1]]], np.float32)
    >>> compare_poses(pose + 1, pose, reach=10).distances.round(2).tolist()
    [1.409999966621399, 1.409999966621399]
    """
    rows, columns = match_poses(found, expected, reach)
    matched = np.linalg.norm(found[rows] - expected[columns], axis=-1)
    return Agreement(
        distances=matched[~np.isnan(matched)].astype(np.float32),
        n_expected=len(expected),
        n_matched=len(rows),
        n_surplus=len(found) - len(rows),
    )


def match_poses(found: Floats, expected: Floats, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which instances are the same: one to one, so that the mean distance of their points is smallest.

    Args:
        found: (I, N, 2), NaN where a point is missing.
        expected: (J, N, 2).
        reach: instances whose points are on average farther apart, in pixels, are not the same.

    Returns:
        Rows of `found` (M,) and, for each, its row of `expected` (M,).

    >>> poses = np.array([[[1, 1]], [[9, 9]]], np.float32)
    >>> [rows.tolist() for rows in match_poses(poses[::-1], poses, reach=1)]
    [[0, 1], [1, 0]]
    """
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, which not all models need

    steps = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    common = ~np.isnan(steps)
    count = common.sum(axis=-1)
    mean = np.where(count > 0, np.where(common, steps, 0).sum(axis=-1) / np.maximum(count, 1), np.inf)
    rows, columns = linear_sum_assignment(np.minimum(mean, 1e6))
    near = mean[rows, columns] <= reach
    return rows[near], columns[near]


def similarity(found: Floats, expected: Floats) -> float:
    """Object keypoint similarity of two poses (N, 2): 1 for equal ones, 0 for far ones; missing points count as far.

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
