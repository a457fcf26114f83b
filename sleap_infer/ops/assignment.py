"""One-to-one assignments with the highest sum of scores, of many tables at once. numpy; scipy where in doubt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALL = 32 * 32
"""Cells of a table up to which looking for the best partners costs less than scipy does."""


def assign(scores: Floats, is_row: Mask, is_column: Mask) -> Mask:
    """Pair rows with columns of each table so that the sum of scores is highest and none is taken twice.

    All of the rows or all of the columns are paired, whichever are fewer, as far as that is possible.

    Args:
        scores: (..., K, L); what is not finite is impossible and is never paired.
        is_row: (..., K) which rows there are.
        is_column: (..., L) which columns there are.

    Returns:
        (..., K, L) which pairs are made.

    >>> table = np.array([[0.9, 0.8], [0.7, 0.3]], np.float32)
    >>> assign(table, np.array([True, True]), np.array([True, True])).tolist()
    [[False, True], [True, False]]
    >>> assign(table, np.array([True, False]), np.array([True, True])).tolist()
    [[True, False], [False, False]]
    """
    if scores.shape[-2] * scores.shape[-1] <= SMALL:
        paired, is_clear = _best_partners(scores, is_row, is_column)
    else:
        paired, is_clear = np.zeros(scores.shape, bool), np.zeros(scores.shape[:-2], bool)
    for table in map(tuple, np.argwhere(~is_clear)):
        paired[table] = False
        paired[(*table, *_assign_by_scipy(scores[table], is_row[table], is_column[table]))] = True
    return paired


def positions_used(is_peak: Mask) -> int:
    """Return the number of leading positions of (..., K) that hold all peaks, at least one, so that no axis vanishes.

    >>> positions_used(np.array([[True, False, False, False], [False, False, True, False]]))
    3
    """
    used = np.flatnonzero(is_peak.any(axis=tuple(range(is_peak.ndim - 1))))
    return int(used[-1]) + 1 if len(used) else 1


def _best_partners(scores: Floats, is_row: Mask, is_column: Mask) -> tuple[Mask, Mask]:
    """Pair each row (where there are no more rows than columns, else each column) with its best partner.

    Where every one has a single best partner, and no two the same, no other sum is as high: that is the assignment.
    scipy's algorithm takes exactly these steps, without any arithmetic, so that rounding makes no difference either.

    Returns:
        The pairs (..., K, L), and in which tables they are the assignment (...).
    """
    n_rows, n_columns = is_row.sum(axis=-1), is_column.sum(axis=-1)
    inside = np.where(is_row[..., :, None] & is_column[..., None, :], scores, np.float32(-np.inf))
    best_in_row = np.where(is_row, inside.max(axis=-1, initial=-np.inf), np.float32(np.nan))
    best_in_column = np.where(is_column, inside.max(axis=-2, initial=-np.inf), np.float32(np.nan))
    by_row = (n_rows <= n_columns)[..., None, None]
    paired = inside == np.where(by_row, best_in_row[..., :, None], best_in_column[..., None, :])
    is_clear = np.isfinite(inside).sum(axis=(-2, -1)) == n_rows * n_columns
    is_clear &= (paired.sum(axis=-1) <= 1).all(axis=-1) & (paired.sum(axis=-2) <= 1).all(axis=-1)
    return paired, is_clear


def _assign_by_scipy(scores: Floats, is_row: Mask, is_column: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pairs of one table (K, L).

    What is impossible costs more than any assignment without it could, and is taken out where it was needed.
    """
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, which not all models need

    rows, columns = np.flatnonzero(is_row), np.flatnonzero(is_column)
    candidates = scores[rows][:, columns].astype(np.float64)
    possible = np.isfinite(candidates)
    if possible.all():
        i, j = linear_sum_assignment(-candidates)
        return rows[i], columns[j]
    if not possible.any():
        return rows[:0], columns[:0]
    worst = 1.0 + len(rows) * np.ptp(candidates[possible]) - candidates[possible].min()
    i, j = linear_sum_assignment(np.where(possible, -candidates, worst))
    made = possible[i, j]
    return rows[i[made]], columns[j[made]]
