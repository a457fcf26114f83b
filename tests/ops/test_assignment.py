"""Many tables at once are paired as scipy pairs each of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sleap_infer.ops import assignment
from sleap_infer.ops.assignment import assign, positions_used

NAN, INF = float("nan"), float("inf")


def pairs(scores: object, is_row: object = None, is_column: object = None) -> list[list[int]]:
    """Pairs of one table, in which all rows and columns are there unless it is said."""
    table = np.array(scores, np.float32)
    there = [
        np.ones(n, bool) if given is None else np.array(given, bool)
        for n, given in zip(table.shape, (is_row, is_column), strict=True)
    ]
    return np.argwhere(assign(table, *there)).tolist()


@pytest.fixture(params=["partners", "scipy"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "scipy":
        monkeypatch.setattr(assignment, "SMALL", 0)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], [[0, 0], [1, 1]]),
        ([[0.9, 0.8], [0.7, 0.3]], [[0, 1], [1, 0]]),
        ([[0.1, 0.9, 0.3]], [[0, 1]]),
        ([[0.1], [0.9], [0.3]], [[1, 0]]),
        ([[-0.1, -0.9], [-0.9, -0.1]], [[0, 0], [1, 1]]),
        ([[0.9, NAN], [0.8, NAN]], [[0, 0]]),
        ([[NAN, 0.3], [0.3, 5.0]], [[0, 1], [1, 0]]),
        ([[INF, 0.3], [0.4, -INF]], [[0, 1], [1, 0]]),
        ([[NAN, NAN]], []),
        (np.zeros((0, 2)), []),
    ],
    ids=str,
)
def test_pairs_by_hand(scores: object, expected: list[list[int]]) -> None:
    assert pairs(scores) == expected


@pytest.mark.usefixtures("_either_way")
def test_what_is_not_there_is_not_paired() -> None:
    scores = [[9.0, 9.0, 9.0], [9.0, 0.2, 0.1], [9.0, 0.3, 0.25]]
    assert pairs(scores, is_row=[0, 1, 1], is_column=[0, 1, 1]) == [[1, 1], [2, 2]]
    assert pairs(scores, is_row=[0, 0, 1], is_column=[0, 1, 1]) == [[2, 1]]
    assert pairs(scores, is_row=[0, 1, 1], is_column=[0, 0, 1]) == [[2, 2]]
    assert pairs(scores, is_row=[0, 0, 0]) == []
    assert pairs(scores, is_column=[0, 0, 0]) == []


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two by three tables of up to 6 by 6: many with clear partners, with ties, of all magnitudes, with gaps."""
    n_rows, n_columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (2, 3, n_rows, n_columns)
    kind = draw(st.sampled_from(["clear", "any", "ties", "magnitudes", "equal rows"]))
    scores = dice.normal(size=shape)
    if kind == "clear":
        scores = 0.3 * scores + np.eye(6)[dice.permutation(6)][:n_rows, dice.permutation(6)[:n_columns]]
    elif kind == "ties":
        scores = np.round(2 * scores) / 2
    elif kind == "magnitudes":
        scores = scores * 10.0 ** dice.integers(-20, 4, shape)
    elif kind == "equal rows":
        scores = scores[:, :, :1] + np.zeros(shape)
    for impossible in (np.nan, np.inf, -np.inf):
        scores[dice.random(shape) < draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]))] = impossible
    there = draw(st.sampled_from([0.5, 0.9, 1.0]))
    return scores.astype(np.float32), dice.random(shape[:3]) < there, dice.random((2, 3, n_columns)) < there


def by_definition(scores: np.ndarray, is_row: np.ndarray, is_column: np.ndarray) -> np.ndarray:
    """One table at a time, all of it by scipy."""
    paired = np.zeros(scores.shape, bool)
    for at in np.ndindex(scores.shape[:2]):
        rows, columns = np.flatnonzero(is_row[at]), np.flatnonzero(is_column[at])
        block = scores[at][np.ix_(rows, columns)].astype(np.float64)
        possible = np.isfinite(block)
        if possible.any():
            worst = 1.0 + len(rows) * np.ptp(block[possible]) - block[possible].min()
            for i, j in zip(*linear_sum_assignment(np.where(possible, -block, worst)), strict=True):
                paired[(*at, rows[i], columns[j])] = possible[i, j]
    return paired


@given(tables())
def test_every_table_is_paired_as_scipy_does_it_also_where_others_would_be_as_good(
    table: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    np.testing.assert_array_equal(assign(*table), by_definition(*table))


@given(tables())
def test_large_tables_are_paired_alike(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "SMALL", 0)
        np.testing.assert_array_equal(assign(*table), by_definition(*table))


def test_scipy_is_left_out_where_partners_are_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(costs: object) -> None:
        raise AssertionError(costs)

    monkeypatch.setattr("scipy.optimize.linear_sum_assignment", refuse)
    assert pairs([[0.1, 0.9, 0.3], [0.8, 0.2, 0.3]]) == [[0, 1], [1, 0]]
    with pytest.raises(AssertionError):
        pairs([[0.9, 0.8], [0.7, 0.3]])
    with pytest.raises(AssertionError):
        pairs([[0.9, 0.9]])


@pytest.mark.parametrize(
    ("is_peak", "expected"), [([[0, 0, 0]], 1), ([[1, 0, 0]], 1), ([[1, 0, 0], [0, 1, 0]], 2), ([[0, 0, 1]], 3)]
)
def test_places_that_hold_all_peaks(is_peak: list[list[int]], expected: int) -> None:
    assert positions_used(np.array(is_peak, bool)) == expected
