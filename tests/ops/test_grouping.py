"""Peaks become animals by their best connections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.ops.grouping import group_instances, match_edge, walk_order

NAN = float("nan")
CHAIN = [(0, 1), (1, 2)]


def group(
    scores: list[list[list[float]]], edges: list[tuple[int, int]], n_nodes: int, least: float = 0.25
) -> tuple[list[list[int]], list[float]]:
    """Group with every place a peak."""
    values = np.array(scores, np.float32)
    members, totals = group_instances(np.ones((n_nodes, values.shape[1]), bool), values, edges, least)
    return members.tolist(), [round(float(total), 4) for total in totals]


def test_two_animals() -> None:
    scores = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.7], [0.6, 0.3]]]
    assert group(scores, CHAIN, 3) == ([[0, 0, 1], [1, 1, 0]], [1.6, 1.4])


def test_the_sum_of_scores_decides_not_the_single_best() -> None:
    """0.9 alone is best, but 0.8 + 0.7 beat 0.9 + 0.3."""
    assert group([[[0.9, 0.8], [0.7, 0.3]]], [(0, 1)], 2) == ([[0, 1], [1, 0]], [0.8, 0.7])


def test_weak_connections_are_dropped_after_the_assignment() -> None:
    """0.1 is a part of the best assignment; that 1 could have had 0.24 does not matter."""
    assert group([[[0.9, 0.5], [0.24, 0.1]]], [(0, 1)], 2) == ([[0, 0]], [0.9])


@pytest.mark.parametrize(("least", "n_instances"), [(0.5, 1), (0.5000001, 0)])
def test_min_line_scores_is_enough(least: float, n_instances: int) -> None:
    assert len(group([[[0.5]]], [(0, 1)], 2, least)[0]) == n_instances


def test_a_chain_that_breaks_gives_two_animals_and_peaks_without_connection_none() -> None:
    scores = [[[0.9, 0.0], [0.0, 0.1]], [[0.0, 0.0], [0.0, 0.8]]]
    assert group(scores, CHAIN, 3) == ([[0, 0, -1], [-1, 1, 1]], [0.9, 0.8])


def test_edges_outside_of_the_tree_are_ignored() -> None:
    """(1, 2) is a second way to 2; (3, 4) is another tree. Each of their scores would win."""
    edges = [(0, 1), (0, 2), (1, 2), (3, 4)]
    assert group([[[0.5]], [[0.4]], [[9.0]], [[9.0]]], edges, 5) == ([[0, 0, 0, -1, -1]], [0.9])


@pytest.mark.parametrize(
    ("edges", "order"),
    [
        (((0, 1), (1, 2)), (0, 1)),
        (((1, 2), (0, 1)), (1, 0)),
        (((2, 0), (2, 1), (0, 3), (1, 4)), (0, 1, 2, 3)),
        (((2, 1), (2, 0), (0, 3), (1, 4)), (0, 1, 3, 2)),
        (((0, 2), (1, 2)), (0,)),
        (((5, 6), (0, 1)), (0,)),
    ],
)
def test_edges_are_walked_breadth_first_from_the_first_root(
    edges: tuple[tuple[int, int], ...], order: tuple[int, ...]
) -> None:
    assert walk_order(edges) == order


def test_cycles_have_no_root() -> None:
    with pytest.raises(ValueError, match="cycle"):
        walk_order(((0, 1), (1, 0)))


def test_impossible_connections_are_never_made() -> None:
    assert group([[[NAN, 0.9], [NAN, 0.8]]], [(0, 1)], 2) == ([[0, 1]], [0.9])
    assert group([[[NAN, NAN], [NAN, NAN]]], [(0, 1)], 2) == ([], [])
    assert group([[[NAN, 0.3], [0.3, 5.0]]], [(0, 1)], 2) == ([[0, 1], [1, 0]], [0.3, 0.3])


def test_absent_peaks_are_not_connected() -> None:
    scores = np.full((1, 2, 2), 9, np.float32)
    members, _ = group_instances(np.array([[True, False], [False, True]]), scores, [(0, 1)], 0.25)
    assert members.tolist() == [[0, 1]]
    none = np.zeros((2, 2), bool)
    members, totals = group_instances(none, scores, [(0, 1)], 0.25)
    assert (members.shape, totals.shape) == ((0, 2), (0,))
    assert match_edge(none[0], ~none[0], scores[0], 0.25) == []


@st.composite
def frames(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Peaks, distinct scores (some impossible) and a tree of up to five nodes."""
    n_nodes, n_peaks = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    edges = [(draw(st.integers(0, node - 1)), node) for node in range(1, n_nodes)]
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = dice.normal(size=(n_nodes - 1, n_peaks, n_peaks)).astype(np.float32)
    scores[dice.random(scores.shape) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
    return dice.random((n_nodes, n_peaks)) < 0.8, scores, edges


@given(frames())
def test_no_peak_belongs_to_two_animals(frame: tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]) -> None:
    is_peak, scores, edges = frame
    members, totals = group_instances(is_peak, scores, edges, 0.25)
    for node, peaks in enumerate(members.T):
        taken = peaks[peaks >= 0]
        assert len(set(taken)) == len(taken)
        assert is_peak[node, taken].all()
    for instance, total in zip(members, totals, strict=True):
        joined = [scores[e, instance[a], instance[b]] for e, (a, b) in enumerate(edges) if min(instance[[a, b]]) >= 0]
        assert total == pytest.approx(sum(joined), abs=1e-5)
        assert min(joined) >= 0.25


@given(frames(), st.randoms(use_true_random=False))
def test_the_order_of_peaks_does_not_matter(
    frame: tuple[np.ndarray, np.ndarray, list[tuple[int, int]]], random: object
) -> None:
    is_peak, scores, edges = frame
    n_nodes, n_peaks = is_peak.shape
    orders = [np.array(random.sample(range(n_peaks), n_peaks)) for _ in range(n_nodes)]  # type: ignore[attr-defined]
    shuffled = np.stack([scores[e][np.ix_(orders[a], orders[b])] for e, (a, b) in enumerate(edges)])
    present = np.stack([is_peak[node, order] for node, order in enumerate(orders)])
    members, _ = group_instances(present, shuffled, edges, 0.25)
    back = [tuple(int(orders[n][k]) if k >= 0 else -1 for n, k in enumerate(row)) for row in members]
    assert set(back) == {tuple(row) for row in group_instances(is_peak, scores, edges, 0.25)[0].tolist()}
