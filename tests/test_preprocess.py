"""Frames become network inputs, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops.host_images import cut
from sleap_infer.ops.resize import resize_with_numpy
from sleap_infer.poses.preprocess import fit_channels, fit_size, pad_to, place_crops, preprocess, scale_and_pad

GRAY, RGB = ImageSettings(ensure_grayscale=True), ImageSettings(ensure_rgb=True)


def crop(images: np.ndarray, which: np.ndarray, centroids: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    origin, first = place_crops(centroids, side)
    return cut(images, which, first, side), origin


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("colour", "gray"),
    [
        ((255, 0, 0), 76),  # 76.2195
        ((0, 255, 0), 149),  # 149.685
        ((0, 0, 255), 29),  # 29.07
        ((10, 20, 30), 18),  # 18.149
        ((1, 1, 1), 0),  # 0.9999
        ((255, 255, 255), 254),  # 254.9745
    ],
)
def test_colour_to_gray_rounds_down(colour: tuple[int, int, int], gray: int) -> None:
    images = np.array(colour, np.uint8).reshape(1, 3, 1, 1)
    found = fit_channels(images, GRAY)
    assert (found.dtype, found.shape) == (np.uint8, (1, 1, 1, 1))
    assert found.item() == gray


def test_float_colour_to_gray_is_not_rounded() -> None:
    found = fit_channels(np.array([1, 0.5, 0], np.float32).reshape(1, 3, 1, 1), GRAY)
    assert found.dtype == np.float32
    assert found.item() == pytest.approx(0.2989 + 0.2935)


def test_gray_to_colour_repeats() -> None:
    images = noise(2, 1, 3, 4)
    found = fit_channels(images, RGB)
    assert found.shape == (2, 3, 3, 4)
    assert all((found[:, c] == images[:, 0]).all() for c in range(3))


@pytest.mark.parametrize(("channels", "settings"), [(1, GRAY), (3, RGB), (1, ImageSettings()), (3, ImageSettings())])
def test_channels_that_fit_are_left_alone(channels: int, settings: ImageSettings) -> None:
    images = noise(1, channels, 3, 4)
    assert fit_channels(images, settings) is images


@pytest.mark.parametrize(
    ("old", "wanted", "resized", "factor"),
    [
        ((100, 200), (50, 100), (50, 100), 0.5),
        ((100, 200), (50, 150), (50, 100), 0.5),
        ((10, 20), (40, 60), (30, 60), 3.0),
        ((10, 20), (30, None), (10, 20), 1.0),
        ((10, 20), (None, 10), (5, 10), 0.5),
        ((10, 20), (5, None), (5, 10), 0.5),
        ((5, 20), (50, 10), (2, 10), 0.5),
        ((7, 20), (50, 10), (4, 10), 0.5),
        ((1, 900), (30, 30), (1, 30), 1 / 30),
    ],
)
def test_frames_are_fitted_with_their_aspect(
    old: tuple[int, int], wanted: tuple[int | None, int | None], resized: tuple[int, int], factor: float
) -> None:
    """2.5 and 3.5 rows become 2 and 4: halves round to even. No side becomes 0."""
    images = noise(1, 1, *old)
    found, used = fit_size(images, ImageSettings(max_height=wanted[0], max_width=wanted[1]))
    height, width = wanted[0] or old[0], wanted[1] or old[1]
    assert found.shape == (1, 1, height, width)
    assert used == pytest.approx(factor)
    assert np.array_equal(found[..., : resized[0], : resized[1]], resize_with_numpy(images, resized))
    assert not found[..., resized[0] :, :].any()
    assert not found[..., resized[1] :].any()


@pytest.mark.parametrize("settings", [ImageSettings(), ImageSettings(max_height=6, max_width=9)])
def test_frames_that_fit_are_left_alone(settings: ImageSettings) -> None:
    images = noise(1, 1, 6, 9)
    assert fit_size(images, settings)[0] is images


@pytest.mark.parametrize(
    ("old", "scaling", "stride", "scaled", "padded"),
    [
        ((30, 40), 1.0, 1, (30, 40), (30, 40)),
        ((30, 40), 1.0, 16, (30, 40), (32, 48)),
        ((32, 48), 1.0, 16, (32, 48), (32, 48)),
        ((31, 41), 0.5, 1, (15, 20), (15, 20)),
        ((31, 41), 0.5, 8, (15, 20), (16, 24)),
        ((3, 5), 2.5, 4, (7, 12), (8, 12)),
        ((1, 40), 0.5, 1, (1, 20), (1, 20)),
    ],
)
def test_scale_rounds_down_and_padding_up(
    old: tuple[int, int], scaling: float, stride: int, scaled: tuple[int, int], padded: tuple[int, int]
) -> None:
    images = noise(2, 1, *old)
    found = scale_and_pad(images, ImageSettings(input_scaling=scaling, pad_to_stride=stride))
    assert found.shape == (2, 1, *padded)
    assert np.array_equal(found[..., : scaled[0], : scaled[1]], resize_with_numpy(images, scaled))
    assert found.sum() == found[..., : scaled[0], : scaled[1]].sum()


def test_padding_is_black_at_right_and_bottom() -> None:
    images = noise(1, 3, 2, 3)
    found = pad_to(images, (4, 5))
    assert np.array_equal(found[..., :2, :3], images)
    assert found.sum() == images.sum()
    assert pad_to(images, (2, 3)) is images


def test_all_steps_in_their_order() -> None:
    """Red 76 -> 20 x 40 fitted into 10 x 30 (10 x 20), halved, padded to fours."""
    images = np.zeros((1, 3, 20, 40), np.uint8)
    images[:, 0] = 255
    settings = ImageSettings(False, True, 10, 30, 0.5, 4)
    found, geometry = preprocess(images, settings)
    assert found.shape == (1, 1, 8, 16)
    assert (found[..., :5, :9] == 76).all()
    assert not found[..., 5:, :].any()
    assert not found[..., 11:].any()
    assert (geometry.image_size, geometry.size_factor, geometry.input_scaling) == ((20, 40), 0.5, 0.5)
    assert geometry.origin.tolist() == [[0, 0]]


def one_crop(
    centroid: tuple[float, float], side: int, size: tuple[int, int] = (30, 40)
) -> tuple[np.ndarray, list[float]]:
    """One crop of a frame whose pixel at (x, y) is 1 + 40 y + x, and where it counts to begin."""
    frame = 1 + np.arange(size[0] * size[1], dtype=np.float32).reshape(1, 1, *size)
    crops, origin = crop(frame, np.zeros(1, np.int64), np.array([centroid], np.float32), side)
    assert crops.shape == (1, 1, side, side)
    return crops[0, 0], origin[0].tolist()


@pytest.mark.parametrize(
    ("centroid", "side", "first", "origin"),
    [
        ((20, 15), 8, (16, 11), [16.5, 11.5]),
        ((20.4, 15.5), 8, (16, 12), [16.9, 12.0]),
        ((20.5, 15.6), 8, (17, 12), [17.0, 12.1]),
        ((20, 15), 7, (17, 12), [17.0, 12.0]),
        ((20.9, 15.99), 7, (17, 12), [17.9, 12.99]),
        ((21, 16), 1, (21, 16), [21.0, 16.0]),
    ],
)
def test_crops_begin_at_whole_pixels_but_count_from_the_centroid(
    centroid: tuple[float, float], side: int, first: tuple[int, int], origin: list[float]
) -> None:
    pixels, found = one_crop(centroid, side)
    assert pixels[0, 0] == 1 + 40 * first[1] + first[0]
    assert pixels[-1, -1] == 1 + 40 * (first[1] + side - 1) + first[0] + side - 1
    assert found == pytest.approx(origin)


@pytest.mark.parametrize(
    ("centroid", "inside"),
    [
        ((0, 0), (slice(4, 8), slice(4, 8))),
        ((39, 29), (slice(0, 5), slice(0, 5))),
        ((-2.0, 15), (slice(0, 8), slice(5, 8))),  # -5.5 + 4 is cut to -1, so it begins at -5
        ((-50, 15), (slice(0, 0), slice(0, 0))),
        ((20, 99), (slice(0, 0), slice(0, 0))),
    ],
)
def test_outside_of_the_frame_is_black(centroid: tuple[float, float], inside: tuple[slice, slice]) -> None:
    pixels, _ = one_crop(centroid, 8)
    mask = np.zeros((8, 8), bool)
    mask[inside] = True
    assert ((pixels > 0) == mask).all()


@given(st.floats(-60, 60, width=32), st.floats(-60, 60, width=32), st.integers(1, 25))
def test_every_crop_is_the_window_of_the_corner_rule(x: float, y: float, side: int) -> None:
    """trunc(centroid - side / 2 + 0.5 + side // 2) - side // 2, in 32-bit arithmetic."""
    corner = [np.float32(v) - np.float32(side / 2) + np.float32(0.5) for v in (x, y)]
    left, top = (math.trunc(float(v + np.float32(side // 2))) - side // 2 for v in corner)
    pixels, origin = one_crop((x, y), side)
    assert origin == [float(v) for v in corner]
    wide = np.zeros((230, 240), np.float32)
    wide[100:130, 100:140] = 1 + np.arange(1200).reshape(30, 40)
    assert np.array_equal(pixels, wide[100 + top : 100 + top + side, 100 + left : 100 + left + side])


def test_crops_come_from_their_own_frames_and_keep_type_and_channels() -> None:
    images = np.stack([np.full((3, 20, 20), value, np.uint8) for value in (10, 20)])
    centroids = np.array([[10, 10], [5, 5], [10, 10]], np.float32)
    crops, origin = crop(images, np.array([1, 0, 1]), centroids, 4)
    assert (crops.dtype, crops.shape, origin.dtype) == (np.uint8, (3, 3, 4, 4), np.float32)
    assert crops[:, :, 0, 0].tolist() == [[20] * 3, [10] * 3, [20] * 3]


def test_no_centroid_no_crop() -> None:
    crops, origin = crop(noise(1, 1, 8, 8), np.zeros(0, np.int64), np.zeros((0, 2), np.float32), 4)
    assert (crops.shape, origin.shape) == ((0, 1, 4, 4), (0, 2))
