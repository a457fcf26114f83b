"""Medians, quartiles, and what is beyond noise."""

from __future__ import annotations

import numpy as np
import pytest

from sleap_infer.benchmark.report.statistics import MIN_CHANGE, Spread, change, frames_to_pay, is_worse, percentile


def test_a_spread_is_median_and_quartiles_of_what_was_measured() -> None:
    found = Spread.of([10, 50, 20, 40, 30])
    assert (found.median, found.low, found.high) == (30, 20, 40)
    assert found.values == (10, 50, 20, 40, 30)
    assert found.width == 20
    assert Spread.of([1, 2]).low == 1.25
    assert Spread.of([7]) == Spread(7, 7, 7, (7,))
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_an_outlier_moves_neither_median_nor_quartiles_far() -> None:
    assert Spread.of([10, 11, 12, 13, 1000]).high == 13


def test_overlap_counts_a_common_point() -> None:
    assert Spread(2, 1, 3).overlaps(Spread(4, 3, 5))
    assert not Spread(2, 1, 3).overlaps(Spread(4, 3.1, 5))


@pytest.mark.parametrize(
    ("old", "new", "higher_is_better", "expected"),
    [
        (Spread(100, 99, 101), Spread(80, 79, 81), True, True),  # 20 slower, spreads of 4 together
        (Spread(100, 99, 101), Spread(80, 79, 81), False, False),  # the same, of seconds: faster
        (Spread(100, 99, 101), Spread(120, 119, 121), True, False),  # faster
        (Spread(100, 99, 101), Spread(120, 119, 121), False, True),
        (Spread(100, 100, 100), Spread(96, 96, 96), True, False),  # 4 %, whatever the spread
        (Spread(100, 85, 110), Spread(80, 75, 84), True, False),  # quartiles apart, but spreads of 34 together
        (Spread(100, 99, 101), Spread(80, 70, 90), True, False),  # 20 slower, spreads of 22 together
    ],
)
def test_worse_is_beyond_both_spreads_and_five_percent(
    old: Spread, new: Spread, higher_is_better: bool, expected: bool
) -> None:
    assert is_worse(old, new, higher_is_better) is expected


def test_what_is_worse_never_overlaps() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        old, new = (Spread.of(list(rng.normal(100, 8, 5))) for _ in range(2))
        if is_worse(old, new, higher_is_better=True):
            assert not old.overlaps(new)
            assert change(old, new) < -MIN_CHANGE


def test_noise_alone_is_rarely_a_regression() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 10, (1000, 2, 5))
    alarms = sum(is_worse(Spread.of(list(old)), Spread.of(list(new)), True) for old, new in values)
    assert alarms < 30


def test_percentiles_lie_between_values() -> None:
    values = [float(value) for value in range(1, 102)]
    assert percentile(values, 50) == 51
    assert percentile(values, 90) == 91
    assert percentile(values, 99) == 100


@pytest.mark.parametrize(
    ("build", "fps", "plain", "expected"),
    [
        (10.0, 20.0, 10.0, 200),  # wins 0.05 s per frame
        (1.0, 30.0, 10.0, 15),  # wins 1/15 s per frame
        (0.0, 20.0, 10.0, 0),
        (10.0, 10.0, 10.0, None),
        (10.0, 5.0, 10.0, None),
    ],
)
def test_a_build_pays_after_so_many_frames(build: float, fps: float, plain: float, expected: int | None) -> None:
    assert frames_to_pay(build, fps, plain) == expected
