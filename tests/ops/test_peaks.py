"""Peaks of maps: where they are, which there are, and which of too many are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from sleap_infer.ops.peaks import first_bins, global_peaks, local_peaks


def draw(cells: dict[tuple[int, int], float], size: tuple[int, int] = (8, 10)) -> Tensor:
    """One map with values at (x, y), 0 elsewhere."""
    maps = torch.zeros(1, 1, *size)
    for (x, y), value in cells.items():
        maps[0, 0, y, x] = value
    return maps


def found(maps: Tensor, threshold: float = 0.2, patch_size: int | None = None, n_peaks: int = 12) -> list[list[float]]:
    """Positions and values of the local peaks of one map."""
    peaks, values, is_peak = local_peaks(maps, first_bins(maps, threshold), patch_size, n_peaks)
    assert peaks[~is_peak].isnan().all()
    assert (values[~is_peak] == 0).all()
    rows = torch.cat([peaks, values[..., None]], dim=-1)[is_peak]
    return [[round(x, 4) for x in row] for row in rows.tolist()]


SPREAD = {(4, 3): 0.8, (5, 3): 0.4, (4, 4): 0.2, (3, 3): 0.2, (6, 5): 0.4}
"""Its sum is 2.0; moments about (4, 3): x 0.4 - 0.2 + 2 * 0.4 = 1.0, y 0.2 + 2 * 0.4 = 1.0."""


@pytest.mark.parametrize(("patch_size", "place"), [(None, [4, 3]), (5, [4.5, 3.5]), (3, [4.125, 3.125])])
def test_one_peak_and_its_refinement(patch_size: int | None, place: list[float]) -> None:
    """In 3x3 cells the sum is 1.6, and both moments are 0.2."""
    assert found(draw(SPREAD), 0.5, patch_size) == [[*place, 0.8]]
    peaks, values = global_peaks(draw(SPREAD), 0.2, patch_size)
    assert peaks[0, 0].tolist() == pytest.approx(place)
    assert values.item() == pytest.approx(0.8)


def test_negative_values_count_in_the_refinement() -> None:
    """(1 - 0.5) in all, moment in x: 2 * -0.5, so -2 cells."""
    assert found(draw({(4, 3): 1.0, (6, 3): -0.5}), patch_size=5) == [[2.0, 3.0, 1.0]]


def test_cells_outside_count_as_zero_in_the_refinement() -> None:
    assert found(draw({(0, 0): 0.6, (1, 0): 0.2}), patch_size=5) == [[0.25, 0.0, 0.6]]
    assert found(draw({(9, 7): 0.6, (9, 6): 0.2}), patch_size=5) == [[9.0, 6.75, 0.6]]


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ([(3, 3), (4, 3)], [3.5, 3]),
        ([(3, 3), (3, 4)], [3, 3.5]),
        ([(3, 3), (4, 4)], [3.5, 3.5]),
        ([(4, 3), (3, 4)], [3.5, 3.5]),
        ([(3, 3), (4, 3), (3, 4), (4, 4)], [3.5, 3.5]),
        ([(3, 3), (4, 3), (3, 4)], [10 / 3, 10 / 3]),
        ([(4, 3), (3, 4), (4, 4)], [11 / 3, 11 / 3]),
        ([(0, 0), (1, 0)], [0.5, 0]),
        ([(8, 7), (9, 7)], [8.5, 7]),
        ([(9, 6), (9, 7), (8, 6), (8, 7)], [8.5, 6.5]),
    ],
)
def test_flat_tops_up_to_two_by_two_are_one_peak_at_their_mean(
    cells: list[tuple[int, int]], place: list[float]
) -> None:
    maps = draw(dict.fromkeys(cells, 0.5))
    assert found(maps) == [[round(x, 4) for x in [*place, 0.5]]]
    assert found(maps, patch_size=5) == [[round(x, 4) for x in [*place, 0.5]]]


@pytest.mark.parametrize("cells", [[(3, 3), (4, 3)], [(3, 3), (4, 4)], [(3, 3), (4, 3), (3, 4), (4, 4)]])
def test_flat_tops_are_no_peaks_where_a_model_says_so(cells: list[tuple[int, int]]) -> None:
    maps = draw({**dict.fromkeys(cells, 0.5), (8, 6): 0.4})
    peaks, _, is_peak = local_peaks(maps, first_bins(maps, 0.2, strict=True), None, 4)
    assert peaks[is_peak].tolist() == [[8, 6]]


def test_a_tie_of_the_highest_has_the_value_of_its_column_and_row_where_a_model_says_so() -> None:
    """(3, 5) and (6, 2) are equal: x comes from the first column, y from the first row."""
    maps = draw({(3, 5): 0.9, (6, 2): 0.9, (3, 2): 0.4})
    assert [found.flatten().tolist() for found in global_peaks(maps, 0.3, None)] == [[3, 2], [pytest.approx(0.9)]]
    strict = global_peaks(maps, 0.3, None, strict=True)
    assert [found.flatten().tolist() for found in strict] == [[3, 2], [pytest.approx(0.4)]]


def test_offsets_at_the_cell_of_a_peak_take_the_place_of_the_refinement() -> None:
    """Two nodes: each has its own channels of x and y, in cells; what stands elsewhere does not matter."""
    maps = torch.cat([draw({(4, 3): 0.8, (5, 3): 0.4}), draw({(1, 6): 0.7})], dim=1)
    offsets = torch.full((1, 4, *maps.shape[2:]), 99.0)
    offsets[0, :2, 3, 4], offsets[0, 2:, 6, 1] = torch.tensor([0.25, -0.5]), torch.tensor([-0.125, 0.75])
    expected = [[4.25, 2.5], [0.875, 6.75]]
    peaks, values = global_peaks(maps, 0.2, 5, offsets)
    assert peaks[0].tolist() == expected
    np.testing.assert_allclose(values[0], [0.8, 0.7])
    local, _, is_peak = local_peaks(maps, first_bins(maps, 0.2), 5, 3, offsets)
    assert local[is_peak].tolist() == expected


@pytest.mark.parametrize(
    "cells",
    [
        [(3, 3), (4, 3), (5, 3)],
        [(3, 3), (3, 4), (3, 5)],
        [(3, 3), (4, 4), (5, 5)],
        [(5, 3), (4, 4), (3, 5)],
        [(3, 3), (4, 4), (3, 5)],
        [(3, 3), (5, 3), (4, 4)],
        [(3, 3), (4, 3), (3, 4), (4, 4), (5, 5)],
        [(4, 3), (3, 4), (5, 4)],
    ],
)
def test_larger_plateaus_are_no_peaks(cells: list[tuple[int, int]]) -> None:
    assert found(draw(dict.fromkeys(cells, 0.5))) == []


def test_a_flat_top_beside_something_higher_is_no_peak() -> None:
    assert [row[:2] for row in found(draw({(3, 3): 0.5, (4, 3): 0.5, (5, 4): 0.6}))] == [[5, 4]]


@pytest.mark.parametrize("xy", [(0, 0), (9, 0), (0, 7), (9, 7), (4, 0), (9, 3)])
def test_peaks_lie_at_borders_too(xy: tuple[int, int]) -> None:
    assert found(draw({xy: 0.5})) == [[*xy, 0.5]]


def test_thresholds_are_strict_for_local_peaks_and_not_for_global_ones() -> None:
    maps = draw({(3, 3): 0.25})
    assert found(maps, threshold=0.25) == []
    assert len(found(maps, threshold=0.2499)) == 1
    assert global_peaks(maps, 0.25, None)[1].item() == 0.25
    peaks, values = global_peaks(maps, 0.2501, None)
    assert peaks.isnan().all()
    assert values.item() == 0


def test_global_ties_take_the_first_column_and_the_first_row_each_for_itself() -> None:
    """Maxima at (7, 1) and (2, 5): the first column that holds one is 2, the first row is 1."""
    peaks, _ = global_peaks(draw({(7, 1): 0.5, (2, 5): 0.5}), 0.2, None)
    assert peaks[0, 0].tolist() == [2, 1]


def test_local_ties_are_all_peaks_in_the_order_of_reading() -> None:
    cells = {(7, 1): 0.5, (2, 5): 0.5, (0, 1): 0.5, (9, 7): 0.5}
    assert [row[:2] for row in found(draw(cells))] == [[0, 1], [7, 1], [2, 5], [9, 7]]


def test_too_many_peaks_keep_the_strongest_in_the_order_of_reading() -> None:
    cells = {(0, 0): 0.5, (3, 0): 1.0, (6, 0): 0.25, (0, 3): 2.0}
    assert found(draw(cells), n_peaks=2) == [[3, 0, 1], [0, 3, 2]]
    assert first_bins(draw(cells), 0.2).sum().item() == 4


def test_maps_of_a_batch_do_not_mix() -> None:
    maps = torch.cat([draw({(1, 1): 0.5}), draw({}), draw({(5, 5): 1.0, (2, 2): 0.5})]).view(3, 1, 8, 10)
    maps = torch.cat([maps, maps.flip(0)], dim=1)
    peaks, values, is_peak = local_peaks(maps, first_bins(maps, 0.2), 5, 2)
    assert is_peak.sum(-1).tolist() == [[1, 2], [0, 0], [2, 1]]
    assert peaks[0, 0, 0].tolist() == peaks[2, 1, 0].tolist() == [1, 1]
    assert values[2, 0].tolist() == [0.5, 1.0]


def test_nothing_but_nan_gives_no_peak() -> None:
    maps = torch.full((1, 1, 4, 4), torch.nan)
    assert not local_peaks(maps, first_bins(maps, 0.2), 5, 3)[2].any()
    assert global_peaks(maps, 0.2, 5)[0].isnan().all()


def flood(heights: np.ndarray, y: int, x: int) -> set[tuple[int, int]]:
    """The plateau of a cell: equal cells that touch at sides or corners."""
    plateau, todo = {(y, x)}, [(y, x)]
    while todo:
        v, u = todo.pop()
        around = {(v + dy, u + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - plateau
        equal = {
            (b, a)
            for b, a in around
            if 0 <= b < heights.shape[0] and 0 <= a < heights.shape[1] and heights[b, a] == heights[y, x]
        }
        plateau |= equal
        todo += equal
    return plateau


def tops(heights: np.ndarray, threshold: float) -> list[list[float]]:
    """Means and heights of the small plateaus with nothing higher around, in the order of their first cells."""
    padded = np.pad(heights, 1, constant_values=-1)
    seen: set[tuple[int, int]] = set()
    means = []
    for y, x in np.ndindex(*heights.shape):
        if (y, x) in seen:
            continue
        plateau = flood(heights, y, x)
        seen |= plateau
        rows, columns = (np.array(axis) for axis in zip(*plateau, strict=True))
        higher = any((padded[v : v + 3, u : u + 3] > heights[y, x]).any() for v, u in plateau)
        if heights[y, x] > threshold and np.ptp(rows) < 2 and np.ptp(columns) < 2 and not higher:
            means.append([round(columns.mean(), 4), round(rows.mean(), 4), heights[y, x]])
    return means


@given(arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(0, 3)))
def test_peaks_are_the_small_plateaus_that_flooding_finds(heights: np.ndarray) -> None:
    maps = torch.from_numpy(heights.astype(np.float32))[None, None]
    room = max(1, int(first_bins(maps, 0.5).sum()))
    assert found(maps, 0.5, None, room) == tops(heights, 0.5)
