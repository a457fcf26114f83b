"""Whether poses agree with those of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sleap_infer.benchmark.pose_comparison import (
    Poses,
    compare_with_reference,
    poses_of,
    read_poses,
    write_poses,
)
from sleap_infer.poses.compare import Tolerance
from sleap_infer.poses.outputs import Outputs

FULL, LOWER = Tolerance.of("fp32", "cpu"), Tolerance.of("int8", "cpu")


def frame(*poses: list[list[float]]) -> np.ndarray:
    return np.array(poses, np.float32).reshape(-1, 2, 2)


A, B = [[10.0, 10.0], [20.0, 10.0]], [[100.0, 100.0], [110.0, 100.0]]
EXPECTED = Poses((frame(A, B), frame(A)))


def moved(by: float) -> Poses:
    return Poses(tuple(item + np.float32([by, 0]) for item in EXPECTED.frames))


def test_limits() -> None:
    assert Tolerance.of("fp32", "cpu") == Tolerance(0.01, 100.0, 0.0)
    assert Tolerance.of("fp32", "cpu,cpu") == Tolerance.of("fp32", "cpu")
    assert Tolerance.of("fp32", "cuda:0") == Tolerance(0.05, 100.0, 0.0)
    for precision in ("fp16", "bf16", "int8"):
        assert Tolerance.of(precision, "cpu") == Tolerance(0.5, 95.0, 0.01)
    assert str(LOWER) == "95 % of points within 0.5 px, at most 1% of instances changed"


def test_the_same_poses_agree() -> None:
    found = compare_with_reference(EXPECTED, EXPECTED, FULL)
    assert found.agrees
    assert (found.n_frames, found.n_instances, found.n_points) == (2, 3, 6)
    assert (found.max_px, found.p95_px, found.median_px) == (0, 0, 0)


def test_distances_decide() -> None:
    assert compare_with_reference(moved(0.009), EXPECTED, FULL).agrees
    found = compare_with_reference(moved(0.02), EXPECTED, FULL)
    assert not found.agrees
    assert found.max_px == pytest.approx(0.02, abs=1e-5)
    assert compare_with_reference(moved(0.02), EXPECTED, LOWER).agrees
    assert not compare_with_reference(moved(0.6), EXPECTED, LOWER).agrees


def test_one_point_far_off_breaks_full_precision_alone() -> None:
    many = Poses(tuple(frame(A) for _ in range(50)))
    one = Poses((frame([[10.0, 15.0], [20.0, 10.0]]), *many.frames[1:]))
    assert not compare_with_reference(one, many, FULL).agrees
    found = compare_with_reference(one, many, LOWER)
    assert found.agrees
    assert found.max_px == 5
    assert found.p95_px == 0


def test_missed_and_surplus_instances() -> None:
    found = compare_with_reference(Poses((frame(A), frame(A, B))), EXPECTED, LOWER)
    assert not found.agrees
    assert (found.instances_missed, found.instances_surplus) == (1, 1)
    assert found.n_changed == 2
    assert (found.points_missed, found.points_surplus) == (2, 2)


def test_a_missing_point_in_a_found_instance_is_missed() -> None:
    lost = frame(A, B)
    lost[0, 1] = np.nan
    found = compare_with_reference(Poses((lost, frame(A))), EXPECTED, FULL)
    assert not found.agrees
    assert (found.instances_missed, found.points_missed, found.points_surplus) == (0, 1, 0)
    assert found.max_px == 0


def test_one_changed_instance_in_two_hundred_is_within_the_budget_of_lower_precision() -> None:
    many = Poses(tuple(frame(A) for _ in range(200)))
    fewer = Poses((frame(), *many.frames[1:]))
    assert compare_with_reference(fewer, many, LOWER).agrees
    assert not compare_with_reference(fewer, many, FULL).agrees
    assert not compare_with_reference(Poses((frame(), frame(), frame(), *many.frames[3:])), many, LOWER).agrees


def test_nothing_found_proves_nothing() -> None:
    nothing = Poses((frame(), frame()))
    assert not compare_with_reference(nothing, nothing, FULL).agrees


def test_another_number_of_frames_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare_with_reference(Poses(EXPECTED.frames[:1]), EXPECTED, FULL)


@pytest.mark.parametrize("poses", [EXPECTED, Poses((frame(), frame(A, B), frame())), Poses((frame(),)), Poses(())])
def test_poses_in_a_file(poses: Poses, tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    write_poses(path, poses)
    found = read_poses(path)
    assert [item.tolist() for item in found.frames] == [item.tolist() for item in poses.frames]


def test_rows_without_a_point_do_not_count_and_centroids_are_poses_of_one_node() -> None:
    empty = np.full((1, 2, 2), np.nan, np.float32)
    keypoints = Outputs(pred_keypoints=np.concatenate([frame(A), empty]))
    centroids = Outputs(pred_centroids=np.array([[1.0, 2.0]], np.float32))
    found = poses_of([keypoints, centroids, Outputs()])
    assert [item.shape for item in found.frames] == [(1, 2, 2), (1, 1, 2), (0, 1, 2)]
