"""How far the values of peaks in lower precision are off: within that of a threshold, a second look is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sleap_infer.candidates import Candidates
from sleap_infer.choices import GraphBackend
from sleap_infer.model import read_spec
from sleap_infer.runners import find_runner
from sleap_infer.runners.base import BaseInferenceRunner, Images
from sleap_infer.runners.second_look import LEAST_THRESHOLD

SHARE = 99
"""Percentile of the differences."""

REACH = 2.0
"""Peaks of two graphs that are nearer than so many cells are the same."""

POINTS = {"centroids": "centroid_vals", "peaks": "peak_vals"}


def measure_margin(full: Path, lowered: Path, images: Sequence[Images], backends: Sequence[GraphBackend]) -> float:
    """Run a graph in 32 bits and one in lower precision, and compare the values of their peaks.

    Args:
        full: directory of the one.
        lowered: directory of the other, without a second look.
        images: batches (B, C, H, W) as networks see them.
        backends: that run the other.

    Returns:
        What 99 % of the differences do not exceed, on the worst of the backends; 0 without peaks.
    """
    with _open(full, "onnx") as runner:
        expected = [runner.infer(batch) for batch in images]
        reach = REACH * runner.spec.map_head("ConfmapsHead").output_stride
    margins = [0.0]
    for backend in backends:
        with _open(lowered, backend) as runner:
            pairs = zip(expected, map(runner.infer, images), strict=True)
            differences = np.concatenate([compare_values(wanted, found, reach) for wanted, found in pairs])
        margins.append(float(np.percentile(differences, SHARE)) if len(differences) else 0.0)
    return max(margins)


def compare_values(expected: Candidates, found: Candidates, reach: float) -> NDArray[np.float32]:
    """How far apart the values of the same peaks are.

    Args:
        expected: of a batch.
        found: of the same batch.
        reach: in pixels of the network's input, that the same peaks may be apart.

    Returns:
        One difference, positive, for each expected peak that was found.
    """
    differences = [np.zeros(0, np.float32)]
    for points, values in POINTS.items():
        if points not in expected:
            continue
        places = expected[values].shape[-1] if expected[values].ndim > 2 or points == "centroids" else 1
        wanted, given = (side[points].reshape(-1, places, 2) for side in (expected, found))
        a, b = (side[values].reshape(-1, places) for side in (expected, found))
        apart = np.linalg.norm(wanted[:, :, None] - given[:, None], axis=-1)
        apart = np.where(np.isnan(apart), np.inf, apart)
        nearest = apart.argmin(axis=2)
        same = np.take_along_axis(apart, nearest[..., None], axis=2)[..., 0] <= reach
        differences.append(np.abs(np.take_along_axis(b, nearest, axis=1) - a)[same])
    return np.concatenate(differences)


def _open(path: Path, backend: GraphBackend) -> BaseInferenceRunner:
    """A graph on the processor, with a lower threshold: peaks that are not quite there tell as much."""
    facts = read_spec(path).exported
    assert facts is not None
    assert facts.peak_threshold is not None
    given = facts.peak_threshold
    threshold = tuple(x * LEAST_THRESHOLD for x in given) if isinstance(given, tuple) else given * LEAST_THRESHOLD
    return find_runner(backend).from_model_path(path, device="cpu", peak_threshold=threshold)
