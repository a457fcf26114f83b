"""What lower precision is not sure of: numbers that are nearer to another outcome than they may be off. numpy.

A peak comes or goes at its threshold. Peaks are joined to others where another pairing scores about as much, and go to
another class where that is about as probable.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.model import ModelSpec
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import Margins
from sleap_infer.ops.assignment import places_used
from sleap_infer.ops.ties import nearest_exchange
from sleap_infer.poses.candidates import Candidates

Which = NDArray[np.bool_]

LEAST_THRESHOLD = 0.5
"""Peaks are looked for down to this share of a threshold, and no lower."""


def find_unsure(found: Candidates, spec: ModelSpec, settings: StageSettings, margins: Margins) -> Which:
    """Which images are near to having other points, or other instances.

    Where none is, values that are off by their margin change nothing, and pairings only change if their sums do by
    more than the margin of scores, or if a peak comes or goes beside another.

    Args:
        found: with thresholds that are lower by the margin of values.
        spec: of the model.
        settings: with the thresholds that count.
        margins: how far numbers may be off.

    Returns:
        (B,).
    """
    unsure = near_thresholds(found, settings, margins.values)
    if not margins.scores:
        return unsure
    if "line_scores" in found:
        unsure |= near_other_pairs(found, spec, settings, margins.scores)
    elif "peak_mask" in found and "class_probs" in found:
        unsure |= near_other_classes(found, margins.scores)
    return unsure


def near_thresholds(found: Candidates, settings: StageSettings, margin: float) -> Which:
    """Which images have a peak, or a centroid, nearer to its threshold than that."""
    is_fused = "centroid_vals" in found and "peak_vals" in found
    thresholds = {
        "centroid_vals": settings.centroid_threshold if is_fused else settings.peak_threshold,
        "peak_vals": settings.peak_threshold,
    }
    unsure = np.zeros(len(next(iter(found.values()))), bool)
    for name, threshold in thresholds.items():
        if name in found:
            values = found[name]
            near = np.abs(values - np.float32(threshold)) < _reach(threshold, margin)
            if is_fused:  # other places hold what was found in crops of nobody
                near &= found["instance_valid"].astype(bool).reshape(near.shape[:2] + (1,) * (near.ndim - 2))
            unsure |= near.reshape(len(near), -1).any(axis=1)
    return unsure


def near_other_pairs(found: Candidates, spec: ModelSpec, settings: StageSettings, margin: float) -> Which:
    """Which images have connections that are about to be made otherwise, or not at all.

    So are those of peaks that do not get the partner with which they score best: there one peak more or less, such as
    the smaller one of two that nearly are one, changes who is paired.
    """
    is_peak = found["peak_mask"].astype(bool)
    places, used = is_peak.shape[-1], places_used(is_peak)
    is_peak = is_peak[..., :used]
    scores = found["line_scores"].reshape(len(is_peak), -1, places, places)[..., :used, :used]
    sources, destinations = np.array(spec.paf_edges).T
    is_source, is_destination = is_peak[:, sources], is_peak[:, destinations]
    least = settings.grouping.min_line_scores
    lead, paired = nearest_exchange(scores, is_source, is_destination, least)

    there = is_source[..., :, None] & is_destination[..., None, :] & np.isfinite(scores)
    scores = np.where(there, scores, np.float32(-np.inf))
    made = np.where(paired, scores, np.float32(-np.inf))
    unsure = lead < margin
    unsure |= (np.abs(made - np.float32(least)) < margin).any(axis=(-2, -1))
    for axis in (-2, -1):
        best = scores.max(axis=axis)
        unsure |= ((best > made.max(axis=axis)) & (best >= least - margin)).any(axis=-1)
    return np.asarray(unsure.any(axis=-1))


def near_other_classes(found: Candidates, margin: float) -> Which:
    """Which images have a peak that is about to belong to another class."""
    is_peak = found["peak_mask"].astype(bool)
    used = places_used(is_peak)
    is_peak, probabilities = is_peak[..., :used], found["class_probs"][..., :used, :]
    every_class = np.ones((*is_peak.shape[:-1], probabilities.shape[-1]), bool)
    lead, _ = nearest_exchange(probabilities, is_peak, every_class)
    unsure = (lead < margin).any(axis=1)
    if probabilities.shape[-1] > 1:
        second, first = np.moveaxis(np.partition(probabilities, -2, axis=-1)[..., -2:], -1, 0)
        unsure |= (is_peak & (first - second < margin)).reshape(len(is_peak), -1).any(axis=1)
    return np.asarray(unsure)


def lower_thresholds(settings: StageSettings, margin: float) -> StageSettings:
    """Settings that find what lies so far below the thresholds, too."""

    def lower(threshold: float) -> float:
        return threshold - _reach(threshold, margin)

    given = settings.peaks.peak_threshold
    lowered: Any = tuple(map(lower, given)) if isinstance(given, tuple) else lower(given)
    return attrs.evolve(settings, peaks=attrs.evolve(settings.peaks, peak_threshold=lowered))


def _reach(threshold: float, margin: float) -> float:
    """The margin of a threshold, of low ones less."""
    return min(margin, threshold * (1.0 - LEAST_THRESHOLD))
