"""How far the best assignment is ahead of the next."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sleap_infer.ops.ties import nearest_exchange

NAN = float("nan")


def lead(scores: object, is_row: object = None, is_column: object = None, least: float = -np.inf) -> float:
    """Of one table, in which all rows and columns are there unless it is said."""
    table = np.array(scores, np.float32)
    there = [
        np.ones(n, bool) if given is None else np.array(given, bool)
        for n, given in zip(table.shape, (is_row, is_column), strict=True)
    ]
    return float(nearest_exchange(table, *there, least=least)[0])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], 1.4),
        ([[0.9, 0.8], [0.7, 0.6]], 0.0),
        ([[0.9, 0.85, 0.1]], 0.05),
        ([[0.9], [0.85], [0.1]], 0.05),
        ([[0.9]], np.inf),
        (np.zeros((0, 2)), np.inf),
        ([[0.9, 0.1, 0.2], [0.1, 0.8, 0.75]], 0.05),
        ([[0.9, 0.1], [0.1, 0.8], [0.2, 0.75]], 0.05),
        ([[0.9, 0.95, 0.1], [0.1, 0.8, 0.7]], 0.05),  # the first takes the second's, which takes the third
    ],
    ids=str,
)
def test_leads_by_hand(scores: object, expected: float) -> None:
    assert lead(scores) == pytest.approx(expected, abs=1e-6)


def test_what_is_impossible_is_far() -> None:
    assert lead([[0.9, NAN]]) > 1e3
    assert lead([[0.9, NAN], [NAN, 0.8]]) > 1e3
    assert lead([[0.9, NAN], [0.8, NAN]]) == pytest.approx(0.1, abs=1e-6)


def test_what_is_not_there_is_not_asked() -> None:
    scores = [[0.9, 0.89], [0.88, 0.2]]
    assert lead(scores, is_row=[1, 0], is_column=[1, 0]) == np.inf
    assert lead(scores, is_row=[1, 0]) == pytest.approx(0.01, abs=1e-6)
    assert lead(scores, is_column=[1, 0]) == pytest.approx(0.02, abs=1e-6)


def test_low_scores_do_not_count() -> None:
    scores = [[0.9, 0.1, 0.2], [0.1, 0.2, 0.19]]
    assert lead(scores) == pytest.approx(0.01, abs=1e-6)
    assert lead(scores, least=0.25) == pytest.approx(0.7, abs=1e-6)


def by_trying(table: NDArray[np.float64]) -> float:
    """Best minus second best over all complete assignments of a table with no more rows than columns."""
    rows = range(len(table))
    sums = sorted((sum(table[rows, list(to)]) for to in permutations(range(table.shape[1]), len(table))), reverse=True)
    return float(sums[0] - sums[1])


def by_changing_one(table: NDArray[np.float64], paired: NDArray[np.bool_]) -> float:
    to = list(paired.argmax(axis=1))
    free = [column for column in range(table.shape[1]) if column not in to]
    losses = [table[i, to[i]] - table[i, column] for i in range(len(table)) for column in free]
    for i, j in permutations(range(len(table)), 2):  # i takes the column of j, which takes that of i or a free one
        others = [to[i], *free]
        losses += [table[i, to[i]] + table[j, to[j]] - table[i, to[j]] - table[j, column] for column in others]
    return float(min(losses))


@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_leads_of_any_table(n_rows: int, n_columns: int, seed: int) -> None:
    n_rows = min(n_rows, n_columns)
    table = np.random.default_rng(seed).uniform(-1, 1, (n_rows, n_columns)).astype(np.float32)
    there = np.ones(n_rows, bool), np.ones(n_columns, bool)
    found, paired = nearest_exchange(table, *there)
    turned, _ = nearest_exchange(table.T, *there[::-1])
    assert float(found) == pytest.approx(by_changing_one(table.astype(float), paired), abs=1e-9)
    assert float(turned) == pytest.approx(float(found), abs=1e-9)
    if n_rows <= 2:  # with more, three may exchange
        assert float(found) == pytest.approx(by_trying(table.astype(float)), abs=1e-9)


def test_many_tables_at_once() -> None:
    rng = np.random.default_rng(0)
    tables = rng.uniform(0, 1, (3, 2, 4, 5))
    is_row, is_column = rng.uniform(size=(3, 2, 4)) < 0.7, rng.uniform(size=(3, 2, 5)) < 0.7
    found, paired = nearest_exchange(tables, is_row, is_column)
    for at in np.ndindex(3, 2):
        alone, pairs = nearest_exchange(tables[at], is_row[at], is_column[at])
        assert found[at] == alone
        assert np.array_equal(paired[at], pairs)
