"""Resizing is PyTorch's, bit by bit, with PyTorch and without."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.ops.resize import resize, resize_with_numpy

side = st.integers(2, 70)
"""Of lines, one pixel wide, PyTorch refuses some: its kernel stops at an assertion of its own."""


def reference(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    return torch.nn.functional.interpolate(torch.from_numpy(images), size, **options).numpy()


@given(side, side, side, side, st.sampled_from([1, 3]), st.booleans(), st.integers(0, 2**32 - 1))
def test_bit_exact_without_torch(
    height: int, width: int, new_height: int, new_width: int, channels: int, channels_last: bool, seed: int
) -> None:
    shape = (2, height, width, channels) if channels_last else (2, channels, height, width)
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    images = images.transpose(0, 3, 1, 2) if channels_last else images
    size = (new_height, new_width)
    assert np.array_equal(resize_with_numpy(images, size), reference(images, size))


@pytest.mark.parametrize(
    ("old", "new"), [((480, 640), (384, 512)), ((300, 400), (1024, 1365)), ((1080, 1920), (7, 13))]
)
@pytest.mark.parametrize("extreme", [False, True])
def test_bit_exact_at_sizes_of_videos(old: tuple[int, int], new: tuple[int, int], extreme: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 1, *old), dtype=np.uint8)
    images = np.where(images > 127, 255, 0).astype(np.uint8) if extreme else images
    assert np.array_equal(resize_with_numpy(images, new), reference(images, new))


@given(side, side, side, side)
def test_floats_agree(height: int, width: int, new_height: int, new_width: int) -> None:
    images = np.random.default_rng(height).random((1, 2, height, width), np.float32)
    found = resize_with_numpy(images, (new_height, new_width))
    assert found.dtype == np.float32
    assert np.allclose(found, reference(images, (new_height, new_width)), rtol=0, atol=1e-5)


def test_halving_and_doubling_by_hand() -> None:
    """Halving weighs four pixels 1, 3, 3, 1 (in the corner 3, 3, 1); doubling mixes 3 to 1."""
    line = np.array([0, 0, 80, 160, 160, 160], np.uint8)[None, None, None]
    assert resize_with_numpy(line, (1, 3)).ravel().tolist() == [round(80 / 7), 110, 160]
    assert resize_with_numpy(line[..., 1:4], (1, 6)).ravel().tolist() == [0, 20, 60, 100, 140, 160]


@pytest.mark.parametrize(("old", "new"), [((2, 1), (1, 1)), ((1, 9), (1, 3)), ((5, 5), (1, 1)), ((1, 1), (4, 4))])
def test_lines_are_resized_too(old: tuple[int, int], new: tuple[int, int]) -> None:
    found = resize(np.full((1, 3, *old), 77, np.uint8), new)
    assert found.shape == (1, 3, *new)
    assert (found == 77).all()


def test_the_same_size_is_the_same_array() -> None:
    images = np.zeros((1, 1, 4, 5), np.uint8)
    assert resize(images, (4, 5)) is images


@pytest.mark.parametrize("view", ["mirrored", "read-only", "broadcast"])
def test_views_are_resized_as_their_copies(view: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 9, 8), dtype=np.uint8)
    if view == "mirrored":
        images = images[:, ::-1, :, ::-1]
    elif view == "read-only":
        images.flags.writeable = False
    else:
        images = np.broadcast_to(images[:, :1], (4, 3, 9, 8))
    assert np.array_equal(resize(images, (5, 5)), reference(images.copy(), (5, 5)))


def test_torch_is_not_imported_for_it() -> None:
    code = (
        "import sys, numpy; from sleap_infer.ops.resize import resize;"
        "print(resize(numpy.full((1, 1, 4, 4), 7, 'uint8'), (3, 2)).tolist(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[[[7, 7], [7, 7], [7, 7]]]] False"
