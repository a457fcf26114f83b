"""Peaks become animals by their best connections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sleap_infer.ops.grouping import group_instances, walk_order

NAN = float("nan")
CHAIN = [(0, 1), (1, 2)]


def group(
    scores: list[list[list[float]]], edges: list[tuple[int, int]], n_nodes: int, least: float = 0.25
) -> tuple[list[list[int]], list[float]]:
    """Group one frame with every place a peak."""
    values = np.array(scores, np.float32)
    members, totals = group_one(np.ones((n_nodes, values.shape[1]), bool), values, edges, least)
    return members.tolist(), [round(float(total), 4) for total in totals]


def group_one(
    is_peak: np.ndarray, scores: np.ndarray, edges: list[tuple[int, int]], least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Members and scores of one frame."""
    frames, members, totals = group_instances(is_peak[None], scores[None], edges, least)
    assert frames.tolist() == [0] * len(members)
    return members, totals


def test_two_animals() -> None:
    scores = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.7], [0.6, 0.3]]]
    assert group(scores, CHAIN, 3) == ([[0, 0, 1], [1, 1, 0]], [1.6, 1.4])


def test_the_sum_of_scores_decides_not_the_single_best() -> None:
    """0.9 alone is best, but 0.8 + 0.7 beat 0.9 + 0.3."""
    assert group([[[0.9, 0.8], [0.7, 0.3]]], [(0, 1)], 2) == ([[0, 1], [1, 0]], [0.8, 0.7])


def test_weak_connections_are_dropped_after_the_assignment() -> None:
    """0.1 is a part of the best assignment; that 1 could have had 0.24 does not matter."""
    assert group([[[0.9, 0.5], [0.24, 0.1]]], [(0, 1)], 2) == ([[0, 0]], [0.9])


@pytest.mark.parametrize(("least", "n_instances"), [(0.5, 1), (0.5000001, 0), (0.50000001, 0)])
def test_min_line_scores_is_enough(least: float, n_instances: int) -> None:
    assert len(group([[[0.5]]], [(0, 1)], 2, least)[0]) == n_instances


def test_a_chain_that_breaks_gives_two_animals_and_peaks_without_connection_none() -> None:
    scores = [[[0.9, 0.0], [0.0, 0.1]], [[0.0, 0.0], [0.0, 0.8]]]
    assert group(scores, CHAIN, 3) == ([[0, 0, -1], [-1, 1, 1]], [0.9, 0.8])


@pytest.mark.parametrize("n_nodes", [2, 3, 4, 5, 8, 9, 17, 40])
def test_long_chains_are_one_animal_each(n_nodes: int) -> None:
    """Peak 0 of each node is connected to peak 1 of the next, and the other way round."""
    edges = [(node, node + 1) for node in range(n_nodes - 1)]
    members, totals = group([[[0.0, 0.5], [0.5, 0.0]]] * len(edges), edges, n_nodes)
    assert members == [[node % 2 for node in range(n_nodes)], [(node + 1) % 2 for node in range(n_nodes)]]
    assert totals == [len(edges) / 2] * 2


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
    members, _ = group_one(np.array([[True, False], [False, True]]), scores, [(0, 1)], 0.25)
    assert members.tolist() == [[0, 1]]
    none = np.zeros((2, 2), bool)
    for is_peak in (none, np.array([[False, False], [True, True]])):
        members, totals = group_one(is_peak, scores, [(0, 1)], 0.25)
        assert (members.shape, totals.shape) == ((0, 2), (0,))


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
    members, totals = group_one(is_peak, scores, edges, 0.25)
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
    members, _ = group_one(present, shuffled, edges, 0.25)
    back = [tuple(int(orders[n][k]) if k >= 0 else -1 for n, k in enumerate(row)) for row in members]
    assert set(back) == {tuple(row) for row in group_one(is_peak, scores, edges, 0.25)[0].tolist()}


def test_frames_do_not_mix_and_empty_ones_have_nobody() -> None:
    """Frame 1 has no peaks; frame 2 has the scores of frame 0 with the source peaks exchanged."""
    is_peak = np.ones((3, 2, 2), bool)
    is_peak[1] = False
    scores = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]], [[0.2, 0.8], [0.9, 0.1]]], np.float32)
    frames, members, totals = group_instances(is_peak, scores[:, None], [(0, 1)], 0.25)
    assert frames.tolist() == [0, 0, 2, 2]
    assert members.tolist() == [[0, 0], [1, 1], [0, 1], [1, 0]]
    assert totals.tolist() == pytest.approx([0.9, 0.8, 0.8, 0.9])


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], float]:
    """Up to three frames with ties, impossible connections, edges beside the tree in any order, and empty places."""
    n_frames, n_nodes, n_peaks = draw(st.integers(0, 3)), draw(st.integers(2, 6)), draw(st.integers(1, 5))
    tree = [(draw(st.integers(0, node - 1)), node) for node in range(1, n_nodes)]
    surplus = [(node - 1, node) for node in range(1, n_nodes)][: draw(st.integers(0, 2))]
    edges = draw(st.permutations(tree + surplus))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = dice.normal(size=(n_frames, len(edges), n_peaks, n_peaks)).astype(np.float32)
    if draw(st.booleans()):
        scores = np.round(2 * scores) / 2
    scores[dice.random(scores.shape) < draw(st.sampled_from([0.0, 0.2, 0.6]))] = np.nan
    is_peak = dice.random((n_frames, n_nodes, n_peaks)) < draw(st.sampled_from([0.4, 0.8, 1.0]))
    is_peak[:, :, draw(st.integers(1, 5)) :] = False
    return is_peak, scores, edges, draw(st.sampled_from([-1.0, 0.0, 0.25, 0.5]))


@given(batches())
def test_batches_are_grouped_as_frame_by_frame_edge_by_edge_peak_by_peak(
    batch: tuple[np.ndarray, np.ndarray, list[tuple[int, int]], float],
) -> None:
    is_peak, scores, edges, least = batch
    frames, members, totals = group_instances(is_peak, scores, edges, least)
    assert (frames.dtype, members.dtype, totals.dtype) == (np.int64, np.int64, np.float32)
    for number in range(len(is_peak)):
        expected, expected_totals = step_by_step(is_peak[number], scores[number], edges, least)
        assert members[frames == number].tolist() == expected
        assert totals[frames == number].tolist() == expected_totals


def step_by_step(
    is_peak: np.ndarray, scores: np.ndarray, edges: list[tuple[int, int]], least: float
) -> tuple[list[list[int]], list[float]]:
    """The definition: a walk over the edges, in which each connection begins an instance or adds to one."""
    owner: dict[tuple[int, int], int] = {}
    members: list[list[int]] = []
    totals: list[float] = []
    for edge in walk_order(tuple(edges)):
        source, destination = edges[edge]
        for i, j in best_connections(is_peak[source], is_peak[destination], scores[edge]):
            score = float(scores[edge, i, j])
            if score < least:
                continue
            if (source, i) not in owner:
                owner[source, i] = len(members)
                members.append([-1] * len(is_peak))
                totals.append(0.0)
            instance = owner[source, i]
            owner[destination, j] = instance
            members[instance][source], members[instance][destination] = i, j
            totals[instance] += score
    return members, np.array(totals, np.float32).tolist()


def best_connections(is_source: np.ndarray, is_destination: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
    """Of one edge, by source peak, all by scipy; impossible connections cost more than all others together."""
    rows, columns = np.flatnonzero(is_source), np.flatnonzero(is_destination)
    costs = -scores[np.ix_(rows, columns)].astype(np.float64)
    possible = np.isfinite(costs)
    if not possible.any():
        return []
    worst = 1.0 + len(rows) * np.ptp(costs[possible]) + costs[possible].max()
    matched = zip(*linear_sum_assignment(np.where(possible, costs, worst)), strict=True)
    return [(int(rows[i]), int(columns[j])) for i, j in matched if possible[i, j]]
