"""Gray pictures by a table of luma: the pixels of the conversion to RGB, or none at all."""

from __future__ import annotations

import av
import numpy as np
import pytest

from sleap_infer.frames.pixels.luma import gray_from_luma
from sleap_infer.frames.readers.av import to_image

UNSPECIFIED, BT709, BT601 = 2, 1, 6
LIMITED, FULL = 1, 2


def picture(width, height, form="yuv420p", colorspace=UNSPECIFIED, color_range=LIMITED, seed=0):
    """A picture of random luma without colour."""
    frame = av.VideoFrame(width, height, form)
    frame.colorspace, frame.color_range = colorspace, color_range
    planes = [pixels(plane) for plane in frame.planes]
    planes[0][:] = np.random.default_rng(seed).integers(0, 256, planes[0].shape)
    for plane in planes[1:]:
        plane[:] = 128
    return frame


def pixels(plane):
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def by_rgb(frame):
    return to_image(frame, grayscale=False)[..., :1]


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("colorspace", [UNSPECIFIED, BT709, BT601])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("size", [(384, 384), (2, 2), (34, 18), (130, 66), (642, 482)])
def test_every_pixel_is_that_of_the_conversion(form, colorspace, color_range, size):
    frame = picture(*size, form, colorspace, color_range)
    found = to_image(frame, grayscale=True)
    assert found.flags.c_contiguous  # the table's own, not a channel of three
    np.testing.assert_array_equal(found, by_rgb(frame))


def test_the_range_of_luma_counts():
    limited, full = (to_image(picture(64, 64, color_range=each), True) for each in (LIMITED, FULL))
    assert not np.array_equal(limited, full)


@pytest.mark.parametrize("plane", [1, 2])
def test_one_coloured_pixel_is_enough_to_convert(plane):
    frame = picture(64, 64)
    pixels(frame.planes[plane])[-1, -1] = 90
    assert gray_from_luma(frame, lambda _: pytest.fail("no table is wanted")) is None
    np.testing.assert_array_equal(to_image(frame, grayscale=True), by_rgb(frame))


@pytest.mark.parametrize("size", [(63, 64), (64, 63)])
def test_odd_sides_are_converted(size):
    frame = picture(*size)
    assert gray_from_luma(frame, lambda _: pytest.fail("no table is wanted")) is None
    np.testing.assert_array_equal(to_image(frame, grayscale=True), by_rgb(frame))


def test_other_forms_are_converted():
    frame = picture(64, 64, "yuv444p")
    assert gray_from_luma(frame, lambda _: pytest.fail("no table is wanted")) is None
    np.testing.assert_array_equal(to_image(frame, grayscale=True), by_rgb(frame))
