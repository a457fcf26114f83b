"""Transformation of points from the image to the network's input and back."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@frozen
class Geometry:
    """Transformation of the images of one batch to the network's input, image by image.

    A frame is fitted by `size_factor`, then a crop begins at `origin`, then `input_scaling` follows; padding lies at
    the right and at the bottom and moves nothing. Pixel centres are integers on both sides. Half pixels enter only
    where the model's conventions say so.

    Attributes:
        image_size: (height, width) of the frames in pixels.
        size_factor: fitted pixels per image pixel.
        input_scaling: model pixels per fitted pixel.
        origin: (B, 2) as (x, y): where each crop's first pixel counts to be in the fitted frame; zero for frames.
        half_pixel: added to points in fitted pixels.
    """

    image_size: tuple[int, int]
    size_factor: float = 1.0
    input_scaling: float = 1.0
    origin: Floats = field(factory=lambda: np.zeros((1, 2), np.float32))
    half_pixel: float = 0.0

    def to_image(self, points_model: Floats) -> Floats:
        """Convert points (B, ..., 2) of the network's inputs to image pixels, in 32-bit arithmetic.

        >>> geometry = Geometry((100, 200), size_factor=0.5, input_scaling=0.25)
        >>> geometry.to_image(np.array([[10.0, 5.0]], np.float32))
        array([[80., 40.]], dtype=float32)
        """
        points = points_model / np.float32(self.input_scaling) + self._shift(points_model)
        image: Floats = points / np.float32(self.size_factor)
        return image

    def to_model(self, points: Floats) -> Floats:
        """Convert image pixels (B, ..., 2) to points of the network's inputs, in 32-bit arithmetic."""
        fitted = points * np.float32(self.size_factor)
        model: Floats = (fitted - self._shift(points)) * np.float32(self.input_scaling)
        return model

    def _shift(self, points: Floats) -> Floats:
        shift = self.origin + np.float32(self.half_pixel) if self.half_pixel else self.origin
        return shift.reshape(-1, *(1,) * (points.ndim - 2), 2)
