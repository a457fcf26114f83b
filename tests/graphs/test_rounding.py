"""Rounding whose errors make each other good."""

from __future__ import annotations

import numpy as np
import pytest

from sleap_infer.quantization import gptq as rounding
from sleap_infer.quantization.gptq import Doubles, bfloat16_grid, integer_grid, round_compensated, scales_of


def correlated(n_inputs: int, n_rows: int = 400) -> Doubles:
    rng = np.random.default_rng(3)
    return rng.normal(size=(n_rows, n_inputs)) @ rng.normal(size=(n_inputs, n_inputs)) + rng.normal(size=n_inputs)


def error(rows: Doubles, exact: Doubles, rounded: Doubles) -> float:
    return float(np.sqrt(np.mean((rows @ (exact - rounded).T) ** 2)))


@pytest.mark.parametrize(("n_inputs", "share"), [(9, 0.9), (150, 0.7), (300, 0.7)])
@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_what_comes_out_changes_less_than_with_the_nearest_numbers(n_inputs: int, share: float, kind: str) -> None:
    rows = correlated(n_inputs)
    weights = np.random.default_rng(4).normal(size=(16, n_inputs))
    grid = integer_grid(scales_of(weights)) if kind == "int8" else bfloat16_grid
    nearest = np.stack([grid(column) for column in weights.T], axis=1)
    rounded = round_compensated(weights, rows.T @ rows, grid)
    assert error(rows, weights, rounded) < share * error(rows, weights, nearest)
    np.testing.assert_array_equal(np.stack([grid(column) for column in rounded.T], axis=1), rounded)


def test_independent_inputs_get_the_nearest_numbers() -> None:
    weights = np.random.default_rng(4).normal(size=(5, 20))
    grid = integer_grid(scales_of(weights))
    nearest = np.stack([grid(column) for column in weights.T], axis=1)
    np.testing.assert_allclose(round_compensated(weights, np.diag(np.arange(1.0, 21.0)), grid), nearest, atol=1e-12)


def test_the_bias_takes_what_is_left_and_is_not_rounded() -> None:
    rows = np.abs(correlated(30)) + 5.0
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    weights = np.random.default_rng(4).normal(size=(8, 31))
    rounded = round_compensated(weights, rows.T @ rows, bfloat16_grid, n_free=1)
    np.testing.assert_array_equal(bfloat16_grid(rounded[:, :-1]), rounded[:, :-1])
    assert not np.array_equal(bfloat16_grid(rounded[:, -1]), rounded[:, -1])
    mean = (rows @ (weights - rounded).T).mean(axis=0)
    assert np.abs(mean).max() < 0.01 * np.abs(rows @ weights.T).mean()


def test_columns_at_once_are_for_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = correlated(50)
    weights = np.random.default_rng(4).normal(size=(8, 50))
    at_once = round_compensated(weights, rows.T @ rows, bfloat16_grid)
    monkeypatch.setattr(rounding, "N_AT_ONCE", 7)
    np.testing.assert_array_equal(round_compensated(weights, rows.T @ rows, bfloat16_grid), at_once)


def test_inputs_that_are_never_there() -> None:
    """All zero, as behind dead channels: weights stay finite."""
    weights = np.random.default_rng(4).normal(size=(4, 6))
    weights[2] = 0.0
    rounded = round_compensated(weights, np.zeros((6, 6)), integer_grid(scales_of(weights)))
    assert np.isfinite(rounded).all()
    assert not rounded[2].any()
