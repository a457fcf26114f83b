"""Traceable modules of the preprocessing, for graphs that contain it. Images hold integers from 0 to 255."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops import bilinear_torch
from sleap_infer.ops.resize_traced import resize_and_pad
from sleap_infer.poses.preprocess import GRAY_WEIGHTS

MAX_DENOMINATOR = 10**6

WHOLE_GRAY = 255.5 / 255
"""Factor with which TensorFlow converts gray values in [0, 1] to integers."""


class FitFrames(nn.Module):
    """Channels and size, as `preprocess.fit_channels` and `fit_size`.

    Args:
        settings: of the images.
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return fitted images of (B, C, H, W), and the scalar factor of resizing."""
        if self.settings.conventions.resizing == "antialiased":
            return self._fit_size(self._fit_channels(images, 1.0))
        fitted, factor = self._fit_size(images)
        return self._fit_channels(fitted, WHOLE_GRAY), factor

    def _fit_channels(self, images: Tensor, unit: float) -> Tensor:
        if self.settings.ensure_rgb:
            return fit_open_channels(images, 3)
        return (fit_open_channels(images, 1) * unit).floor() if self.settings.ensure_grayscale else images

    def _fit_size(self, images: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.settings
        if settings.max_height is None and settings.max_width is None:
            return images, images.new_ones(())
        height, width = images.shape[2:]
        size = settings.max_height or height, settings.max_width or width
        if settings.conventions.resizing == "bilinear":
            return fit_bilinear(images, size)
        old = _scalar(height, images), _scalar(width, images)
        factor = torch.minimum(_scalar(size[0], images) / old[0], _scalar(size[1], images) / old[1])
        new = tuple((side * factor).round().clamp(min=1.0).to(torch.int64) for side in old)
        return resize_and_pad(images, (new[0], new[1]), size), factor.to(torch.float32)


def fit_bilinear(images: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Fit into a size by the rules of `ops.bilinear.fitted_size`, step by step.

    Args:
        images: (B, C, H, W).
        size: (height, width).

    Returns:
        (B, C, *size), integers, and the scalar factor of points.
    """
    height, width = (torch.scalar_tensor(side, device=images.device) for side in images.shape[2:])
    rows, columns = (torch.scalar_tensor(side, device=images.device) for side in size)
    by_height, by_width = rows / height, columns / width
    is_wide = by_height > by_width
    factor = torch.minimum(by_height, by_width)
    inner_rows = torch.where(is_wide, (height * factor).floor().clamp(min=1.0), rows)
    inner_columns = torch.where(is_wide, columns, (width * factor).floor().clamp(min=1.0))
    ratio = torch.maximum(height / inner_rows, width / inner_columns)
    exact = height / ratio, width / ratio
    new = exact[0].floor().clamp(min=1.0), exact[1].floor().clamp(min=1.0)
    top, left = (
        ((side - length) / 2).floor().clamp(min=0.0)
        for side, length in zip((inner_rows, inner_columns), exact, strict=True)
    )
    return bilinear_torch.resize_into(images, new, size, (top, left)).floor(), factor


class ScaleAndPad(nn.Module):
    """Scale, then pad to a multiple of the stride, as `preprocess.scale_and_pad`.

    Args:
        settings: of the images.
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        self.scale = settings.input_scaling
        self.half_pixel = settings.half_pixel
        self.stride = settings.pad_to_stride
        self.is_bilinear = settings.conventions.resizing == "bilinear"

    def forward(self, images: Tensor) -> Tensor:
        """Scale and pad (B, C, H, W) to (B, C, H', W')."""
        if self.scale == 1.0:
            return self.padded(images)
        if self.is_bilinear:
            return self.padded(self.scaled(images))
        sides = self._sides(images)
        new = [(_scalar(side, images) * self.scale).floor().clamp(min=1.0).to(torch.int64) for side in images.shape[2:]]
        return resize_and_pad(images, (new[0], new[1]), (self._padded(sides[0]), self._padded(sides[1])))

    def scaled(self, images: Tensor) -> Tensor:
        """Scale without antialiasing; floats from 0 to 255, not rounded."""
        height, width = self._sides(images)
        return bilinear_torch.resize(images, (height, width))

    def padded(self, images: Tensor) -> Tensor:
        """Pad to a multiple of the stride."""
        height, width = images.shape[2:]
        return F.pad(images, (0, self._padded(width) - width, 0, self._padded(height) - height))

    def restored(self, points: Tensor) -> Tensor:
        """Map points in output pixels to input pixels."""
        return points / self.scale + self.half_pixel if self.half_pixel else points / self.scale

    def _sides(self, images: Tensor) -> list[int]:
        ratio = Fraction(self.scale).limit_denominator(MAX_DENOMINATOR)
        return [side * ratio.numerator // ratio.denominator for side in images.shape[2:]]

    def _padded(self, side: int) -> int:
        return (side + self.stride - 1) // self.stride * self.stride


class Crops(nn.Module):
    """Cut crops as a network expects them, as `preprocess.frames_to_cut`, `place_crops` and `take_crops`.

    Args:
        settings: of the model that runs on the crops.
        side: of the crops, in pixels.
    """

    def __init__(self, settings: ImageSettings, side: int) -> None:
        super().__init__()
        self.side = side
        self.is_between = settings.conventions.cropping == "between_pixels"
        self.scale_and_pad = ScaleAndPad(settings)

    def forward(self, images: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """Cut crops.

        Args:
            images: (B, C, H, W) fitted frames.
            centroids: (B, I, 2) as (x, y) in fitted pixels; finite.

        Returns:
            Crops (B * I, C, H', W'), and the position of each one's first pixel (B, I, 2), in fitted pixels.
        """
        if not self.is_between:
            crops, origin = cut_crops(images, centroids, self.side)
            return self.scale_and_pad(crops.flatten(0, 1)), origin
        scale = self.scale_and_pad.scale
        frames = images if scale == 1.0 else self.scale_and_pad.scaled(images).floor()
        scaled = centroids * scale
        crops = bilinear_torch.cut_open_crops(frames, scaled - (self.side - 1) / 2, self.side)
        return self.scale_and_pad.padded(crops.flatten(0, 1)), (scaled - self.side / 2) / scale


def fit_open_channels(images: Tensor, n_channels: int) -> Tensor:
    """Convert channels as `model.networks.fit_channels`, with a dynamic number of channels (1 or 3).

    Args:
        images: (B, 1 or 3, H, W).
        n_channels: 1 or 3.

    >>> fit_open_channels(torch.ones(2, 1, 4, 4), 3).shape
    torch.Size([2, 3, 4, 4])
    """
    given = images.shape[1]
    if n_channels == 3:
        return images[:, torch.arange(3, device=images.device).clamp(max=given - 1)]
    is_colour = (images.new_ones(given).sum() - 1.0) / 2.0
    colour, gray = images.new_tensor(GRAY_WEIGHTS)[:given], images.new_tensor([1.0, 0.0, 0.0])[:given]
    weights = colour * is_colour + gray * (1.0 - is_colour)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def cut_crops(images: Tensor, centroids: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Cut square crops at integer positions, black outside of the frame, as `ops.host_images.cut`.

    Args:
        images: (B, C, H, W) fitted frames.
        centroids: (B, I, 2) as (x, y) in fitted pixels; finite.
        side: of the crops, in pixels.

    Returns:
        Crops (B, I, C, side, side), and the position of each crop's first pixel (B, I, 2).
    """
    height, width = images.shape[2:]
    origin = centroids - side / 2 + 0.5
    first = (origin + side // 2).trunc().to(torch.int64) - side // 2
    offsets = torch.arange(side, device=images.device)
    columns = (first[..., 0, None] + offsets)[..., None, :]
    rows = (first[..., 1, None] + offsets)[..., :, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    pixels = images.flatten(2).gather(2, flat).unflatten(2, index.shape[1:])
    return (pixels * inside[:, None]).transpose(1, 2), origin


def _scalar(side: int, images: Tensor) -> Tensor:
    return torch.scalar_tensor(side, dtype=torch.float64, device=images.device)
