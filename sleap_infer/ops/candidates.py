"""Maps to candidates for each kind of model. Torch, traceable: the runners call it and the exporter traces it."""

from __future__ import annotations

import torch
from torch import Tensor

from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import OFFSET_HEAD, ModelSpec
from sleap_infer.ops.classes import sample_classes
from sleap_infer.ops.constants import indices
from sleap_infer.ops.pafs import LineScoring, score_lines
from sleap_infer.ops.peaks import first_cells, global_peaks, local_peaks

LOCAL_KINDS = ("centroid", "bottomup", "multi_class_bottomup")
"""Kinds of models that look for every peak, not for the one highest."""


def to_candidates(
    maps: dict[str, Tensor],
    spec: ModelSpec,
    settings: StageSettings,
    n_peaks: int | None = None,
    threshold: Tensor | None = None,
    count: bool = False,
) -> dict[str, Tensor]:
    """Find the peaks of a batch of maps and what is needed to make instances of them.

    Args:
        maps: what the network drew, by head name.
        spec: the model's facts.
        settings: its resolved settings.
        n_peaks: room for peaks in each map; `None` counts them first, which no traced graph can.
        threshold: confidence that a peak needs, as a scalar that a graph takes as input; by default as in the settings.
        count: whether to tell how much room each image needed.

    Returns:
        The arrays of `sleap_infer.poses.candidates` for this kind of model; and of the kinds in `LOCAL_KINDS`, if asked
        for, `n_candidates` (B,): the number of positions that the fullest map needs. All values of an image whose maps
        are not all finite are NaN, since maxima and comparisons ignore NaN and would report "no peak".
    """
    confmap_head = spec.map_head("ConfmapsHead")
    confmaps = _row_by_row(maps[confmap_head.name])
    damage = _damage(maps)
    least = settings.peak_threshold if threshold is None else threshold
    strict = spec.conventions.peaks == "strict"
    refines = settings.patch_size is not None
    offsets = _row_by_row(maps[OFFSET_HEAD]) if refines and spec.has_offsets else None
    if spec.kind not in LOCAL_KINDS:
        peaks, values = global_peaks(confmaps, least, settings.patch_size, offsets, strict=strict)
        found = {"peaks": peaks * confmap_head.output_stride, "peak_vals": values + damage[:, None]}
        if spec.kind == "multi_class_topdown":
            found["class_probs"] = maps["ClassVectorsHead"]
        return found
    is_first = first_cells(confmaps, least, strict)
    room = n_peaks or _room(is_first, settings)
    if not torch.compiler.is_compiling():
        room = min(room, confmaps.shape[2] * confmaps.shape[3])
    peaks, values, is_peak = local_peaks(confmaps, is_first, settings.patch_size, room, offsets, strict)
    peaks, values = peaks * confmap_head.output_stride, values + damage[:, None, None]
    needed = {"n_candidates": _count(is_first).amax(dim=1)} if count else {}
    if spec.kind == "centroid":
        return {"centroids": peaks[:, 0], "centroid_vals": values[:, 0], "instance_valid": is_peak[:, 0], **needed}
    found = {"peaks": peaks, "peak_vals": values, "peak_mask": is_peak, **needed}
    if spec.kind == "bottomup":
        pafs, scoring = maps["PartAffinityFieldsHead"], line_scoring(spec, settings)
        return {**found, "line_scores": score_lines(pafs, peaks, scoring), "candidate_mask": pairs(is_peak, scoring)}
    stride = spec.map_head("ClassMapsHead").output_stride
    return {**found, "class_probs": sample_classes(maps["ClassMapsHead"], peaks, stride)}


def line_scoring(spec: ModelSpec, settings: StageSettings) -> LineScoring:
    """How a bottom-up model's connections are scored."""
    grouping = settings.grouping
    return LineScoring(
        edges=spec.paf_edges,
        stride=spec.map_head("PartAffinityFieldsHead").output_stride,
        n_points=grouping.n_points,
        max_edge_length_ratio=grouping.max_edge_length_ratio,
        dist_penalty_weight=grouping.dist_penalty_weight,
    )


def pairs(is_peak: Tensor, scoring: LineScoring) -> Tensor:
    """Which connections have a peak at both ends, (B, N, K) -> (B, E, K * K)."""
    source, destination = (indices(nodes, is_peak.device) for nodes in zip(*scoring.edges, strict=True))
    return (is_peak[:, source, :, None] & is_peak[:, destination, None]).flatten(2)


def _damage(maps: dict[str, Tensor]) -> Tensor:
    """0 for each image whose maps are all finite, else NaN: (B,). A sum is NaN or infinite if one of its values is."""
    sums = [values.to(torch.float32).sum(dim=tuple(range(1, values.ndim))) for values in maps.values()]
    total = torch.stack(sums).sum(dim=0)
    return total - total


def _row_by_row(maps: Tensor) -> Tensor:
    """Maps as all that follows reads them; PyTorch's convolutions on CPUs leave channels innermost."""
    return maps if torch.compiler.is_compiling() else maps.contiguous()


def _room(is_first: Tensor, settings: StageSettings) -> int:
    """As many places as the fullest map of the batch needs, or as many as the settings allow."""
    needed = max(1, int(_count(is_first).max()))
    return min(needed, settings.peaks.max_peaks_per_node or needed)


def _count(is_first: Tensor) -> Tensor:
    """Of each map, (B, N) integers."""
    return is_first.sum(dim=(2, 3))
