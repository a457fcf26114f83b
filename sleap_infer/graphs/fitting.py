"""`preprocess` as modules that can be traced, for graphs that contain it. Images hold whole numbers from 0 to 255."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.ops.resize_traced import resize_and_pad
from sleap_infer.preprocess import GRAY_WEIGHTS
from sleap_infer.settings import ImageSettings

MAX_DENOMINATOR = 10**6


class FitFrames(nn.Module):
    """Channels and size, as `preprocess.fit_channels` and `fit_size`.

    Args:
        settings: what to do.
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> fitted images, and the factor they were resized by, a scalar."""
        settings = self.settings
        if settings.ensure_rgb:
            images = fit_open_channels(images, 3)
        elif settings.ensure_grayscale:
            images = fit_open_channels(images, 1).floor()
        if settings.max_height is None and settings.max_width is None:
            return images, images.new_ones(())
        height, width = images.shape[2:]
        old = _scalar(height, images), _scalar(width, images)
        size = settings.max_height or height, settings.max_width or width
        factor = torch.minimum(_scalar(size[0], images) / old[0], _scalar(size[1], images) / old[1])
        new = tuple((side * factor).round().clamp(min=1.0).to(torch.int64) for side in old)
        return resize_and_pad(images, (new[0], new[1]), size), factor.to(torch.float32)


class ScaleAndPad(nn.Module):
    """Scale, then pad to a multiple of the stride, as `preprocess.scale_and_pad`.

    Args:
        settings: what to do.
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        self.scale = settings.input_scaling
        self.stride = settings.pad_to_stride

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        height, width = images.shape[2:]
        if self.scale == 1.0:
            rows, columns = self._padded(height), self._padded(width)
            return F.pad(images, (0, columns - width, 0, rows - height))
        ratio = Fraction(self.scale).limit_denominator(MAX_DENOMINATOR)
        sides = [side * ratio.numerator // ratio.denominator for side in (height, width)]
        new = [(_scalar(side, images) * self.scale).floor().clamp(min=1.0).to(torch.int64) for side in (height, width)]
        return resize_and_pad(images, (new[0], new[1]), (self._padded(sides[0]), self._padded(sides[1])))

    def _padded(self, side: int) -> int:
        return (side + self.stride - 1) // self.stride * self.stride


def fit_open_channels(images: Tensor, n_channels: int) -> Tensor:
    """As `model.networks.fit_channels`, for images whose channels (1 or 3) are not known while tracing.

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
    """Square crops at whole pixels, black outside of the frame, as `preprocess.crop`.

    Args:
        images: (B, C, H, W) fitted frames.
        centroids: (B, I, 2) as (x, y) in fitted pixels; finite.
        side: of the crops, in pixels.

    Returns:
        Crops (B, I, C, side, side), and where each crop's first pixel counts to be (B, I, 2).
    """
    height, width = images.shape[2:]
    origin = centroids - side / 2 + 0.5
    first = (origin + side // 2).trunc().to(torch.int64) - side // 2
    reach = torch.arange(side, device=images.device)
    columns = (first[..., 0, None] + reach)[..., None, :]
    rows = (first[..., 1, None] + reach)[..., :, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    pixels = images.flatten(2).gather(2, flat).unflatten(2, index.shape[1:])
    return (pixels * inside[:, None]).transpose(1, 2), origin


def _scalar(side: int, images: Tensor) -> Tensor:
    return torch.scalar_tensor(side, dtype=torch.float64, device=images.device)
