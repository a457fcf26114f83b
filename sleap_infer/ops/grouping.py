"""From scored connections to instances: assignment and assembly. numpy and scipy.

After Cao et al. 2017 ("Realtime multi-person 2D pose estimation using part affinity fields") in SLEAP's form: the
edges are a tree, each edge is matched by itself, and matches that share a peak are one animal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Edge = tuple[int, int]


def group_instances(
    is_peak: NDArray[np.bool_], line_scores: Floats, edges: Sequence[Edge], min_line_scores: float
) -> tuple[NDArray[np.int64], Floats]:
    """Join the peaks of one frame into animals.

    Args:
        is_peak: (N, K) which places hold a peak.
        line_scores: (E, K, K) score of each connection from source peak to destination peak; NaN: impossible.
        edges: E pairs of node indices. Only those that a walk from the first root reaches are used.
        min_line_scores: connections that score less are dropped, after the assignment.

    Returns:
        members: (I, N) which peak of each node belongs to the instance, -1 for none, in the order in which
            instances were begun.
        scores: (I,) sum of the scores of the instance's connections.

    >>> peaks = np.ones((2, 2), bool)
    >>> scores = np.array([[[0.1, 0.9], [0.8, 0.2]]], np.float32)
    >>> members, totals = group_instances(peaks, scores, [(0, 1)], min_line_scores=0.25)
    >>> members.tolist(), [f"{total:.1f}" for total in totals]
    ([[0, 1], [1, 0]], ['0.9', '0.8'])
    """
    n_nodes = is_peak.shape[0]
    owner = np.full(is_peak.shape, -1)
    members: list[NDArray[np.int64]] = []
    totals: list[float] = []
    for e in walk_order(tuple(edges)):
        source, destination = edges[e]
        for i, j, score in match_edge(is_peak[source], is_peak[destination], line_scores[e], min_line_scores):
            instance = owner[source, i]
            if instance < 0:
                instance = len(members)
                members.append(np.full(n_nodes, -1))
                totals.append(0.0)
                owner[source, i] = instance
                members[instance][source] = i
            owner[destination, j] = instance
            members[instance][destination] = j
            totals[instance] += score
    return np.array(members, np.int64).reshape(-1, n_nodes), np.array(totals, np.float32)


def match_edge(
    is_source: NDArray[np.bool_], is_destination: NDArray[np.bool_], scores: Floats, min_score: float
) -> list[tuple[int, int, float]]:
    """Best one-to-one connections of one edge: (source peak, destination peak, score), by source peak.

    Impossible connections (NaN) are never made, also where a full assignment would need them.

    Args:
        is_source: (K,) which source peaks there are.
        is_destination: (K,) which destination peaks there are.
        scores: (K, K).
        min_score: connections below it are dropped after the assignment.
    """
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, which not all models need

    rows, columns = np.flatnonzero(is_source), np.flatnonzero(is_destination)
    if not len(rows) or not len(columns):
        return []
    candidates = scores[np.ix_(rows, columns)].astype(np.float64)
    possible = np.isfinite(candidates)
    if not possible.any():
        return []
    worst = 1.0 + len(rows) * np.ptp(candidates[possible]) - candidates[possible].min()
    matched = zip(*linear_sum_assignment(np.where(possible, -candidates, worst)), strict=True)
    return [
        (int(rows[i]), int(columns[j]), float(candidates[i, j]))
        for i, j in matched
        if possible[i, j] and candidates[i, j] >= min_score
    ]


@lru_cache(maxsize=64)
def walk_order(edges: tuple[Edge, ...]) -> tuple[int, ...]:
    """Edges in the order in which instances grow: breadth first from the first root.

    Nodes are known in the order of their first appearance in the edge list; the root is the first that no edge leads
    to. An edge to a node that was reached already, or out of the root's reach, is left out.

    Raises:
        ValueError: every node has an edge leading to it.

    >>> walk_order(((1, 2), (0, 1), (0, 3), (5, 6)))
    (1, 2, 0)
    """
    nodes = list(dict.fromkeys(node for edge in edges for node in edge))
    targets = {destination for _, destination in edges}
    roots = [node for node in nodes if node not in targets]
    if not roots:
        raise ValueError(f"the edges {edges} form a cycle: no node is a root")
    reached, queue, order = {roots[0]}, [roots[0]], []
    while queue:
        node = queue.pop(0)
        for e, (source, destination) in enumerate(edges):
            if source == node and destination not in reached:
                reached.add(destination)
                queue.append(destination)
                order.append(e)
    return tuple(order)
