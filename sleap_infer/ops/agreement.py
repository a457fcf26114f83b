"""How far two sets of poses of one frame are apart. numpy and scipy."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float32]


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
    steps = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    common = ~np.isnan(steps)
    count = common.sum(axis=-1)
    mean = np.where(count > 0, np.where(common, steps, 0).sum(axis=-1) / np.maximum(count, 1), np.inf)
    rows, columns = linear_sum_assignment(np.minimum(mean, 1e6))
    near = mean[rows, columns] <= reach
    matched = steps[rows[near], columns[near]]
    return Agreement(
        distances=matched[~np.isnan(matched)].astype(np.float32),
        n_expected=len(expected),
        n_matched=int(near.sum()),
        n_surplus=len(found) - int(near.sum()),
    )
