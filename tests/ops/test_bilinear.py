"""Resizing and cropping of SLEAP models: the very pixels of TensorFlow, on the host, on a device and in a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sleap_infer.graphs.preprocess import FitFrames, ScaleAndPad
from sleap_infer.model.conventions import SLEAP
from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops import bilinear, bilinear_torch
from sleap_infer.poses.preprocess import fit_channels, fit_frames, fit_size, frames_to_cut, scale_and_pad, take_crops

STORED = np.load(Path(__file__).parents[1] / "golden" / "tensorflow.npz")
SCALES = (0.25, 0.5, 0.7, 0.9, 1.5)
SIZES = ((64, 64), (30, 90), (20, 33), (19, 29), (41, 59), (37, 53))


def stored(name: str) -> NDArray[Any]:
    """Stored images, (B, C, H, W)."""
    images = STORED[name]
    return np.moveaxis(images if images.ndim == 4 else images[None], -1, 1)


@pytest.mark.parametrize("scale", SCALES)
def test_scaled_frames(scale: float) -> None:
    settings = ImageSettings(input_scaling=scale, conventions=SLEAP)
    image = stored("image")
    floats = scale_and_pad(image, settings)
    np.testing.assert_allclose(floats, stored(f"floats {scale}"), atol=2e-7, rtol=0)
    on_device = scale_and_pad(torch.from_numpy(image.copy()), settings)
    np.testing.assert_allclose(on_device, stored(f"floats {scale}"), atol=2e-7, rtol=0)
    traced = ScaleAndPad(settings)(torch.from_numpy(image.astype(np.float32))) / 255
    np.testing.assert_allclose(traced, stored(f"floats {scale}"), atol=2e-7, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_scaled_frames_that_crops_are_cut_from_are_rounded_down(scale: float) -> None:
    settings = ImageSettings(input_scaling=scale, conventions=SLEAP)
    image = stored("image")
    for images in (image, torch.from_numpy(image.copy())):
        found, factor = frames_to_cut(images, ImageSettings(conventions=SLEAP), settings)
        assert factor == 1.0
        np.testing.assert_array_equal(found, stored(f"whole {scale}"))


@pytest.mark.parametrize("side", [8, 9])
def test_crops_between_pixels(side: int) -> None:
    image, centroids = stored("image"), STORED["centroids"]
    which = np.arange(len(centroids)) % 2
    first = centroids - np.float32((side - 1) / 2)
    expected = stored(f"crops {side}")
    settings = ImageSettings(conventions=SLEAP)
    np.testing.assert_array_equal(take_crops(image, which, first, side, settings), expected)
    tensor = torch.from_numpy(image.copy())
    on_device = bilinear_torch.cut_crops(tensor, torch.from_numpy(which), torch.from_numpy(first), side)
    np.testing.assert_array_equal(on_device, expected)
    by_frame = torch.from_numpy(np.stack([first[which == frame] for frame in (0, 1)]))
    traced = bilinear_torch.cut_open_crops(tensor.float(), by_frame, side)
    np.testing.assert_array_equal(traced, np.stack([expected[which == frame] for frame in (0, 1)]))


@pytest.mark.parametrize("size", SIZES)
def test_frames_that_are_fitted_into_a_size(size: tuple[int, int]) -> None:
    settings = ImageSettings(max_height=size[0], max_width=size[1], conventions=SLEAP)
    expected, factor = stored(f"fitted {size[0]} {size[1]}"), float(STORED[f"factor {size[0]} {size[1]}"])
    image = stored("image")[:1]
    for images in (image, torch.from_numpy(image.copy())):
        found, scaled_by = fit_size(images, settings)
        np.testing.assert_array_equal(found, expected)
        assert scaled_by == factor
    traced, tensor = FitFrames(settings)(torch.from_numpy(image.astype(np.float32)))
    np.testing.assert_array_equal(traced, expected)
    assert float(tensor) == pytest.approx(factor)


def test_gray_of_colour() -> None:
    settings = ImageSettings(ensure_grayscale=True, conventions=SLEAP)
    colour = stored("colour")
    for images in (colour, torch.from_numpy(colour.copy())):
        np.testing.assert_array_equal(fit_channels(images, settings), stored("gray"))
    traced, _ = FitFrames(settings)(torch.from_numpy(colour.astype(np.float32)))
    np.testing.assert_array_equal(traced, stored("gray"))


def test_gray_that_is_stored_as_colour_stays_as_it_is() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    settings = ImageSettings(ensure_grayscale=True, conventions=SLEAP)
    np.testing.assert_array_equal(fit_frames(ramp.repeat(3, axis=1), settings)[0], ramp)


def test_a_crop_outside_of_the_frame_is_black() -> None:
    image = np.full((1, 1, 4, 4), 9, np.uint8)
    first = np.array([[20.5, 0.0], [-7.25, 1.0], [-0.25, -0.25]], np.float32)
    crops = bilinear.cut(image, np.zeros(3, np.int64), first, 3)
    assert crops[:2].sum() == 0
    assert crops[2, 0].tolist() == [[0, 0, 0], [0, 9, 9], [0, 9, 9]]


@pytest.mark.parametrize("side", [3, 5, 7])
def test_the_rule_of_edges_is_that_of_crops(side: int) -> None:
    """Lines between the first and the last are always inside; these two as `crop_axis` has them."""
    lengths = np.arange(1, 80)
    rule = bilinear.edge_lines(side, lengths)
    assert rule.all() == (side == 3)
    for length, edges in zip(lengths.tolist(), rule, strict=True):
        for first in range(1 - side, length):
            lines = first + np.arange(side)
            expected = (lines >= 0) & (lines < length)
            expected &= ((lines != 0) | edges[0]) & ((lines != length - 1) | edges[1])
            np.testing.assert_array_equal(bilinear.crop_axis(first, side, length).inside, expected)
