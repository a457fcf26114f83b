"""Who is who: one-to-one assignment of peaks or crops to classes. numpy and scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sleap_infer.ops.assignment import assign, positions_used

Floats = NDArray[np.float32]


def assign_classes(probabilities: Floats) -> NDArray[np.int64]:
    """Return the class of each row that maximises the sum of probabilities, with no class taken twice.

    Args:
        probabilities: (n, C).

    Returns:
        (n,) class indices, -1 for rows that are left over where there are more rows than classes, and for rows
        that are not finite.

    >>> assign_classes(np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.3]], np.float32)).tolist()
    [1, 0, -1]
    """
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, which not all models need

    classes = np.full(len(probabilities), -1)
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    rows, columns = linear_sum_assignment(-probabilities[known])
    classes[known[rows]] = columns
    return classes


def group_by_class(is_peak: NDArray[np.bool_], probabilities: Floats) -> NDArray[np.int64]:
    """Give the peaks of each frame to classes, node by node.

    A match counts only if the class is also the peak's own most probable one.

    Args:
        is_peak: (..., N, K) which positions hold a peak.
        probabilities: (..., N, K, C).

    Returns:
        (..., C, N) which peak of each node belongs to the class, -1 for none.

    >>> probabilities = np.array([[[0.1, 0.9], [0.8, 0.3]]], np.float32)
    >>> group_by_class(np.array([[True, True]]), probabilities).tolist()
    [[1], [0]]
    """
    n_positions = positions_used(is_peak)
    own = probabilities[..., :n_positions, :]
    known = is_peak[..., :n_positions] & np.isfinite(own).all(axis=-1)
    every_class = np.ones((*own.shape[:-2], own.shape[-1]), bool)
    taken = assign(own, known, every_class) & (own == own.max(axis=-1, keepdims=True))
    members = np.where(taken.any(axis=-2), taken.argmax(axis=-2), -1)
    return np.ascontiguousarray(members.swapaxes(-1, -2))
