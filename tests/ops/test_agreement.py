"""How far poses are apart, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sleap_infer.poses.compare import cautious_limit, compare_poses

NAN = float("nan")


def poses(values: list[list[tuple[float, float]]]) -> np.ndarray:
    return np.array(values, np.float32).reshape(len(values), 2, 2)


LEFT, RIGHT = [(0, 0), (10, 0)], [(100, 0), (110, 0)]


def test_instances_are_matched_whatever_their_order() -> None:
    """Off by (3, 4), so 5 pixels, at one point of each."""
    found = poses([[(103, 4), (110, 0)], [(0, 0), (13, 4)]])
    agreement = compare_poses(found, poses([LEFT, RIGHT]), reach=20)
    assert sorted(agreement.distances.tolist()) == [0, 0, 5, 5]
    assert agreement.distances.dtype == np.float32
    assert (agreement.n_expected, agreement.n_matched, agreement.n_surplus) == (2, 2, 0)


@pytest.mark.parametrize(("reach", "n_matched"), [(5, 1), (4.9, 0)])
def test_beyond_reach_is_not_the_same_animal(reach: float, n_matched: int) -> None:
    """Both points are 5 off: the mean is 5."""
    agreement = compare_poses(poses([[(3, 4), (13, 4)]]), poses([LEFT]), reach)
    assert (agreement.n_matched, agreement.n_surplus) == (n_matched, 1 - n_matched)
    assert agreement.distances.tolist() == [5, 5] * n_matched


def test_points_that_one_side_lacks_do_not_count() -> None:
    agreement = compare_poses(poses([[(0, 1), (NAN, NAN)]]), poses([LEFT]), reach=2)
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
    agreement = compare_poses(poses(found), poses(expected), reach=1e9)
    assert agreement.distances.shape == (0,)
    assert (agreement.n_expected, agreement.n_matched, agreement.n_surplus) == (len(expected), 0, len(found))


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
