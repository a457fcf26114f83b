"""GPTQ: round the weights of a layer so that its outputs change least.

Each rounding error is compensated by the weights after it (Frantar et al. 2022, arXiv:2210.17323; Optimal Brain
Quantization in a fixed order). The bias, which is not rounded, comes last and takes the remaining error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]

Grid: TypeAlias = Callable[[Doubles], Doubles]
"""Rounds a column of weights (O,)."""

DAMPING = 0.01
"""Added to the diagonal of the moments, relative to its mean; the value of the paper."""

N_AT_ONCE = 128
"""Columns whose errors are propagated together; affects speed only."""


def round_compensated(weights: Doubles, moments: NDArray[np.floating], grid: Grid, n_free: int = 0) -> Doubles:
    """Round weights so that the mean squared change of the outputs is smallest.

    Args:
        weights: (O, K), one row per output.
        moments: (K, K), sums of products of the inputs over many positions.
        grid: rounds one column.
        n_free: columns at the end that take errors and are not rounded, e.g. biases.

    Returns:
        (O, K).

    >>> weights = np.array([[0.4, 0.4, 0.4]])  # equal inputs: only the sum counts
    >>> round_compensated(weights, np.ones((3, 3)), np.round)
    array([[0., 1., 0.]])
    """
    rounded = weights.astype(np.float64)
    factor = _factor(moments)
    n_columns = rounded.shape[1] - n_free
    for begin in range(0, n_columns, N_AT_ONCE):
        end = min(begin + N_AT_ONCE, n_columns)
        errors = np.zeros((len(rounded), end - begin))
        for column in range(begin, end):
            wanted = rounded[:, column].copy()
            rounded[:, column] = grid(wanted)
            error = (wanted - rounded[:, column]) / factor[column, column]
            rounded[:, column + 1 : end] -= np.outer(error, factor[column, column + 1 : end])
            errors[:, column - begin] = error
        rounded[:, end:] -= errors @ factor[begin:end, end:]
    return rounded


def _factor(moments: NDArray[np.floating]) -> Doubles:
    """Return the upper triangle U with UᵀU = inverse of the damped moments; computed in place, to save memory."""
    from scipy.linalg import cholesky, lapack

    damped = np.array(moments[::-1, ::-1], np.float64, order="F")
    diagonal = damped.diagonal().copy()
    np.fill_diagonal(damped, diagonal + DAMPING * max(float(diagonal.mean()), np.finfo(np.float64).tiny))
    lower = cholesky(damped, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = lapack.dtrtri(lower, lower=1, overwrite_c=1)
    return np.asarray(inverse)[::-1, ::-1]


def scales_of(weights: Doubles, highest: int = 127) -> Doubles:
    """Return the quantization step (O,) of each row of weights (O, K)."""
    return np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny * highest) / highest


def integer_grid(scales: Doubles, highest: int = 127) -> Grid:
    """Return a grid of the multiples -`highest` to `highest` of a step per row."""
    return lambda column: np.clip(np.rint(column / scales), -highest, highest) * scales


def bfloat16_grid(column: Doubles) -> Doubles:
    """Round to the nearest bfloat16 values."""
    import ml_dtypes

    return column.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
