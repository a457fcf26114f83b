"""Scores of connections, computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sleap_infer.ops import pafs
from sleap_infer.ops.pafs import LineScoring, score_lines


def scoring(**changes: object) -> LineScoring:
    settings = {"stride": 2, "n_points": 5, "max_edge_length_ratio": 1.0, "dist_penalty_weight": 1.0, **changes}
    return LineScoring(edges=((0, 1),), **settings)  # type: ignore[arg-type]


def between(source: tuple[float, float], destination: tuple[float, float]) -> Tensor:
    return torch.tensor([source, destination], dtype=torch.float32).view(1, 2, 1, 2)


def score(fields: Tensor, source: tuple[float, float], destination: tuple[float, float], **changes: object) -> float:
    return score_lines(fields, between(source, destination), scoring(**changes)).item()


def uniform(x: float, y: float, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *size).contiguous()


@pytest.mark.parametrize(
    ("destination", "expected"),
    [((10, 2), 0.8), ((2, 10), 0.6), ((2, 2 + 5), 0.6), ((5, 6), 0.96)],
)
def test_uniform_fields_score_their_share_along_the_line(destination: tuple[float, float], expected: float) -> None:
    """The field is (0.8, 0.6); (5, 6) lies 3 right and 4 below: 0.8 * 0.6 + 0.6 * 0.8."""
    assert score(uniform(0.8, 0.6), (2, 2), destination) == pytest.approx(expected, abs=1e-5)


def test_the_way_back_scores_the_opposite() -> None:
    assert score(uniform(1, 0), (10, 2), (2, 2)) == pytest.approx(-1)


def test_score_is_the_mean_over_the_sampled_cells() -> None:
    """From x = 0 to 8 at stride 2: points 0, 2, 4, 6, 8 are cells 0 to 4 of row 1."""
    fields = torch.zeros(1, 2, 8, 8)
    fields[0, 0, 1, :5] = torch.tensor([1.0, 0.5, 0.0, -0.5, 0.25])
    fields[0, 1] = 9.0
    assert score(fields, (0, 2), (8, 2)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("y", "row"), [(0.9, 0), (1.0, 0), (1.1, 1), (3.0, 2), (5.0, 2), (7.0, 4), (40.0, 7), (-9.0, 0)]
)
def test_nearest_cells_round_halves_to_even_and_stay_inside(y: float, row: int) -> None:
    """At stride 2, y = 1, 3, 5, 7 lie halfway: 0.5, 1.5, 2.5, 3.5 of a cell."""
    fields = torch.zeros(1, 2, 8, 8)
    fields[0, 0] = torch.arange(8.0)[:, None]
    assert score(fields, (2, y), (6, y)) == pytest.approx(row)


@pytest.mark.parametrize(
    ("length", "weight", "penalty"), [(2, 1, 0), (4, 1, 0), (8, 1, -0.5), (16, 1, -0.75), (8, 3, -1.5), (8, 0, 0)]
)
def test_long_connections_are_penalised(length: float, weight: float, penalty: float) -> None:
    """A quarter of the largest side, 8 cells of 2 pixels: 4 pixels are free, beyond it is 4 / length - 1."""
    found = score(uniform(0, 0), (0, 0), (length, 0), max_edge_length_ratio=0.25, dist_penalty_weight=weight)
    assert found == pytest.approx(penalty)


def test_the_largest_side_counts_channels_too() -> None:
    """With 12 channels on 8x8 cells, half of 12 * 2 is 12 pixels: no penalty at 12, -0.5 at 24."""
    fields = torch.zeros(1, 12, 8, 8)
    rule = LineScoring(tuple((0, 1) for _ in range(6)), 2, 5, 0.5, 1.0)
    assert score_lines(fields, between((0, 0), (12, 0)), rule).squeeze().tolist() == [0.0] * 6
    assert score_lines(fields, between((0, 0), (24, 0)), rule).squeeze().tolist() == pytest.approx([-0.5] * 6)


def test_coincident_and_missing_peaks_score_nan() -> None:
    assert torch.tensor(score(uniform(1, 0), (3, 3), (3, 3))).isnan()
    assert torch.tensor(score(uniform(1, 0), (3, 3), (torch.nan, torch.nan))).isnan()


def test_pairs_are_ordered_by_source_then_destination_and_edges_have_their_own_fields() -> None:
    """Edge (2, 0) has field (1, 0), edge (0, 1) has (0, 1)."""
    fields = torch.cat([uniform(1, 0), uniform(0, 1)], dim=1)
    peaks = torch.tensor([[[0.0, 0], [4, 0]], [[0, 4], [4, 3]], [[4, 0], [0, 8]]])[None]
    rule = LineScoring(((2, 0), (0, 1)), 2, 5, 1.0, 1.0)
    first, second = score_lines(fields, peaks, rule)[0].tolist()
    assert first == pytest.approx([-1, float("nan"), 0, 4 / 80**0.5], nan_ok=True)
    assert second == pytest.approx([1, 3 / 5, 4 / 32**0.5, 1], abs=1e-6)


def test_crowds_are_scored_piece_by_piece_to_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    fields, peaks = torch.randn(3, 2, 8, 8), torch.rand(3, 2, 4, 2) * 16
    at_once = score_lines(fields, peaks, scoring())
    for samples in (1, 4 * 6 * 2, 4 * 4 * 6 * 2):
        monkeypatch.setattr(pafs, "SAMPLES_AT_ONCE", samples)
        assert torch.equal(score_lines(fields, peaks, scoring()), at_once)


def crowd(n_places: int) -> Tensor:
    """Peaks of three frames in the first places: none, four with a gap between them, and one."""
    torch.manual_seed(0)
    peaks = torch.full((3, 2, n_places, 2), torch.nan)
    peaks[1, :, :4] = torch.rand(2, 4, 2) * 16
    peaks[1, :, 1] = torch.nan
    peaks[2, 0, 0] = torch.tensor([3.0, 4.0])
    return peaks


@pytest.mark.parametrize("at_once", [1, pafs.SAMPLES_AT_ONCE])
def test_empty_places_change_no_score(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pafs, "SAMPLES_AT_ONCE", at_once)
    fields = torch.randn(3, 2, 8, 8)
    tight = score_lines(fields, crowd(4), scoring()).view(3, 1, 4, 4)
    wide = score_lines(fields, crowd(9), scoring()).view(3, 1, 9, 9)
    assert int(tight.isfinite().sum()) == 9, "three peaks with three"
    torch.testing.assert_close(wide[..., :4, :4], tight, rtol=0, atol=0, equal_nan=True)
    assert wide[..., 4:, :].isnan().all()
    assert wide[..., 4:].isnan().all()


def test_a_graph_scores_empty_places_too_and_gives_the_same() -> None:
    class Scores(torch.nn.Module):
        def forward(self, fields: Tensor, peaks: Tensor) -> Tensor:
            return score_lines(fields, peaks, scoring())

    given = torch.randn(3, 2, 8, 8), crowd(6)
    traced = torch.export.export(Scores(), given).module()
    torch.testing.assert_close(traced(*given), score_lines(*given, scoring()), rtol=0, atol=0, equal_nan=True)


class Largest(TorchDispatchMode):
    """Notes the most elements that the result of any operation has."""

    def __init__(self) -> None:
        super().__init__()
        self.n_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.n_elements = max(self.n_elements, found.numel())
        return found


def test_the_work_grows_with_the_peaks_not_with_the_places() -> None:
    """Of 50 * 50 connections 4 * 4 can be: nothing that is computed is as large as the answer."""
    with Largest() as largest:
        found = score_lines(torch.randn(3, 2, 8, 8), crowd(50), scoring())
    assert largest.n_elements == found.numel() == 3 * 50 * 50
