"""Decoded video pictures (NV12) as RGB, in the integer arithmetic of FFmpeg's swscale, as for training. Torch.

Chroma is not interpolated, and fractions are cut off where swscale does so: every pixel is that of a frame that the
host converts, as long as both sides are even.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    2: (0.299, 0.114),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Shares of red and blue in the luma, by the number of the matrix in ITU-T H.273; 2 is unspecified, read as BT.601."""

BITS = 13
"""Binary digits of the coefficients. Levels carry 3 more, and products are cut off by 16."""


@frozen
class YuvMatrix:
    """From luma and chroma to RGB, in integers.

    Attributes:
        black: the luma of black.
        luma: factor of luma above black.
        red_v: factor of V in red.
        green_u: factor of U in green.
        green_v: factor of V in green.
        blue_u: factor of U in blue.
    """

    black: int
    luma: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int


def yuv_matrix(colour_space: int, full_range: bool) -> YuvMatrix:
    """Return the conversion for a video.

    Args:
        colour_space: number of its matrix in ITU-T H.273, one of `LUMA_WEIGHTS`.
        full_range: whether luma goes from 0 to 255, not from 16 to 235.

    >>> yuv_matrix(6, full_range=False)
    YuvMatrix(black=16, luma=9539, red_v=13075, green_u=-3209, green_v=-6660, blue_u=16525)
    """
    red, blue = LUMA_WEIGHTS[colour_space]
    green = 1.0 - red - blue
    sizes = (2 * (1 - red), 2 * (1 - blue) * blue / green, 2 * (1 - red) * red / green, 2 * (1 - blue))
    red_v, green_u, green_v, blue_u = (round(size * 255 / 224 * (1 << 16)) for size in sizes)
    black, luma = (0, 1 << 16) if full_range else (16, (1 << 16) * 255 // 219)
    if full_range:
        red_v, green_u, green_v, blue_u = (size * 224 // 255 for size in (red_v, green_u, green_v, blue_u))
    return YuvMatrix(black, *(_rounded(size) for size in (luma, red_v, -green_u, -green_v, blue_u)))


def nv12_to_rgb(surface: Tensor, matrix: YuvMatrix, red_only: bool = False) -> Tensor:
    """Convert a picture as decoders give it: luma in full size, below it U and V in turn, one of each for 2 x 2 pixels.

    Args:
        surface: (3 / 2 * H, W) uint8; H and W are even.
        matrix: the conversion.
        red_only: leave out green and blue, which for gray pictures are the same.

    Returns:
        (H, W, 3) or (H, W, 1) uint8, in memory of its own.

    >>> surface = Tensor([[16, 235], [16, 235], [128, 128]]).to(torch.uint8)
    >>> nv12_to_rgb(surface, yuv_matrix(6, full_range=False), red_only=True)[..., 0].tolist()
    [[0, 255], [0, 255]]
    """
    rows, columns = surface.shape[0] // 3, surface.shape[1] // 2
    luma = (surface[: 2 * rows].to(torch.int32) * 8 - 8 * matrix.black) * matrix.luma >> 16
    u, v = (surface[2 * rows :].view(rows, columns, 2).to(torch.int32) * 8 - 8 * 128).unbind(dim=2)
    colours = [v * matrix.red_v >> 16]
    if not red_only:
        colours += [(u * matrix.green_u >> 16) + (v * matrix.green_v >> 16), u * matrix.blue_u >> 16]
    added = torch.stack(colours, dim=2)[:, None, :, None]
    image = luma.view(rows, 2, columns, 2, 1) + added
    return image.clamp(0, 255).to(torch.uint8).view(2 * rows, 2 * columns, len(colours))


def _rounded(size: int) -> int:
    """From 16 binary digits to `BITS`; halves go up."""
    shift = 16 - BITS
    return (size + (1 << (shift - 1))) >> shift
