"""Who is who: one-to-one assignment of peaks or crops to classes. numpy and scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def assign_classes(probabilities: Floats) -> NDArray[np.int64]:
    """The class of each row so that the sum of probabilities is highest and no class is taken twice.

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
    """Give the peaks of one frame to classes, node by node.

    A match counts only if the class is also the peak's own most probable one.

    Args:
        is_peak: (N, K) which places hold a peak.
        probabilities: (N, K, C).

    Returns:
        (C, N) which peak of each node belongs to the class, -1 for none.
    """
    members = np.full((probabilities.shape[-1], is_peak.shape[0]), -1)
    for node, present in enumerate(is_peak):
        peaks = np.flatnonzero(present)
        if not len(peaks):
            continue
        own = probabilities[node, peaks]
        classes = assign_classes(own)
        for peak, label, row in zip(peaks, classes, own, strict=True):
            if label >= 0 and row[label] == row.max():
                members[label, node] = peak
    return members
