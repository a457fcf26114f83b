"""Square crops of frames that are on a device. Torch; the twin of `preprocess.cut` and `preprocess.scale_and_pad`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops import bilinear_torch
from sleap_infer.ops.constants import constant
from sleap_infer.ops.resize_traced import resize_and_pad


def take_crops(frames: Tensor, which: Tensor, first: Tensor, side: int, settings: ImageSettings) -> Tensor:
    """Cut square crops and bring them into the form that a network expects, as `preprocess.take_crops`."""
    if settings.conventions.cropping == "whole_pixels":
        return scale_and_pad(cut_crops(frames, which, first, side), settings.input_scaling, settings.pad_to_stride)
    return scale_and_pad(bilinear_torch.cut_crops(frames, which, first, side), 1.0, settings.pad_to_stride)


def cut_crops(frames: Tensor, which: Tensor, first: Tensor, side: int) -> Tensor:
    """Crops at whole pixels, black outside of the frame.

    Args:
        frames: (B, C, H, W).
        which: (I,) the frame of each crop.
        first: (I, 2) its first pixel as (x, y).
        side: of the crops, in pixels.

    Returns:
        (I, C, side, side), of the same type.
    """
    height, width = frames.shape[2:]
    reach = torch.arange(side, device=frames.device)
    columns, rows = first[:, 0, None] + reach, first[:, 1, None] + reach
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    pixels = frames.permute(0, 2, 3, 1)[which[:, None, None], rows, columns]
    return (pixels * inside[..., None]).permute(0, 3, 1, 2)


def scale_and_pad(images: Tensor, scale: float, stride: int) -> Tensor:
    """Resize by a factor (sizes round down), then pad to a multiple of the stride at right and bottom.

    Args:
        images: (B, C, H, W), uint8, or float32 in [0, 1], which stay as they are where the factor is 1.
        scale: the factor.
        stride: what height and width become multiples of.

    Returns:
        (B, C, H', W'); resized ones of the same type.
    """
    sides = [max(int(side * scale), 1) if scale != 1.0 else side for side in images.shape[2:]]
    height, width = (-(-side // stride) * stride for side in sides)
    if scale == 1.0:
        return F.pad(images, (0, width - sides[1], 0, height - sides[0]))
    new = constant(tuple(sides), images.device, torch.int64)
    unit = 1.0 if images.dtype == torch.uint8 else 255.0
    resized = resize_and_pad(images.float() * unit, (new[0], new[1]), (height, width))
    return resized.to(images.dtype) if unit == 1.0 else resized / unit
