"""The ConvNeXt encoder (Liu et al. 2022, "A ConvNet for the 2020s") with a stem of free kernel and stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.model.spec import ConvNextSpec

NORM_EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W) maps."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    """Reorders axes; has no weights but takes a number in the checkpoint's key names."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """Permute the axes of `x`."""
        return x.permute(self.order)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7 convolution, norm, and a two-layer perceptron, scaled and added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=NORM_EPS),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.layer_scale * self.block(x)


class ConvNextEncoder(nn.Module):
    """A stem, then four stages of blocks with a 2x2 downsampling before each but the first."""

    def __init__(self, spec: ConvNextSpec) -> None:
        super().__init__()
        self.channels = spec.channels
        first = spec.channels[0]
        stem = nn.Conv2d(spec.in_channels, first, spec.stem_patch_kernel, spec.stem_patch_stride, padding=1)
        self.features = nn.ModuleList([nn.Sequential(stem, ChannelNorm(first, eps=NORM_EPS))])
        for number, (depth, channels) in enumerate(zip(spec.depths, spec.channels, strict=True)):
            if number:
                down = nn.Conv2d(spec.channels[number - 1], channels, 2, stride=2)
                self.features.append(nn.Sequential(ChannelNorm(spec.channels[number - 1], eps=NORM_EPS), down))
            self.features.append(nn.Sequential(*(ConvNextBlock(channels) for _ in range(depth))))

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, C, H, W) -> features before each stage, finest first, and the last stage's output."""
        before = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number % 2 == 0:
                before.append(x)
        return before, x
