"""Class probabilities of peaks from class maps. Torch, traceable."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_classes(class_maps: Tensor, peaks: Tensor, stride: int) -> Tensor:
    """Return class probabilities at the nearest bin of each peak (halves to even, clipped to the map).

    Args:
        class_maps: (B, C, H, W) probabilities.
        peaks: (B, N, K, 2) as (x, y) in pixels of the network's input; NaN where there is none.
        stride: pixels of the network's input per bin of the class maps.

    Returns:
        (B, N, K, C); NaN where there is no peak.
    """
    height, width = class_maps.shape[-2:]
    missing = peaks.isnan().any(dim=-1)
    bins = torch.round(torch.nan_to_num(peaks) / stride).long()
    x, y = bins[..., 0].clamp(0, width - 1), bins[..., 1].clamp(0, height - 1)
    index = (y * width + x).flatten(1)[:, None].expand(-1, class_maps.shape[1], -1)
    sampled = class_maps.flatten(2).gather(2, index).unflatten(2, peaks.shape[1:3])
    return sampled.movedim(1, -1).masked_fill(missing[..., None], torch.nan)
