"""How far the numbers of graphs in lower precision are off: nearer to another outcome, a second look is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sleap_infer.choices import GraphBackend
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.settings import FUSED
from sleap_infer.model.spec import Margins
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners import find_runner
from sleap_infer.runners.base import BaseInferenceRunner, Images
from sleap_infer.runners.doubts import LEAST_THRESHOLD

Differences = NDArray[np.float32]

SHARE = 99
"""Percentile of the differences."""

REACH = 2.0
"""Peaks of two graphs that are nearer than so many cells are the same."""


def measure_margins(
    full: Path, lowered: Path, images: Sequence[Images], backends: Sequence[GraphBackend]
) -> Margins | None:
    """Run a graph in 32 bits and one in lower precision, and compare the values of their peaks and what joins them.

    Args:
        full: directory of the one.
        lowered: directory of the other, without a second look.
        images: batches (B, C, H, W) as networks see them.
        backends: that run the other.

    Returns:
        What 99 % of the differences do not exceed, on the worst of the backends; `None` without peaks.
    """
    with _open(full, "onnx") as runner:
        expected = [runner.infer(batch) for batch in images]
        spec = runner.spec
    values, scores = [0.0], [0.0]
    for backend in backends:
        with _open(lowered, backend) as runner:
            pairs = zip(expected, map(runner.infer, images), strict=True)
            differences = [compare(wanted, found, spec) for wanted, found in pairs]
        for margins, parts in zip((values, scores), zip(*differences, strict=True), strict=True):
            joined = np.concatenate(parts)
            margins.append(float(np.percentile(joined, SHARE)) if len(joined) else 0.0)
    return Margins(max(values), max(scores)) if any(values) else None


def compare(expected: Candidates, found: Candidates, spec: ModelSpec) -> tuple[Differences, Differences]:
    """How far apart two graphs are on the same images, where both have the same peaks.

    Args:
        expected: of a batch.
        found: of the same batch.
        spec: of the model.

    Returns:
        Differences, positive, of the values of peaks and of centroids (P,); and of the scores of connections between
        the same peaks, or of the classes of the same peak (S,).
    """
    reach = REACH * spec.map_head("ConfmapsHead").output_stride
    values = [np.zeros(0, np.float32)]
    scores = np.zeros(0, np.float32)
    for points, name in (("centroids", "centroid_vals"), ("peaks", "peak_vals")):
        if points not in expected:
            continue
        (wanted, a), (given, b) = (
            (_by_node(side[points], spec, trailing=1), _by_node(side[name], spec)) for side in (expected, found)
        )
        partner, is_same = match_peaks(wanted, given, reach)
        values.append(np.abs(np.take_along_axis(b, partner, axis=-1) - a)[is_same])
        if "line_scores" in expected:
            scores = compare_connections(expected, found, partner, is_same, spec)
        elif spec.kind == "multi_class_bottomup":
            classes = np.take_along_axis(found["class_probs"], partner[..., None], axis=-2) - expected["class_probs"]
            scores = np.abs(classes[is_same]).reshape(-1)
    return np.concatenate(values), scores[np.isfinite(scores)]


def _by_node(array: NDArray[np.float32], spec: ModelSpec, trailing: int = 0) -> NDArray[np.float32]:
    """Places last, but for trailing axes: those that one peak may take in one graph or the other."""
    n_axes = array.ndim - trailing
    if spec.kind in FUSED and n_axes == 3:
        return array.swapaxes(1, 2)  # (B, I, N) has a place for each centroid
    if spec.kind in ("centroid", "bottomup", "multi_class_bottomup", *FUSED):
        return array
    return np.expand_dims(array, n_axes)


def match_peaks(
    expected: NDArray[np.float32], found: NDArray[np.float32], reach: float
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The nearest of the peaks that were found of each expected one.

    Args:
        expected: (..., K, 2), NaN where there is none.
        found: (..., K, 2).
        reach: in the unit of the positions, that the same peaks may be apart.

    Returns:
        Its place (..., K), and whether it is the same peak (..., K).
    """
    apart = np.linalg.norm(expected[..., :, None, :] - found[..., None, :, :], axis=-1)
    apart = np.where(np.isnan(apart), np.inf, apart)
    nearest = apart.argmin(axis=-1)
    return nearest, np.take_along_axis(apart, nearest[..., None], axis=-1)[..., 0] <= reach


def compare_connections(
    expected: Candidates, found: Candidates, partner: NDArray[np.intp], is_same: NDArray[np.bool_], spec: ModelSpec
) -> Differences:
    """Differences between the scores of the connections whose two peaks were both found, positive (S,)."""
    sources, destinations = np.array(spec.paf_edges).T
    places = partner.shape[-1]
    a, b = (side["line_scores"].reshape(len(partner), -1, places, places) for side in (expected, found))
    b = np.take_along_axis(b, partner[:, sources][..., None], axis=-2)
    b = np.take_along_axis(b, partner[:, destinations][..., None, :], axis=-1)
    both = is_same[:, sources][..., None] & is_same[:, destinations][..., None, :]
    return np.abs(b - a)[both].astype(np.float32)


def _open(path: Path, backend: GraphBackend) -> BaseInferenceRunner:
    """A graph on the processor, with a lower threshold: peaks that are not quite there tell as much."""
    facts = read_spec(path).exported
    assert facts is not None
    assert facts.peak_threshold is not None
    given = facts.peak_threshold
    if isinstance(given, tuple):
        threshold: float | tuple[float, float] = (given[0] * LEAST_THRESHOLD, given[-1] * LEAST_THRESHOLD)
    else:
        threshold = given * LEAST_THRESHOLD
    return find_runner(backend).from_model_path(path, device="cpu", peak_threshold=threshold)
