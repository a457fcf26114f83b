"""How far poses are apart, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sleap_infer
from sleap_infer.poses.compare import Tolerance, cautious_limit, compare_frames, compare_poses

NAN = float("nan")


def poses(values: list[list[tuple[float, float]]]) -> np.ndarray:
    return np.array(values, np.float32).reshape(len(values), 2, 2)


LEFT, RIGHT = [(0, 0), (10, 0)], [(100, 0), (110, 0)]


def test_instances_are_matched_whatever_their_order() -> None:
    """Off by (3, 4), so 5 pixels, at one point of each."""
    found = poses([[(103, 4), (110, 0)], [(0, 0), (13, 4)]])
    agreement = compare_poses(found, poses([LEFT, RIGHT]), radius=20)
    assert sorted(agreement.distances.tolist()) == [0, 0, 5, 5]
    assert agreement.distances.dtype == np.float32
    assert (agreement.n_expected, agreement.n_matched, agreement.n_false) == (2, 2, 0)


@pytest.mark.parametrize(("reach", "n_matched"), [(5, 1), (4.9, 0)])
def test_beyond_reach_is_not_the_same_animal(reach: float, n_matched: int) -> None:
    """Both points are 5 off: the mean is 5."""
    agreement = compare_poses(poses([[(3, 4), (13, 4)]]), poses([LEFT]), reach)
    assert (agreement.n_matched, agreement.n_false) == (n_matched, 1 - n_matched)
    assert agreement.distances.tolist() == [5, 5] * n_matched


def test_points_that_one_side_lacks_do_not_count() -> None:
    agreement = compare_poses(poses([[(0, 1), (NAN, NAN)]]), poses([LEFT]), radius=2)
    assert agreement.distances.tolist() == [1]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        ([LEFT], []),
        ([], [LEFT]),
        ([[(NAN, NAN)] * 2], [LEFT]),
        ([[(0, 0), (NAN, NAN)]], [[(NAN, NAN), (0, 0)]]),
    ],
)
def test_nothing_to_match(found: list[list[tuple[float, float]]], expected: list[list[tuple[float, float]]]) -> None:
    agreement = compare_poses(poses(found), poses(expected), radius=1e9)
    assert agreement.distances.shape == (0,)
    assert (agreement.n_expected, agreement.n_matched, agreement.n_false) == (len(expected), 0, len(found))


@pytest.mark.parametrize(("n_points", "n_far"), [(0, 0), (1, 0), (39, 0), (40, 1), (200, 5), (410, 13), (1000, 38)])
def test_so_many_may_be_far_off(n_points: int, n_far: int) -> None:
    """Half of 5 %, or what is proven, by the table of the binomial distribution."""
    distances = np.zeros(n_points)
    distances[:n_far] = 9.0
    assert cautious_limit(distances) == 0
    distances[: n_far + 1] = 9.0
    assert cautious_limit(distances) == (9 if n_points else 0)


def test_what_is_proven_is_rarely_wrong() -> None:
    """Of sources of which 6 % of the points are far off, one in twenty at most is taken for a good one."""
    rng = np.random.default_rng(0)
    taken = [cautious_limit((rng.uniform(size=1000) < 0.06).astype(float)) == 0 for _ in range(400)]
    assert np.mean(taken) < 0.05
    taken = [cautious_limit((rng.uniform(size=1000) < 0.03).astype(float)) == 0 for _ in range(400)]
    assert np.mean(taken) > 0.9


def test_frames_are_pooled() -> None:
    """Two of three animals found, one of them without its second point, and one that is not there."""
    expected = [poses([LEFT, RIGHT]), poses([LEFT])]
    found = [poses([[(3, 4), (NAN, NAN)]]), poses([LEFT, RIGHT])]
    compared = compare_frames(found, expected)
    assert compared.distances.tolist() == [5, 0, 0]
    assert (compared.n_expected, compared.n_missed, compared.n_false) == (3, 1, 1)
    assert (compared.n_expected_points, compared.n_missed_points, compared.n_false_points) == (6, 3, 2)
    assert compared.frames[0].missed_points.tolist() == [[False, True]]
    assert not compared.frames[0].false_points.any()
    assert compared.changed_instances == pytest.approx(2 / 3)
    assert compared.changed == pytest.approx(5 / 6)
    assert (compared.percentile(100), compared.percentile(50)) == (5, 0)


@pytest.mark.parametrize(
    ("tolerance", "is_within"),
    [(Tolerance(5, 100, 1), True), (Tolerance(4.9, 100, 1), False), (Tolerance(4.9, 50, 1), True),
     (Tolerance(5, 100, 0.8), False)],
)  # fmt: skip
def test_a_tolerance_has_three_limits(tolerance: Tolerance, is_within: bool) -> None:
    expected = [poses([LEFT, RIGHT]), poses([LEFT])]
    found = [poses([[(3, 4), (NAN, NAN)]]), poses([LEFT, RIGHT])]
    assert compare_frames(found, expected).is_within(tolerance) is is_within


def test_no_other_module_matches_poses() -> None:
    """Poses are compared in one module: elsewhere, only groupings and classes are assignment problems."""
    package = Path(sleap_infer.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "linear_sum_assignment" in path.read_text(encoding="utf-8")
    }
    assert found == {"poses/compare.py", "ops/assignment.py", "ops/identity.py"}
