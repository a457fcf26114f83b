"""The gate: an exported model against its source, in raw candidates and in poses, with limits that are stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.geometry import Geometry
from sleap_infer.outputs import Outputs
from sleap_infer.runners import BaseInferenceRunner

Verdict: TypeAlias = Literal["PASS", "WARN", "FAIL"]

EXCELLENT, GOOD = 1e-5, 1e-4
"""Largest difference of peak values and scores that counts as excellent and as good."""

MAX_ERROR_PX = 0.01
"""Largest distance, in image pixels, between a point of the source and of the export in 32-bit floats."""

POSITIONS = ("peaks", "centroids")

REACH_PX = 5.0
"""A point that is farther off is not the same point."""


@frozen
class Report:
    """How an export compares with its source.

    Attributes:
        n_frames: that were compared.
        max_raw_px: largest distance, in x or y, of a candidate's position, in pixels of the network's input.
        max_raw_value: largest difference of any other candidate: values, scores, probabilities.
        max_value_error: largest difference of peak values and scores.
        points: number of points that both have.
        p50_px, p95_px, max_px: distances between them.
        lost, gained: points that only the source has, or only the export.
        instances_lost, instances_gained: likewise.
        n_capped: frames that filled all places; there, the strongest peaks are compared.
        worst: frame and node of the largest distance.
        verdict: of all.
    """

    n_frames: int
    max_raw_px: float
    max_raw_value: float
    max_value_error: float
    points: int
    p50_px: float
    p95_px: float
    max_px: float
    lost: int
    gained: int
    instances_lost: int
    instances_gained: int
    n_capped: int
    worst: str
    verdict: Verdict

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.verdict}: {self.n_frames} frames; candidates within {self.max_raw_px:.1g} px, values within "
            f"{self.max_raw_value:.1g}; {self.points} points, median {self.p50_px:.2g} px, 95 % below "
            f"{self.p95_px:.2g} px, worst {self.max_px:.2g} px ({self.worst}); points lost {self.lost}, gained "
            f"{self.gained}; instances lost {self.instances_lost}, gained {self.instances_gained}; in "
            f"{self.n_capped} frames all places were filled"
        )


def compare_runners(
    source: BaseInferenceRunner, export: BaseInferenceRunner, images: Sequence[Any], are_real: bool = True
) -> Report:
    """Predict the same images with both and compare, instance by instance in their order.

    Args:
        source: runs the trained model, with as much room for peaks as the export has.
        export: runs what was made of it.
        images: each as in `BaseInferenceRunner.predict`.
        are_real: whether a pose on them means something. On generated images, where a model may be torn between equal
            peaks, only candidates are judged.
    """
    nodes = source.spec.skeleton.nodes
    distances: list[tuple[float, str]] = []
    lost = gained = instances_lost = instances_gained = 0
    value_error = 0.0
    expected, found = source.predict(list(images)), export.predict(list(images))
    raw = [_raw_errors(source, export, image) for image in images]
    raw_px, raw_value = (max(errors) for errors in zip(*raw, strict=True))
    for index, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        a, b = _points(wanted), _points(given)
        instances_lost += max(0, wanted.n_instances - given.n_instances)
        instances_gained += max(0, given.n_instances - wanted.n_instances)
        n_rows = min(len(a), len(b))
        away = np.linalg.norm(a[:n_rows] - b[:n_rows], axis=-1)
        same = away <= REACH_PX
        lost += int((~np.isnan(a[..., 0])).sum() - same.sum())
        gained += int((~np.isnan(b[..., 0])).sum() - same.sum())
        distances += [(float(away[row, node]), f"frame {index}, {nodes[node]}") for row, node in np.argwhere(same)]
        if len(a) == len(b):
            value_error = max(value_error, _value_error(wanted, given))
    away = np.array([distance for distance, _ in distances] or [0.0])
    worst = max(distances, default=(0.0, "none"))
    n_changed = lost + gained + instances_lost + instances_gained
    if not are_real:
        n_changed, value_error = 0, 0.0
    verdict = judge(n_changed, max(worst[0], raw_px), max(raw_value, value_error), len(distances))
    return Report(
        n_frames=len(expected),
        max_raw_px=raw_px,
        max_raw_value=raw_value,
        max_value_error=value_error,
        points=len(distances),
        p50_px=float(np.median(away)),
        p95_px=float(np.percentile(away, 95)),
        max_px=worst[0],
        lost=lost,
        gained=gained,
        instances_lost=instances_lost,
        instances_gained=instances_gained,
        n_capped=sum(given.capped for given in found),
        worst=worst[1],
        verdict=verdict,
    )


def _raw_errors(source: BaseInferenceRunner, export: BaseInferenceRunner, image: Any) -> tuple[float, float]:
    """Largest difference of positions and of values of one image; infinite if one has a peak where the other has none.

    Frames that fill all places are left out: which of several equal peaks are kept there means nothing.
    """
    inputs, _ = source.preprocess_image(image)
    wanted, given = source.infer(inputs), export.infer(inputs)
    full = [bool(out.capped) for out in export.postprocess_results(given, Geometry(inputs.shape[2:]))]
    errors = {True: 0.0, False: 0.0}
    for name, values in wanted.items():
        a, b = (np.asarray(array, np.float64)[~np.array(full)] for array in (values, given[name]))
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return float("inf"), float("inf")
        is_position = name in POSITIONS
        errors[is_position] = max(errors[is_position], float(np.nanmax(np.abs(a - b), initial=0.0)))
    return errors[True], errors[False]


def judge(n_changed: int, max_px: float, max_value_error: float, n_points: int) -> Verdict:
    """The verdict: nothing lost or gained and points within the limit pass; no point at all proves nothing.

    >>> judge(0, 0.001, 1e-6, 10), judge(0, 0.001, 5e-5, 10), judge(0, 0.001, 1e-6, 0), judge(1, 0, 0, 10)
    ('PASS', 'WARN', 'WARN', 'FAIL')
    """
    if n_changed or max_px > MAX_ERROR_PX or max_value_error > GOOD:
        return "FAIL"
    return "PASS" if n_points and max_value_error <= EXCELLENT else "WARN"


def structured_images(n_images: int, size: tuple[int, int], channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images with blobs and lines on an uneven background, for lack of real frames.

    Args:
        n_images: how many.
        size: (height, width).
        channels: 1 or 3.
        seed: of the random numbers.

    Returns:
        (B, H, W, C).
    """
    rng = np.random.default_rng(seed)
    height, width = size
    images = np.empty((n_images, height, width, channels), np.uint8)
    for image in images:
        coarse = rng.uniform(80, 200, (4, 4, channels)).astype(np.float32)
        canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
        canvas = np.ascontiguousarray(canvas)
        for _ in range(6):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(3, max(4, width // 8))), int(rng.integers(3, max(4, height // 12))))
            colour = tuple(float(value) for value in rng.uniform(0, 255, channels))
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
            cv2.line(canvas, centre, (int(rng.integers(width)), int(rng.integers(height))), colour, 1, cv2.LINE_AA)
        noisy = cv2.GaussianBlur(canvas, (0, 0), 1.0).reshape(image.shape) + rng.normal(0, 2, image.shape)
        image[:] = np.clip(noisy, 0, 255).astype(np.uint8)
    return images


def _points(outputs: Outputs) -> NDArray[np.float32]:
    """(I, N, 2) of all rows; centroids count as one node."""
    if outputs.pred_keypoints is not None:
        return np.asarray(outputs.pred_keypoints)
    return np.asarray(outputs.pred_centroids)[:, None]


def _value_error(a: Outputs, b: Outputs) -> float:
    names = ("pred_peak_values", "pred_centroid_values", "instance_scores", "instance_tracking_scores")
    errors = [0.0]
    for name in names:
        wanted, given = getattr(a, name), getattr(b, name)
        if wanted is not None and np.size(wanted):
            errors.append(float(np.nanmax(np.abs(np.nan_to_num(wanted) - np.nan_to_num(given)))))
    return max(errors)
