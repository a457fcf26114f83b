"""Class probabilities at peaks, and who gets which class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sleap_infer.ops.classes import sample_classes
from sleap_infer.ops.identity import assign_classes, group_by_class


@pytest.mark.parametrize(
    ("x", "column"), [(0, 0), (1.9, 0), (2, 0), (2.1, 1), (6, 2), (10, 2), (14, 4), (99, 4), (-50, 0)]
)
def test_nearest_cell_with_halves_to_even(x: float, column: int) -> None:
    """Stride 4: x = 2, 6, 10, 14 lie halfway, at 0.5, 1.5, 2.5, 3.5 of a cell."""
    maps = torch.arange(5.0).expand(1, 1, 3, 5)
    assert sample_classes(maps, torch.tensor([[[[x, 3.0]]]]), stride=4).item() == column


def test_rows_columns_classes_and_frames_do_not_mix() -> None:
    """Class c of frame b at (x, y) holds 1000 b + 100 c + 10 y + x."""
    b, c, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in (2, 2, 3, 4)), indexing="ij")
    maps = 1000 * b + 100 * c + 10 * y + x
    peaks = torch.tensor([[[[6.0, 2.0], [torch.nan, torch.nan]]], [[[0.0, 4.0], [2.0, 0.0]]]])
    found = sample_classes(maps, peaks, stride=2)
    assert found.shape == (2, 1, 2, 2)
    assert found[0, 0, 0].tolist() == [13, 113]
    assert found[0, 0, 1].isnan().all()
    assert found[1, 0].tolist() == [[1020, 1120], [1001, 1101]]


@pytest.mark.parametrize(
    ("probabilities", "classes"),
    [
        ([[0.9, 0.1], [0.8, 0.2]], [0, 1]),
        ([[0.6, 0.5], [0.9, 0.1]], [1, 0]),
        ([[0.1, 0.2, 0.7]], [2]),
        ([[0.5, 0.0], [0.6, 0.0], [0.7, 0.9]], [-1, 0, 1]),
    ],
)
def test_classes_are_given_so_that_their_sum_is_highest(probabilities: list[list[float]], classes: list[int]) -> None:
    assert assign_classes(np.array(probabilities, np.float32)).tolist() == classes


def test_unknown_probabilities_get_no_class_and_take_none() -> None:
    nan, inf = float("nan"), float("inf")
    found = assign_classes(np.array([[nan, nan], [0.9, 0.1], [inf, 0.5], [0.8, nan], [0.8, 0.2]], np.float32))
    assert found.tolist() == [-1, 0, -1, -1, 1]


def test_nobody_gets_no_class() -> None:
    assert assign_classes(np.zeros((0, 2), np.float32)).tolist() == []


def test_peaks_go_to_the_class_that_they_prefer_and_no_other() -> None:
    """Of node 0 both peaks prefer class 0; the second is given class 1, against its own preference, and is left out."""
    probabilities = np.array([[[0.9, 0.1], [0.8, 0.2]], [[0.3, 0.4], [0.6, 0.1]]], np.float32)
    is_peak = np.ones((2, 2), bool)
    assert group_by_class(is_peak, probabilities).tolist() == [[0, 1], [-1, 0]]


def test_a_peak_that_has_no_place_belongs_to_nobody() -> None:
    """Its refinement had nothing to weigh (0 / 0), so no class is known."""
    probabilities = np.array([[[np.nan, np.nan], [0.8, 0.2]]], np.float32)
    assert group_by_class(np.ones((1, 2), bool), probabilities).tolist() == [[1], [-1]]


def test_absent_peaks_take_no_class() -> None:
    probabilities = np.array([[[np.nan, np.nan], [0.8, 0.2]], [[np.nan] * 2, [np.nan] * 2]], np.float32)
    is_peak = np.array([[False, True], [False, False]])
    assert group_by_class(is_peak, probabilities).tolist() == [[1, -1], [-1, -1]]
