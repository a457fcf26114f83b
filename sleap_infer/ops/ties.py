"""How near an assignment is to another one: where scores that are a little off would pair others. numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sleap_infer.ops.assignment import Mask, assign

Doubles = NDArray[np.float64]

IMPOSSIBLE = -1e6
"""Stands for scores that are not finite: far below all others, and few enough digits to compute with."""


def nearest_exchange(
    scores: NDArray[np.floating], is_row: Mask, is_column: Mask, least: float = -np.inf
) -> tuple[Doubles, Mask]:
    """What the best assignment of each table is ahead of the next one.

    Next is the best of those that another pair makes: its row and its column leave their partners, and these two go
    together, or one of them takes the best partner that is free. With up to two rows or columns there are no others.

    Args:
        scores: (..., K, L); what is not finite is impossible.
        is_row: (..., K) which rows there are.
        is_column: (..., L) which columns there are.
        least: changes between scores that are all lower do not count.

    Returns:
        The difference between the two sums of scores (...), infinite where there is no other assignment; and the best
        assignment (..., K, L).

    >>> there = np.array([True, True])
    >>> lead, paired = nearest_exchange(np.array([[0.9, 0.6], [0.8, 0.6]], np.float32), there, there)
    >>> round(float(lead), 3), paired.tolist()
    (0.1, [[True, False], [False, True]])
    """
    paired = assign(scores.astype(np.float32, copy=False), is_row, is_column)
    is_cell = is_row[..., :, None] & is_column[..., None, :]
    table = np.where(is_cell & np.isfinite(scores), scores, IMPOSSIBLE).astype(np.float64)
    pairs = paired.astype(np.float64)
    of_row, of_column = ((table * pairs).sum(axis=axis, keepdims=True) for axis in (-1, -2))
    has_row, has_column = (np.any(paired, axis=axis, keepdims=True) for axis in (-1, -2))

    left = pairs @ table.swapaxes(-1, -2) @ pairs  # the score of those whom a cell's row and column leave, together
    in_row = np.where(has_column, IMPOSSIBLE, table).max(axis=-1, keepdims=True, initial=IMPOSSIBLE)
    in_column = np.where(has_row, IMPOSSIBLE, table).max(axis=-2, keepdims=True, initial=IMPOSSIBLE)
    left = np.maximum(left, (pairs * in_row).sum(axis=-2, keepdims=True))
    left = np.maximum(left, (pairs * in_column).sum(axis=-1, keepdims=True))
    back = np.where(has_row & has_column, left, 0.0)

    highest = np.maximum(np.maximum(of_row, of_column), np.maximum(table, back))
    counts = is_cell & ~paired & (has_row | has_column) & (highest >= least)
    losses = np.where(counts, of_row + of_column - table - back, np.inf)
    return losses.min(axis=(-2, -1), initial=np.inf), paired
