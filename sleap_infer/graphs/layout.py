"""The flat layout of outputs: one row for each point that was found, for programs that want a table.

`points` is (R, 6) float32: image, instance (of bottom-up models: place among the node's peaks), node, x, y, value. A
centroid's node is -1 where its pose follows, else 0. Bottom-up graphs also give `connections` (S, 5): image, edge,
place of the source peak, place of the destination peak, score. `class_probs` are (R, C), row by row those of `points`,
for multi-class bottom-up; (B, C) for crops; one row per centroid, in their order, for both networks in one graph.
`runners.flat` reads them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sleap_infer.choices import GraphKind

ONE_ANIMAL = ("single_instance", "centered_instance", "multi_class_topdown")


def flat_names(kind: GraphKind) -> tuple[str, ...]:
    """Outputs of a graph in the flat layout, in their order."""
    if kind == "bottomup":
        return ("points", "connections")
    return ("points", "class_probs") if kind.startswith("multi_class") else ("points",)


def flatten(found: dict[str, Tensor], kind: GraphKind) -> dict[str, Tensor]:
    """Candidates (B, ...) of a graph of some kind as tables.

    Images whose values are NaN (the network's maps are not finite) have a row for each of them.
    """
    if kind in ONE_ANIMAL:
        peaks, values = found["peaks"][:, None], found["peak_vals"][:, None]
        flat = {"points": _rows(peaks, values, ~peaks[..., 0].isnan() | values.isnan())}
        return {**flat, "class_probs": found["class_probs"]} if "class_probs" in found else flat
    if kind in ("bottomup", "multi_class_bottomup"):
        peaks, values, mask = (found[name].transpose(1, 2) for name in ("peaks", "peak_vals", "peak_mask"))
        mask = mask | values.isnan()
        flat = {"points": _rows(peaks, values, mask)}
        if kind == "bottomup":
            return {**flat, "connections": _connections(found["line_scores"], found["candidate_mask"], mask.shape[1])}
        return {**flat, "class_probs": found["class_probs"].transpose(1, 2)[mask]}
    valid = found["instance_valid"] | found["centroid_vals"].isnan()
    centroids = _rows(found["centroids"][:, :, None], found["centroid_vals"][..., None], valid[..., None])
    if kind == "centroid":
        return {"points": centroids}
    is_centroid = centroids.new_tensor([0, 0, 1, 0, 0, 0])
    poses = _rows(found["peaks"], found["peak_vals"], ~found["peaks"][..., 0].isnan() | found["peak_vals"].isnan())
    flat = {"points": torch.cat([centroids - is_centroid, poses])}
    return {**flat, "class_probs": found["class_probs"][valid]} if "class_probs" in found else flat


def _rows(points: Tensor, values: Tensor, kept: Tensor) -> Tensor:
    """(B, I, N, 2) and (B, I, N) -> (R, 6) of those that are kept."""
    return torch.cat([_indices(kept), points, values[..., None]], dim=-1)[kept]


def _connections(scores: Tensor, kept: Tensor, n_places: int) -> Tensor:
    """(B, E, K * K) -> (S, 5)."""
    square = kept.unflatten(2, (n_places, n_places))
    table = torch.cat([_indices(square), scores.unflatten(2, (n_places, n_places))[..., None]], dim=-1)
    return table[square]


def _indices(like: Tensor) -> Tensor:
    """Where each element stands, as floats: (*shape, number of axes)."""
    axes = [
        torch.arange(size, device=like.device, dtype=torch.float32).view(
            *(-1 if a == b else 1 for b in range(like.ndim))
        )
        for a, size in enumerate(like.shape)
    ]
    return torch.stack([axis.expand(like.shape) for axis in axes], dim=-1)
