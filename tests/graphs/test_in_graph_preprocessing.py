"""Preprocessing as it goes into graphs gives the very pixels of the numpy one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sleap_infer.graphs.preprocess import FitFrames, ScaleAndPad, cut_crops
from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops.host_images import cut
from sleap_infer.ops.resize import resize_with_numpy
from sleap_infer.ops.resize_traced import filter_matrix, resize_and_pad
from sleap_infer.poses.preprocess import fit_channels, fit_size, place_crops, scale_and_pad

SIDES = st.integers(2, 90)
LONG = st.integers(400, 1200)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(old=st.tuples(SIDES, SIDES | LONG), new=st.tuples(SIDES, SIDES), channels=st.sampled_from([1, 3]))
@example(old=(90, 90), new=(25, 19), channels=3)
def test_resizing_is_equal_bit_by_bit(old: tuple[int, int], new: tuple[int, int], channels: int) -> None:
    images = noise(2, channels, *old, seed=sum(old))
    size = (new[0] + 3, new[1] + 2)
    found = resize_and_pad(torch.from_numpy(images).float(), (torch.tensor(new[0]), torch.tensor(new[1])), size).numpy()
    np.testing.assert_array_equal(found[:, :, : new[0], : new[1]], resize_with_numpy(images, new))
    assert not found[:, :, new[0] :].any()
    assert not found[..., new[1] :].any()


def test_weights_of_a_reduction_by_two() -> None:
    """A triangle of reach 2 around 1.5: taps 0 to 3 at distances 1.5, 0.5, 0.5, 1.5 weigh 1/4, 3/4, 3/4, 1/4."""
    weights, sums = filter_matrix(6, torch.tensor(3), 4)
    np.testing.assert_array_equal(weights[1] * 8, torch.tensor([0, 1, 3, 3, 1, 0]) * sums[1])
    np.testing.assert_array_equal(weights.sum(dim=1), sums[:, 0] * torch.tensor([1, 1, 1, 0]))


@pytest.mark.parametrize(
    "settings",
    [
        ImageSettings(),
        ImageSettings(max_height=64, max_width=80),
        ImageSettings(max_height=40),
        ImageSettings(max_width=120, ensure_grayscale=True),
        ImageSettings(ensure_grayscale=True),
        ImageSettings(ensure_rgb=True, max_height=30, max_width=30),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", [(1, 1, 50, 70), (2, 3, 64, 80), (1, 3, 97, 33)])
def test_frames_are_fitted_alike(settings: ImageSettings, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    expected, factor = fit_size(fit_channels(images, settings), settings)
    found, found_factor = FitFrames(settings)(torch.from_numpy(images).float())
    np.testing.assert_array_equal(found.numpy(), expected)
    assert float(found_factor) == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3333, 0.7071, 1.25])
@pytest.mark.parametrize("stride", [1, 16])
@pytest.mark.parametrize("size", [(48, 64), (51, 77), (17, 100)])
def test_frames_are_scaled_and_padded_alike(scale: float, stride: int, size: tuple[int, int]) -> None:
    settings = ImageSettings(input_scaling=scale, pad_to_stride=stride)
    images = noise(2, 1, *size)
    found = ScaleAndPad(settings)(torch.from_numpy(images).float()).numpy()
    np.testing.assert_array_equal(found, scale_and_pad(images, settings))


@given(
    centroids=st.lists(st.tuples(st.floats(-30, 90, width=32), st.floats(-30, 70, width=32)), min_size=3, max_size=3),
    side=st.sampled_from([8, 13, 32]),
)
def test_crops_are_cut_alike(centroids: list[tuple[float, float]], side: int) -> None:
    frames = noise(2, 3, 40, 60)
    points = np.array(centroids * 2, np.float32)
    origin, first = place_crops(points, side)
    expected = cut(frames, np.repeat([0, 1], 3), first, side)
    found, found_origin = cut_crops(torch.from_numpy(frames).float(), torch.from_numpy(points).reshape(2, 3, 2), side)
    np.testing.assert_array_equal(found.flatten(0, 1).numpy(), expected)
    np.testing.assert_array_equal(found_origin.flatten(0, 1).numpy(), origin)
