"""Maps to candidates for each kind of model. Torch, traceable: the runners call it and the exporter traces it.

To add a kind of model: a function here, its name in `FINDERS` and in the kind's row (`config.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from attrs import frozen
from torch import Tensor

from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import OFFSET_HEAD, ModelSpec
from sleap_infer.ops.classes import sample_classes
from sleap_infer.ops.constants import indices
from sleap_infer.ops.pafs import LineScoring, score_lines
from sleap_infer.ops.peaks import first_bins, global_peaks, local_peaks

Arrays: TypeAlias = dict[str, Tensor]


@frozen
class Finding:
    """Parameters of the search for peaks in maps.

    Attributes:
        spec: the model's facts.
        settings: its resolved settings.
        n_peaks: capacity for peaks in each map; `None` counts them first, which no traced graph can.
        threshold: confidence that a peak needs, as a scalar that a graph takes as input; by default as in the settings.
        count: whether to return the number of peaks too.
    """

    spec: ModelSpec
    settings: StageSettings
    n_peaks: int | None = None
    threshold: Tensor | None = None
    count: bool = False

    @property
    def least(self) -> float | Tensor:
        """Confidence that a peak needs."""
        return self.settings.peak_threshold if self.threshold is None else self.threshold

    @property
    def is_strict(self) -> bool:
        """See `Conventions.peaks`."""
        return self.spec.conventions.peaks == "strict"

    def offsets(self, maps: Arrays) -> Tensor | None:
        """Return the maps of the offset head, if they refine the peaks."""
        refines = self.settings.patch_size is not None and self.spec.has_offsets
        return _row_by_row(maps[OFFSET_HEAD]) if refines else None


Finder: TypeAlias = Callable[[Arrays, Finding], Arrays]
"""Turns maps by head name into the arrays of a kind of model."""


def to_candidates(
    maps: Arrays,
    spec: ModelSpec,
    settings: StageSettings,
    n_peaks: int | None = None,
    threshold: Tensor | None = None,
    count: bool = False,
) -> Arrays:
    """Find the peaks of a batch of maps and what is needed to make instances of them.

    Args:
        maps: outputs of the network, by head name.
        spec: see `Finding`, like all that follow.
        settings: as there.
        n_peaks: as there.
        threshold: as there.
        count: as there.

    Returns:
        The arrays of `sleap_infer.config.kinds` for this kind of model; with `count`, and where the kind has a
        capacity, also `n_candidates` (B,): the number of positions that the fullest map needs. All values of an image
        whose maps are not all finite are NaN, since maxima and comparisons ignore NaN and would report "no peak".
    """
    return FINDERS[spec.row.finder](maps, Finding(spec, settings, n_peaks, threshold, count))


def find_highest(maps: Arrays, finding: Finding) -> Arrays:
    """Return the highest peak of each map: `peaks` (B, N, 2), `peak_vals` (B, N)."""
    head = finding.spec.map_head("ConfmapsHead")
    confmaps, damage = _row_by_row(maps[head.name]), _damage(maps)
    peaks, values = global_peaks(
        confmaps, finding.least, finding.settings.patch_size, finding.offsets(maps), strict=finding.is_strict
    )
    return {"peaks": peaks * head.output_stride, "peak_vals": values + damage[:, None]}


def find_highest_and_class(maps: Arrays, finding: Finding) -> Arrays:
    """Return the highest peak of each map, and the probability of each class, `class_probs` (B, C)."""
    return {**find_highest(maps, finding), "class_probs": maps["ClassVectorsHead"]}


def find_all(maps: Arrays, finding: Finding) -> Arrays:
    """Return all peaks of each map: `peaks` (B, N, K, 2), `peak_vals` and `peak_mask` (B, N, K)."""
    head, settings = finding.spec.map_head("ConfmapsHead"), finding.settings
    confmaps, damage = _row_by_row(maps[head.name]), _damage(maps)
    offsets = finding.offsets(maps)
    is_first = first_bins(confmaps, finding.least, finding.is_strict)
    capacity = finding.n_peaks or _capacity(is_first, settings)
    if not torch.compiler.is_compiling():
        capacity = min(capacity, confmaps.shape[2] * confmaps.shape[3])
    peaks, values, is_peak = local_peaks(confmaps, is_first, settings.patch_size, capacity, offsets, finding.is_strict)
    peaks, values = peaks * head.output_stride, values + damage[:, None, None]
    counted = {"n_candidates": _count(is_first).amax(dim=1)} if finding.count else {}
    return {"peaks": peaks, "peak_vals": values, "peak_mask": is_peak, **counted}


def find_centroids(maps: Arrays, finding: Finding) -> Arrays:
    """Return all peaks of the only map: `centroids` (B, I, 2), `centroid_vals` and `instance_valid` (B, I)."""
    found = find_all(maps, finding)
    names = {"peaks": "centroids", "peak_vals": "centroid_vals", "peak_mask": "instance_valid"}
    return {names[name]: found[name][:, 0] for name in names} | {
        name: values for name, values in found.items() if name not in names
    }


def find_connections(maps: Arrays, finding: Finding) -> Arrays:
    """Return all peaks, and the scores of all pairs of them: `line_scores` and `candidate_mask` (B, E, K * K)."""
    found, scoring = find_all(maps, finding), line_scoring(finding.spec, finding.settings)
    scores = score_lines(maps["PartAffinityFieldsHead"], found["peaks"], scoring)
    return {**found, "line_scores": scores, "candidate_mask": pairs(found["peak_mask"], scoring)}


def find_classes_of_peaks(maps: Arrays, finding: Finding) -> Arrays:
    """Return all peaks, and the probabilities of their classes, `class_probs` (B, N, K, C)."""
    found, stride = find_all(maps, finding), finding.spec.map_head("ClassMapsHead").output_stride
    return {**found, "class_probs": sample_classes(maps["ClassMapsHead"], found["peaks"], stride)}


FINDERS: dict[str, Finder] = {
    finder.__name__: finder
    for finder in (find_highest, find_highest_and_class, find_centroids, find_connections, find_classes_of_peaks)
}
"""Functions that rows of `config.kinds` name."""


def line_scoring(spec: ModelSpec, settings: StageSettings) -> LineScoring:
    """Return how a bottom-up model's connections are scored."""
    grouping = settings.grouping
    return LineScoring(
        edges=spec.paf_edges,
        stride=spec.map_head("PartAffinityFieldsHead").output_stride,
        n_points=grouping.n_points,
        max_edge_length_ratio=grouping.max_edge_length_ratio,
        dist_penalty_weight=grouping.dist_penalty_weight,
    )


def pairs(is_peak: Tensor, scoring: LineScoring) -> Tensor:
    """Return which connections have a peak at both ends, (B, N, K) -> (B, E, K * K)."""
    source, destination = (indices(nodes, is_peak.device) for nodes in zip(*scoring.edges, strict=True))
    return (is_peak[:, source, :, None] & is_peak[:, destination, None]).flatten(2)


def _damage(maps: Arrays) -> Tensor:
    """0 for each image whose maps are all finite, else NaN: (B,). A sum is NaN or infinite if one of its values is."""
    sums = [values.to(torch.float32).sum(dim=tuple(range(1, values.ndim))) for values in maps.values()]
    total = torch.stack(sums).sum(dim=0)
    return total - total


def _row_by_row(maps: Tensor) -> Tensor:
    """Contiguous maps; PyTorch's convolutions on CPUs leave channels innermost."""
    return maps if torch.compiler.is_compiling() else maps.contiguous()


def _capacity(is_first: Tensor, settings: StageSettings) -> int:
    """Return the number of peaks of the fullest map of the batch, at most as many as the settings allow."""
    needed = max(1, int(_count(is_first).max()))
    return min(needed, settings.peaks.max_peaks_per_node or needed)


def _count(is_first: Tensor) -> Tensor:
    """Of each map, (B, N) integers."""
    return is_first.sum(dim=(2, 3))
