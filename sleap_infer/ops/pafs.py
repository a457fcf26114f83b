"""Scores of candidate connections from part affinity fields. Torch, traceable.

After Cao et al. 2017 ("Realtime multi-person 2D pose estimation using part affinity fields") in SLEAP's form.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from sleap_infer.ops.constants import indices

SAMPLES_AT_ONCE = 1 << 22
"""Crowded batches with more samples than this are scored frame by frame, to bound memory."""


@frozen
class LineScoring:
    """How connections are scored.

    Attributes:
        edges: (source, destination) node indices in the channel order of the fields.
        stride: pixels of the network's input per cell of the fields.
        n_points: points sampled along each connection.
        max_edge_length_ratio: connections longer than this share of the fields' largest side are penalised.
        dist_penalty_weight: weight of that penalty.
    """

    edges: tuple[tuple[int, int], ...]
    stride: int
    n_points: int
    max_edge_length_ratio: float
    dist_penalty_weight: float


def score_lines(pafs: Tensor, peaks: Tensor, scoring: LineScoring) -> Tensor:
    """Mean agreement of the fields with each straight connection between a source and a destination peak.

    Fields are sampled at the nearest cell (halves to even, clipped to the field) of evenly spaced points. On the CPU,
    unless it is traced, the work grows with the places that are used, not with those that there are.

    Args:
        pafs: (B, 2E, H, W); channels 2e and 2e + 1 are x and y of edge e.
        peaks: (B, N, K, 2) as (x, y) in pixels of the network's input; NaN where there is none.
        scoring: the edges and the weights.

    Returns:
        (B, E, K * K): source peak i and destination peak j at i * K + j. NaN where a peak is missing and where
        both lie on one spot.
    """
    if torch.compiler.is_compiling():
        return _score_pairs(pafs, peaks, scoring)
    places, used = peaks.shape[2], _places_used(peaks)
    if peaks.shape[0] > 1 and peaks.shape[0] * used**2 * len(scoring.edges) * scoring.n_points > SAMPLES_AT_ONCE:
        return torch.cat([score_lines(pafs[b : b + 1], peaks[b : b + 1], scoring) for b in range(peaks.shape[0])])
    scores = _score_pairs(pafs, peaks[:, :, :used], scoring)
    if used == places:
        return scores
    everywhere = scores.new_full((*scores.shape[:2], places, places), torch.nan)
    everywhere[..., :used, :used] = scores.unflatten(2, (used, used))
    return everywhere.flatten(2)


def _places_used(peaks: Tensor) -> int:
    """How many of the places, from the first on, hold all peaks; all, where to ask would be to wait for a device."""
    if peaks.device.type != "cpu":
        return peaks.shape[2]
    used = peaks.isnan().any(dim=-1).logical_not().flatten(0, 1).any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 1


def _score_pairs(pafs: Tensor, peaks: Tensor, scoring: LineScoring) -> Tensor:
    """As `score_lines`, whatever the places hold."""
    n_pairs = peaks.shape[2] ** 2
    source, destination = (indices(nodes, peaks.device) for nodes in zip(*scoring.edges, strict=True))
    start = peaks[:, source, :, None].expand(-1, -1, -1, peaks.shape[2], -1).flatten(2, 3)
    end = peaks[:, destination, None].expand(-1, -1, peaks.shape[2], -1, -1).flatten(2, 3)
    along = end - start
    length = along.norm(dim=-1)
    unit = along / length[..., None]

    share = torch.linspace(0, 1, scoring.n_points, device=peaks.device, dtype=peaks.dtype)
    slope = along / (1.0 + torch.finfo(torch.float32).eps)
    points = start[..., None, :] + share[:, None] * slope[..., None, :]
    vectors = _sample(pafs, points.flatten(2, 3), scoring.stride)
    agreement = (vectors.unflatten(2, (n_pairs, scoring.n_points)) * unit[..., None, :]).sum(-1).mean(-1)
    return agreement + _distance_penalty(length, pafs, scoring)


def _sample(pafs: Tensor, points: Tensor, stride: int) -> Tensor:
    """Vectors of each edge's field at points: (B, 2E, H, W) and (B, E, P, 2) -> (B, E, P, 2)."""
    height, width = pafs.shape[-2:]
    cells = torch.round(torch.nan_to_num(points) / stride).long()
    x, y = cells[..., 0].clamp(0, width - 1), cells[..., 1].clamp(0, height - 1)
    fields = pafs.unflatten(1, (-1, 2)).flatten(3)
    index = (y * width + x)[:, :, None].expand(-1, -1, 2, -1)
    return fields.gather(3, index).transpose(2, 3)


def _distance_penalty(length: Tensor, pafs: Tensor, scoring: LineScoring) -> Tensor:
    """0 up to the longest expected connection, then falling towards -`dist_penalty_weight`.

    The largest side of the fields includes their channel count, as in SLEAP.
    """
    channels, height, width = pafs.shape[1:]
    largest = torch.sym_max(torch.sym_max(height, width), channels)  # Python's max would fix it while tracing
    longest = scoring.max_edge_length_ratio * largest * scoring.stride
    return (longest / length - 1.0).clamp(max=0.0) * scoring.dist_penalty_weight
