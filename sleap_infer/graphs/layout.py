"""The flat layout of outputs: one row per point, for programs that need a table.

`points` is (R, 6) float32: image, instance (of bottom-up models: index among the node's peaks), node, x, y, value. A
centroid's node is -1 where its pose follows, else 0. Bottom-up graphs also give `connections` (S, 5): image, edge,
index of the source peak, index of the destination peak, score. `class_probs` are (R, C), row by row those of `points`,
for multi-class bottom-up; (B, C) for crops; one row per centroid, in their order, for both networks in one graph.
`runners.graph.flat` reads them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sleap_infer.config.kinds import KINDS


def flat_names(kind: str) -> tuple[str, ...]:
    """Return the names of the outputs of a graph in the flat layout, in their order."""
    arrays = KINDS[kind].arrays
    extra = {"connections": "line_scores", "class_probs": "class_probs"}
    return ("points", *(table for table, array in extra.items() if array in arrays))


def flatten(found: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return candidates (B, ...) of a graph of some kind as tables.

    Images whose values are NaN (the network's maps are not finite) have a row for each of them.
    """
    axes = KINDS[kind].arrays
    tables, shown = [], {}
    if "centroids" in axes:
        valid = found["instance_valid"] | found["centroid_vals"].isnan()
        rows = _rows(found["centroids"][:, :, None], found["centroid_vals"][..., None], valid[..., None])
        tables.append(rows - rows.new_tensor([0, 0, 1, 0, 0, 0]) if "peaks" in axes else rows)
        shown["BIC"] = valid
    if "peaks" in axes:
        peaks, values = found["peaks"], found["peak_vals"]
        if axes["peaks"] == "BNK2":
            peaks, values, mask = (found[name].transpose(1, 2) for name in ("peaks", "peak_vals", "peak_mask"))
            mask = mask | values.isnan()
            shown["BNKC"] = mask
        else:
            if axes["peaks"] == "BN2":
                peaks, values = peaks[:, None], values[:, None]
            mask = ~peaks[..., 0].isnan() | values.isnan()
        tables.append(_rows(peaks, values, mask))
    flat = {"points": torch.cat(tables) if len(tables) > 1 else tables[0]}
    if "line_scores" in axes:
        flat["connections"] = _connections(found["line_scores"], found["candidate_mask"], found["peaks"].shape[2])
    if "class_probs" in axes:
        flat["class_probs"] = _class_table(found["class_probs"], axes["class_probs"], shown)
    return flat


def _class_table(probabilities: Tensor, axes: str, shown: dict[str, Tensor]) -> Tensor:
    if axes == "BNKC":
        probabilities = probabilities.transpose(1, 2)
    return probabilities[shown[axes]] if axes in shown else probabilities


def _rows(points: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Return rows (R, 6) of the points (B, I, N, 2) and values (B, I, N) in a mask (B, I, N)."""
    return torch.cat([_indices(mask), points, values[..., None]], dim=-1)[mask]


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
