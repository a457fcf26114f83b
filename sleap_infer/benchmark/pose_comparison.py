"""Compare the poses of a configuration with those of the reference, before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.benchmark.report.schema import PoseComparison
from sleap_infer.poses.compare import Tolerance, compare_frames, points_of
from sleap_infer.poses.outputs import Outputs


@frozen
class Poses:
    """Poses of several frames.

    Attributes:
        frames: (I, N, 2) per frame, in image pixels; missing points are NaN, rows without any point are left out.
    """

    frames: tuple[NDArray[np.float32], ...]


def poses_of(outputs: Sequence[Outputs]) -> Poses:
    """Return the poses of frames; centroids count as instances of one node."""
    return Poses(tuple(map(points_of, outputs)))


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
    compared = compare_frames(found.frames, expected.frames)
    return PoseComparison(
        agrees=bool(len(compared.distances)) and compared.is_within(tolerance),
        limit=str(tolerance),
        n_frames=len(expected.frames),
        n_instances=compared.n_expected,
        n_points=len(compared.distances),
        median_px=compared.percentile(50),
        p95_px=compared.percentile(95),
        max_px=compared.percentile(100),
        instances_missed=compared.n_missed,
        instances_surplus=compared.n_false,
        points_missed=compared.n_missed_points,
        points_surplus=compared.n_false_points,
    )
