"""Pixel operations on arrays and on tensors: the same functions, bit-identical results."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from sleap_infer.model.conventions import SLEAP, Conventions
from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops import device_images, host_images
from sleap_infer.poses.preprocess import GRAY_WEIGHTS, frames_to_cut, place_crops, preprocess, take_crops

GRAY, COLOUR = (
    np.random.default_rng(channels).integers(0, 256, (2, channels, 37, 52), dtype=np.uint8) for channels in (1, 3)
)
WHICH = np.array([1, 0, 1])
WHOLE = np.array([[-5, 3], [40, 30], [60, 2]])  # over the edges, and outside
BETWEEN = np.float32([[-5.5, 3.25], [39.7, 30], [60, 2]])

CALLS = {
    "to_rgb": (GRAY,),
    "to_gray": (COLOUR, GRAY_WEIGHTS),
    "to_gray_of_tensorflow": (COLOUR, GRAY_WEIGHTS),
    "resize": (COLOUR, (20, 61)),
    "resize_bilinear": (GRAY, (20, 61)),
    "fit_bilinear": (COLOUR, (48, 64)),
    "pad": (COLOUR, (40, 64)),
    "cut": (COLOUR, WHICH, WHOLE, 16),
    "cut_between": (GRAY, WHICH, BETWEEN, 16),
}


def as_tensors(values: tuple[object, ...]) -> list[object]:
    return [torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value for value in values]


@pytest.mark.parametrize("name", CALLS)
def test_an_operation_gives_the_same_pixels_on_tensors(name: str) -> None:
    expected, found = (getattr(host_images, name)(*CALLS[name]), getattr(device_images, name)(*as_tensors(CALLS[name])))
    if name == "fit_bilinear":
        (expected, factor), (found, other) = expected, found
        assert factor == other
    assert found.numpy().dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


def test_every_operation_on_tensors_has_its_twin_and_is_compared() -> None:
    public = {
        name
        for name, value in vars(device_images).items()
        if inspect.isfunction(value) and value.__module__.startswith("sleap_infer.ops") and not name.startswith("_")
    }
    assert public - {"constant", "resize_and_pad"} == set(CALLS)


@pytest.mark.parametrize("images", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("conventions", [Conventions(), SLEAP], ids=["sleap-nn", "SLEAP"])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.7, 1.3])
@pytest.mark.parametrize("options", [{}, {"ensure_rgb": True}, {"ensure_grayscale": True, "max_height": 30}], ids=str)
def test_frames_and_crops_are_prepared_alike(
    images: np.ndarray, conventions: Conventions, scale: float, options: dict[str, object]
) -> None:
    settings = ImageSettings(**options, input_scaling=scale, pad_to_stride=16, conventions=conventions)
    tensors = torch.from_numpy(images.copy())
    (expected, geometry), (found, same) = preprocess(images, settings), preprocess(tensors, settings)
    np.testing.assert_array_equal(found.numpy(), expected)
    assert (geometry.size_factor, geometry.input_scaling) == (same.size_factor, same.input_scaling)
    centroids = np.float32([[3.3, 30.2], [40.5, 20], [51, 36]])
    _, first = place_crops(centroids, 20, settings)
    (expected, factor), (found, other) = (frames_to_cut(given, settings, settings) for given in (images, tensors))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert factor == other
    crops = take_crops(expected, WHICH, first, 20, settings)
    on_device = take_crops(found, torch.from_numpy(WHICH), torch.from_numpy(first), 20, settings)
    np.testing.assert_array_equal(on_device.numpy(), crops)
