"""Points go into the network's input and come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sleap_infer.poses.geometry import Geometry

place = st.floats(-4000, 4000, width=32)
factor = st.floats(0.0625, 8, width=32)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Geometry, np.ndarray]:
    """A geometry of frames or crops, and points (B, N, 2) or (B, I, N, 2) in its images."""
    batch = draw(st.integers(1, 3))
    whole = draw(st.booleans())
    origin = np.zeros((1, 2), np.float32) if whole else draw(arrays(np.float32, (batch, 2), elements=place))
    shape = (batch, *draw(st.sampled_from([(), (1,), (4,), (2, 3)])), 2)
    points = draw(arrays(np.float32, shape, elements=place))
    half_pixel = draw(st.sampled_from([0.0, 0.5]))
    return Geometry((1000, 2000), draw(factor), draw(factor), origin, half_pixel), points


@given(geometries())
def test_there_and_back_is_the_same_point(case: tuple[Geometry, np.ndarray]) -> None:
    geometry, points = case
    back = geometry.to_image(geometry.to_model(points))
    assert back.dtype == np.float32
    assert back.shape == points.shape
    rounding = 1e-6 * (np.abs(points).max() + np.abs(geometry.origin).max() / geometry.size_factor + 1)
    assert np.abs(back - points).max() <= 4 * rounding


@given(geometries())
def test_back_and_there_is_the_same_point(case: tuple[Geometry, np.ndarray]) -> None:
    geometry, points = case
    there = geometry.to_model(geometry.to_image(points))
    rounding = 1e-6 * (np.abs(points).max() + np.abs(geometry.origin).max() * geometry.input_scaling + 1)
    assert np.abs(there - points).max() <= 4 * rounding


def test_a_frame_by_hand() -> None:
    """Fitted to a half, scaled to a quarter of that."""
    geometry = Geometry((100, 200), size_factor=0.5, input_scaling=0.25)
    assert geometry.to_model(np.array([[80, 40]], np.float32)).tolist() == [[10, 5]]


def test_crops_by_hand() -> None:
    """(point / scaling + origin) / factor, each crop from its own origin."""
    geometry = Geometry((100, 200), 0.5, 2.0, np.array([[10.5, 20.5], [-3.5, 0.5]], np.float32))
    points = np.array([[[4, 6], [0, 0]], [[4, 6], [0, 0]]], np.float32)
    assert geometry.to_image(points).tolist() == [[[25, 47], [21, 41]], [[-3, 7], [-7, 1]]]


def test_half_a_pixel_by_hand() -> None:
    """As SLEAP: point / scaling + 0.5, then the corner of the crop, then the fitting."""
    geometry = Geometry((100, 200), 0.5, 0.25, np.array([[10, 20]], np.float32), half_pixel=0.5)
    assert geometry.to_image(np.array([[1, 2]], np.float32)).tolist() == [[29, 57]]


def test_missing_points_stay_missing_and_take_none_along() -> None:
    points = np.array([[[np.nan, np.nan], [1, 2]]], np.float32)
    found = Geometry((10, 10), 2.0).to_image(points)
    assert np.isnan(found[0, 0]).all()
    assert found[0, 1].tolist() == [0.5, 1]


def test_no_points() -> None:
    assert Geometry((10, 10), origin=np.zeros((0, 2), np.float32)).to_image(np.zeros((0, 5, 2))).shape == (0, 5, 2)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 4, 3)])
def test_origins_belong_to_the_first_axis(shape: tuple[int, ...]) -> None:
    geometry = Geometry((10, 10), origin=np.array([[0, 0], [100, 200]], np.float32))
    found = geometry.to_image(np.zeros((*shape, 2), np.float32))
    assert (found[0] == 0).all()
    assert (found[1] == [100, 200]).all()
