"""Which instances stay, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sleap_infer.ops.filters import box_iou, far_apart, keypoint_similarity, not_overlapping, strongest

NAN = float("nan")


def floats(values: object) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("at_most", "kept"), [(0, []), (1, [1]), (2, [1, 3]), (3, [1, 3, 0]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_strongest_come_first_only_where_some_are_dropped(at_most: int, kept: list[int]) -> None:
    """The first of equals wins."""
    assert strongest(floats([0.5, 0.9, 0.5, 0.7]), at_most).tolist() == kept


def test_boxes_overlap_by_hand() -> None:
    """4x4 against 4x4 moved by (2, 0): 8 of 24; the third lies apart, the fourth touches, the fifth is empty."""
    boxes = [[(0, 0), (4, 4)], [(2, 0), (6, 4)], [(10, 10), (12, 12)], [(4, 4), (5, 5)], [(NAN, NAN), (NAN, NAN)]]
    expected = np.eye(5)
    expected[0, 1] = expected[1, 0] = 1 / 3
    expected[4, 4] = 0
    expected[1, 3] = expected[3, 1] = 0
    assert box_iou(floats(boxes)) == pytest.approx(expected)


def test_missing_points_are_not_in_the_box() -> None:
    """Without its missing point the first is the 2x2 box in the corner of a 4x4 one."""
    found = box_iou(floats([[(0, 0), (2, 2), (NAN, NAN)], [(0, 0), (4, 4), (1, 1)]]))
    assert found[0, 1] == pytest.approx(4 / 16)


def test_keypoint_similarity_by_hand() -> None:
    """Box of row 0: 10 x 10; both points are 1 away, so exp(-1 / (2 * 100 * 0.01)). Row 1 has a box of 100 as well."""
    found = keypoint_similarity(floats([[(0, 0), (10, 10)], [(1, 0), (11, 10)]]))
    assert found == pytest.approx(np.array([[1, math.exp(-0.5)], [math.exp(-0.5), 1]]))


def test_keypoint_similarity_is_over_common_points_and_scaled_by_the_row() -> None:
    """Only point 0 is common, 2 apart. Row 0 has a box of 20 x 10, row 1 one of 10 x 10."""
    found = keypoint_similarity(floats([[(0, 0), (20, 10), (NAN, NAN)], [(2, 0), (NAN, NAN), (12, 10)]]))
    assert found[0, 1] == pytest.approx(math.exp(-4 / 4))
    assert found[1, 0] == pytest.approx(math.exp(-4 / 2))


def test_nothing_in_common_is_not_alike() -> None:
    found = keypoint_similarity(floats([[(0, 0), (NAN, NAN)], [(NAN, NAN), (4, 4)]]))
    assert found.tolist() == [[0, 0], [0, 0]]


SIMILARITY = floats([[1, 0.8, 0.1], [0.8, 1, 0.9], [0.1, 0.9, 1]])


@pytest.mark.parametrize(
    ("scores", "threshold", "kept"),
    [
        ([3, 2, 1], 0.5, [True, False, True]),
        ([1, 3, 2], 0.5, [False, True, False]),
        ([3, 2, 1], 0.8, [True, True, False]),
        ([3, 2, 1], 0.95, [True, True, True]),
        ([2, 2, 2], 0.5, [True, False, True]),
    ],
)
def test_greedy_suppression(scores: list[float], threshold: float, kept: list[bool]) -> None:
    """What was dropped suppresses nothing, at the threshold nothing is dropped, the first of equals stays."""
    assert not_overlapping(SIMILARITY, floats(scores), threshold).tolist() == kept


@pytest.mark.parametrize(("distance", "kept"), [(5, [True, True, True]), (5.01, [False, True, True])])
def test_points_at_the_distance_stay(distance: float, kept: list[bool]) -> None:
    """The second is 5 from the first and scores more."""
    assert far_apart(floats([(0, 0), (3, 4), (50, 0)]), floats([0.5, 0.9, 0.1]), distance).tolist() == kept


def test_of_nobody_nobody_stays() -> None:
    none = np.zeros((0, 3, 2), np.float32)
    assert box_iou(none).shape == keypoint_similarity(none).shape == (0, 0)
    assert far_apart(none[:, 0], np.zeros(0, np.float32), 5).tolist() == []
    assert strongest(np.zeros(0, np.float32), 2).tolist() == []
