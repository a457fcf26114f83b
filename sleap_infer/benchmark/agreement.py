"""Poses of a backend against those of the reference: agree first, then time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.benchmark.report.schema import Agreement
from sleap_infer.config.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.poses.compare import compare_poses
from sleap_infer.poses.outputs import Outputs

REACH_PX = 20.0
"""Instances whose points are on average farther apart are not the same."""

GPU_ERROR_PX = 0.05
"""Distance that all points keep in 32-bit floats on a GPU, which adds up in another order."""


@frozen
class Poses:
    """Poses of some frames.

    Attributes:
        frames: (I, N, 2) of each frame, in image pixels; NaN where a point is missing, no row without any point.
    """

    frames: tuple[NDArray[np.float32], ...]

    @property
    def n_points(self) -> int:
        """Of all frames."""
        return sum(int((~np.isnan(frame[..., 0])).sum()) for frame in self.frames)

    @property
    def n_instances(self) -> int:
        """Of all frames."""
        return sum(map(len, self.frames))


@frozen
class Limit:
    """How far poses may be from those of the reference.

    Attributes:
        px: distance in image pixels.
        share: of the points that keep it, from 0 to 100.
        changed: share of instances and points, from 0 to 1, that only one of the two may have.
    """

    px: float
    share: float
    changed: float

    @classmethod
    def of(cls, precision: str, device: str) -> Limit:
        """The limit for a precision on a device.

        >>> Limit.of("fp32", "cpu")
        Limit(px=0.01, share=100.0, changed=0.0)
        """
        if precision != "fp32":
            return cls(DEFAULT_BUDGET_PX, 95.0, MAX_CHANGED)
        return cls(MAX_ERROR_PX if device.startswith("cpu") else GPU_ERROR_PX, 100.0, 0.0)

    def __str__(self) -> str:
        """In words."""
        if not self.changed:
            return f"all points within {self.px:g} px, the same instances"
        return f"{self.share:g} % of points within {self.px:g} px, at most {self.changed:.0%} of instances changed"


def poses_of(outputs: Sequence[Outputs]) -> Poses:
    """Poses of frames; centroids count as one node."""
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
    """Read what `write_poses` wrote."""
    with np.load(path) as stored:
        points, counts = stored["points"], stored["counts"]
    return Poses(tuple(np.split(points, np.cumsum(counts)[:-1])) if len(counts) else ())


def judge(found: Poses, expected: Poses, limit: Limit) -> Agreement:
    """How poses agree with those of the reference, frame by frame.

    Args:
        found: to judge.
        expected: of the reference, for the same frames.
        limit: that they are to keep.

    Raises:
        ValueError: they are not of the same number of frames.
    """
    pairs = [compare_poses(a, b, REACH_PX) for a, b in zip(found.frames, expected.frames, strict=True)]
    px = np.concatenate([pair.distances for pair in pairs]) if pairs else np.zeros(0, np.float32)
    missed = sum(pair.n_expected - pair.n_matched for pair in pairs)
    surplus = sum(pair.n_surplus for pair in pairs)
    points_missed, points_surplus = expected.n_points - len(px), found.n_points - len(px)
    changed = max(
        (missed + surplus) / max(expected.n_instances, 1), (points_missed + points_surplus) / max(expected.n_points, 1)
    )
    return Agreement(
        agrees=bool(len(px)) and _percentile(px, limit.share) <= limit.px and changed <= limit.changed,
        limit=str(limit),
        n_frames=len(expected.frames),
        n_instances=expected.n_instances,
        n_points=len(px),
        median_px=_percentile(px, 50),
        p95_px=_percentile(px, 95),
        max_px=_percentile(px, 100),
        instances_missed=missed,
        instances_surplus=surplus,
        points_missed=points_missed,
        points_surplus=points_surplus,
    )


def _percentile(px: NDArray[np.float32], share: float) -> float:
    return float(np.percentile(px, share)) if len(px) else 0.0
