"""Compare the poses of a configuration with those of the reference, before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.benchmark.report.schema import PoseComparison
from sleap_infer.config.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.poses.compare import compare_poses
from sleap_infer.poses.outputs import Outputs

MATCH_RADIUS_PX = 20.0
"""Instances are matched only if the mean distance of their points is at most this."""

GPU_ERROR_PX = 0.05
"""Tolerance for fp32 on a GPU, which sums in a different order than the CPU."""


@frozen
class Poses:
    """Poses of several frames.

    Attributes:
        frames: (I, N, 2) per frame, in image pixels; missing points are NaN, rows without any point are left out.
    """

    frames: tuple[NDArray[np.float32], ...]

    @property
    def n_points(self) -> int:
        """Number of points in all frames."""
        return sum(int((~np.isnan(frame[..., 0])).sum()) for frame in self.frames)

    @property
    def n_instances(self) -> int:
        """Number of instances in all frames."""
        return sum(map(len, self.frames))


@frozen
class Tolerance:
    """Maximum difference from the poses of the reference.

    Attributes:
        px: distance in image pixels.
        percent: percentage of points that must be within it.
        changed: fraction of instances and points, from 0 to 1, that may be missed or false positives.
    """

    px: float
    percent: float
    changed: float

    @classmethod
    def of(cls, precision: str, device: str) -> Tolerance:
        """Return the tolerance for a precision on a device.

        >>> Tolerance.of("fp32", "cpu")
        Tolerance(px=0.01, percent=100.0, changed=0.0)
        """
        if precision != "fp32":
            return cls(DEFAULT_BUDGET_PX, 95.0, MAX_CHANGED)
        return cls(MAX_ERROR_PX if device.startswith("cpu") else GPU_ERROR_PX, 100.0, 0.0)

    def __str__(self) -> str:
        """Return a description for people."""
        if not self.changed:
            return f"all points within {self.px:g} px, the same instances"
        return f"{self.percent:g} % of points within {self.px:g} px, at most {self.changed:.0%} of instances changed"


def poses_of(outputs: Sequence[Outputs]) -> Poses:
    """Return the poses of frames; centroids count as instances of one node."""
    frames = []
    for item in outputs:
        points = item.pred_keypoints if item.pred_keypoints is not None else item.pred_centroids
        array = np.zeros((0, 1, 2), np.float32) if points is None else np.asarray(points, np.float32)
        array = array[:, None] if array.ndim == 2 else array
        frames.append(array[~np.isnan(array[..., 0]).all(axis=1)])
    return Poses(tuple(frames))


def write_poses(path: Path, poses: Poses) -> None:
    """Write poses to a `.npz` file."""
    counts = [len(frame) for frame in poses.frames]
    n_nodes = max((frame.shape[1] for frame in poses.frames if len(frame)), default=1)
    filled = [frame.reshape(-1, n_nodes, 2) for frame in poses.frames]
    points = np.concatenate(filled) if filled else np.zeros((0, n_nodes, 2), np.float32)
    np.savez(path, points=points, counts=np.array(counts, np.int64))


def read_poses(path: Path) -> Poses:
    """Read a file that `write_poses` wrote."""
    with np.load(path) as stored:
        points, counts = stored["points"], stored["counts"]
    return Poses(tuple(np.split(points, np.cumsum(counts)[:-1])) if len(counts) else ())


def compare_with_reference(found: Poses, expected: Poses, tolerance: Tolerance) -> PoseComparison:
    """Compare poses with those of the reference, frame by frame.

    Args:
        found: poses to check.
        expected: poses of the reference in the same frames.
        tolerance: maximum difference.

    Raises:
        ValueError: the numbers of frames differ.
    """
    pairs = [compare_poses(a, b, MATCH_RADIUS_PX) for a, b in zip(found.frames, expected.frames, strict=True)]
    px = np.concatenate([pair.distances for pair in pairs]) if pairs else np.zeros(0, np.float32)
    missed = sum(pair.n_expected - pair.n_matched for pair in pairs)
    false_positives = found.n_instances - (expected.n_instances - missed)
    points_missed, points_false_positive = expected.n_points - len(px), found.n_points - len(px)
    changed = max(
        (missed + false_positives) / max(expected.n_instances, 1),
        (points_missed + points_false_positive) / max(expected.n_points, 1),
    )
    return PoseComparison(
        agrees=bool(len(px)) and _percentile(px, tolerance.percent) <= tolerance.px and changed <= tolerance.changed,
        limit=str(tolerance),
        n_frames=len(expected.frames),
        n_instances=expected.n_instances,
        n_points=len(px),
        median_px=_percentile(px, 50),
        p95_px=_percentile(px, 95),
        max_px=_percentile(px, 100),
        instances_missed=missed,
        instances_surplus=false_positives,
        points_missed=points_missed,
        points_surplus=points_false_positive,
    )


def _percentile(px: NDArray[np.float32], percent: float) -> float:
    return float(np.percentile(px, percent)) if len(px) else 0.0
