"""From scored connections to instances: assignment and assembly. numpy and scipy.

After Cao et al. 2017 ("Realtime multi-person 2D pose estimation using part affinity fields") in SLEAP's form: the
edges are a tree, each edge is matched separately, and matches with a common peak are one animal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sleap_infer.ops.assignment import assign, positions_used

Floats = NDArray[np.float32]
Edge = tuple[int, int]


def group_instances(
    is_peak: NDArray[np.bool_], line_scores: Floats, edges: Sequence[Edge], min_line_scores: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Join the peaks of each frame into animals.

    Args:
        is_peak: (B, N, K) which positions hold a peak.
        line_scores: (B, E, K, K) score of each connection from source peak to destination peak; not finite: impossible.
        edges: E pairs of node indices. Only those that a walk from the first root reaches are used.
        min_line_scores: connections that score less are dropped, after the assignment.

    Returns:
        frames: (I,) the frame of each instance, ascending.
        members: (I, N) which peak of each node belongs to the instance, -1 for none. The instances of a frame stand in
            the order in which the walk begins them: by their first connection's edge, then by its source peak.
        scores: (I,) sum of the scores of the instance's connections.

    >>> peaks = np.ones((1, 2, 2), bool)
    >>> scores = np.array([[[[0.1, 0.9], [0.8, 0.2]]]], np.float32)
    >>> frames, members, totals = group_instances(peaks, scores, [(0, 1)], min_line_scores=0.25)
    >>> frames.tolist(), members.tolist(), [f"{total:.1f}" for total in totals]
    ([0, 0], [[0, 1], [1, 0]], ['0.9', '0.8'])
    """
    n_positions = positions_used(is_peak)
    walk = list(walk_order(tuple(edges)))
    sources, destinations = np.array(edges)[walk].T
    is_peak, scores = is_peak[..., :n_positions], line_scores[..., :n_positions, :n_positions][:, walk]
    paired = assign(scores, is_peak[:, sources], is_peak[:, destinations])

    at = np.nonzero(paired)
    joined = scores[at].astype(np.float64)
    enough = joined >= min_line_scores
    frames, step, start, end = (positions[enough] for positions in at)
    source, destination = sources[step], destinations[step]

    first = _first_peaks(
        np.ravel_multi_index((frames, source, start), is_peak.shape),
        np.ravel_multi_index((frames, destination, end), is_peak.shape),
        is_peak.size,
        is_peak.shape[1],
    )
    begins, instance = _number(first, is_peak.size)
    members = np.full((len(begins), is_peak.shape[1]), -1)
    members[instance, source], members[instance, destination] = start, end
    return frames[begins], members, np.bincount(instance, joined[enough], len(begins)).astype(np.float32)


def _first_peaks(starts: NDArray[np.int64], ends: NDArray[np.int64], n_peaks: int, n_nodes: int) -> NDArray[np.int64]:
    """For each connection, the peak nearest to the root in the tree of connections that it is a part of.

    Every peak points at the one before it, then at the one two before it, then four.
    """
    before = np.arange(n_peaks)
    before[ends] = starts
    for _ in range(n_nodes.bit_length()):
        before = before[before]
    return before[starts]


def _number(labels: NDArray[np.int64], n_labels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each label first appears, and the labels numbered in that order."""
    first = np.empty(n_labels, np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]
    first = first[labels]
    is_first = first == np.arange(len(labels))
    return np.flatnonzero(is_first), (np.cumsum(is_first) - 1)[first]


@lru_cache(maxsize=64)
def walk_order(edges: tuple[Edge, ...]) -> tuple[int, ...]:
    """Return the edges in the order in which instances grow: breadth first from the first root.

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
