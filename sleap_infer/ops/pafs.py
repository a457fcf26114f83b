"""Scores of candidate connections from part affinity fields. Torch, traceable.

After Cao et al. 2017 ("Realtime multi-person 2D pose estimation using part affinity fields") in SLEAP's form.
"""

from __future__ import annotations

from functools import reduce

import torch
from attrs import frozen
from torch import Tensor

from sleap_infer.ops.constants import indices

SAMPLES_AT_ONCE = 1 << 18
"""Samples per step, so that intermediate results stay in the CPU cache."""


@frozen
class LineScoring:
    """Parameters of the scores of connections.

    Attributes:
        edges: (source, destination) node indices in the channel order of the fields.
        stride: pixels of the network's input per bin of the fields.
        n_points: points sampled along each connection.
        max_edge_length_ratio: connections longer than this fraction of the fields' largest side are penalised.
        dist_penalty_weight: weight of that penalty.
    """

    edges: tuple[tuple[int, int], ...]
    stride: int
    n_points: int
    max_edge_length_ratio: float
    dist_penalty_weight: float


def score_lines(pafs: Tensor, peaks: Tensor, scoring: LineScoring) -> Tensor:
    """Return the mean agreement of the fields with each straight connection between a source and a destination peak.

    Fields are sampled at the nearest bin (halves to even, clipped to the field) of evenly spaced points. On the CPU,
    unless it is traced, the work grows with the positions that are used, not with those that there are.

    Args:
        pafs: (B, 2E, H, W); channels 2e and 2e + 1 are x and y of edge e.
        peaks: (B, N, K, 2) as (x, y) in pixels of the network's input; NaN where there is none.
        scoring: the edges and the weights.

    Returns:
        (B, E, K * K): source peak i and destination peak j at i * K + j. NaN where a peak is missing and where
        both lie on one spot.
    """
    if torch.compiler.is_compiling():
        return _score_all(pafs, peaks, scoring).flatten(2)
    positions, used = peaks.shape[2], _positions_used(peaks)
    scores = _score_all(pafs, peaks[:, :, :used], scoring)
    if used == positions:
        return scores.flatten(2)
    everywhere = scores.new_full((*scores.shape[:2], positions, positions), torch.nan)
    everywhere[..., :used, :used] = scores
    return everywhere.flatten(2)


def _positions_used(peaks: Tensor) -> int:
    """Return the number of leading positions that hold all peaks; all of them if asking would wait for a device."""
    if peaks.device.type != "cpu":
        return peaks.shape[2]
    used = peaks.isnan().any(dim=-1).logical_not().flatten(0, 1).any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 1


def _score_all(pafs: Tensor, peaks: Tensor, scoring: LineScoring) -> Tensor:
    """Score all positions, also empty ones: (B, E, K, K). In chunks on the CPU, unless traced."""
    source, destination = (indices(nodes, peaks.device) for nodes in zip(*scoring.edges, strict=True))
    start, end = peaks[:, source].flatten(0, 1), peaks[:, destination].flatten(0, 1)
    fields = pafs.unflatten(1, (-1, 2)).flatten(0, 1)
    longest = _longest(pafs, scoring)
    if torch.compiler.is_compiling() or peaks.device.type != "cpu":
        scores = _score(fields, start, end, longest, scoring)
    else:
        positions = peaks.shape[2]
        n_tables = max(SAMPLES_AT_ONCE // (positions**2 * scoring.n_points), 1)
        n_rows = max(SAMPLES_AT_ONCE // (positions * scoring.n_points), 1)
        scores = start.new_empty(len(start), positions, positions)
        for tables in _slices(len(start), n_tables):
            for rows in _slices(positions, n_rows):
                scores[tables, rows] = _score(fields[tables], start[tables, rows], end[tables], longest, scoring)
    return scores.unflatten(0, (-1, len(scoring.edges)))


def _slices(length: int, step: int) -> list[slice]:
    """Slices that cover a length step by step.

    >>> _slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    return [slice(first, first + step) for first in range(0, length, step)]


def _score(fields: Tensor, start: Tensor, end: Tensor, longest: float, scoring: LineScoring) -> Tensor:
    """Scores of all connections between two sets of peaks.

    The samples of all connections lie one sample after the other, (T, samples, R, K), so that what is done with them
    is done with long rows. Cells are counted in 32-bit floats, which is exact for fields of up to 4096 x 4096.

    Args:
        fields: (T, 2, H, W) one field per table of connections.
        start: (T, R, 2) source peaks.
        end: (T, K, 2) destination peaks.
        longest: connection that is not penalised.
        scoring: the weights.

    Returns:
        (T, R, K).
    """
    along = end[:, None] - start[:, :, None]
    length = along.norm(dim=-1)
    fraction = torch.linspace(0, 1, scoring.n_points, device=start.device, dtype=start.dtype)[:, None, None]
    first = torch.nan_to_num(start)[:, None, :, None]
    slope = torch.nan_to_num(along / (1.0 + torch.finfo(torch.float32).eps))[:, None]
    height, width = fields.shape[-2:]
    x, y = (
        (first[..., k] + fraction * slope[..., k]).div_(scoring.stride).round_().clamp_(0, side - 1)
        for k, side in ((0, width), (1, height))
    )
    bins = y.mul_(width).add_(x).long().flatten(1)
    along_x, along_y = (_total(fields[:, k].flatten(1).gather(1, bins).view_as(x)) * along[..., k] for k in (0, 1))
    return (along_x + along_y) / (length * scoring.n_points) + _distance_penalty(length, longest, scoring)


def _total(samples: Tensor) -> Tensor:
    """Sum over the second dimension, in its order; that of a reduction would depend on the number of connections."""
    return reduce(torch.add, samples.unbind(1))


def _longest(pafs: Tensor, scoring: LineScoring) -> float:
    """Longest expected connection, in pixels of the network's input.

    The largest side of the fields includes their channel count, as in SLEAP.
    """
    channels, height, width = pafs.shape[1:]
    largest = torch.sym_max(torch.sym_max(height, width), channels)  # Python's max would fix it while tracing
    longest: float = scoring.max_edge_length_ratio * largest * scoring.stride
    return longest


def _distance_penalty(length: Tensor, longest: float, scoring: LineScoring) -> Tensor:
    """0 up to the longest expected connection, then falling towards -`dist_penalty_weight`."""
    return (longest / length - 1.0).clamp(max=0.0) * scoring.dist_penalty_weight
