"""The Swin Transformer encoder (Liu et al. 2021) with a stem of free patch size and stride.

Features run channels-last, (B, H, W, C), inside the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.model.networks.convnext import Permute
from sleap_infer.model.spec import SwinSpec

NORM_EPS = 1e-5
BLOCKED = -100.0
"""Added to the attention between pixels that a cyclic shift brought together."""


def relative_position_index(window: int) -> Tensor:
    """Return the row of the bias table for each pair of pixels in a window, (window**4,)."""
    axis = torch.arange(window, device="cpu")  # also where a network is built without memory
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    dy, dx = y[:, None] - y[None, :] + window - 1, x[:, None] - x[None, :] + window - 1
    return (dy * (2 * window - 1) + dx).flatten()


def region_labels(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Return which part of a cyclically shifted axis each pixel came from, (size,)."""
    at = torch.arange(size, device=device)
    return (at >= size - window).int() + (at >= size - shift).int() if shift else torch.zeros_like(at).int()


class WindowAttention(nn.Module):
    """Self-attention inside windows that may be shifted by half a window."""

    def __init__(self, channels: int, window: int, shift: int, num_heads: int) -> None:
        super().__init__()
        self.window, self.shift, self.num_heads = window, shift, num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); sizes that are no multiple of the window are padded inside."""
        _, height, width, _ = x.shape
        window = self.window
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        batch, rows, columns, channels = x.shape
        shifts = [0 if window >= size else self.shift for size in (rows, columns)]
        if any(shifts):
            x = torch.roll(x, (-shifts[0], -shifts[1]), dims=(1, 2))
        grid = (batch, rows // window, window, columns // window, window)
        windows = x.view(*grid, channels).transpose(2, 3).reshape(-1, window * window, channels)
        y = self.proj(self._attend(windows, self._blocked((rows, columns), shifts, x.device)))
        x = y.view(batch, rows // window, columns // window, window, window, channels).transpose(2, 3)
        x = x.reshape(batch, rows, columns, channels)
        if any(shifts):
            x = torch.roll(x, (shifts[0], shifts[1]), dims=(1, 2))
        return x[:, :height, :width, :]

    def _attend(self, windows: Tensor, blocked: Tensor | None) -> Tensor:
        count, area, channels = windows.shape
        q, k, v = self.qkv(windows).view(count, area, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q * (channels // self.num_heads) ** -0.5) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index]  # type: ignore[index]
        weights = weights + bias.view(area, area, self.num_heads).permute(2, 0, 1)
        if blocked is not None:
            by_window = weights.view(-1, blocked.shape[0], self.num_heads, area, area)
            weights = (by_window + blocked[None, :, None]).view(-1, self.num_heads, area, area)
        return (weights.softmax(dim=-1) @ v).transpose(1, 2).reshape(count, area, channels)

    def _blocked(self, size: tuple[int, int], shifts: list[int], device: torch.device) -> Tensor | None:
        """Return the attention mask of each window, (n_windows, area, area), or `None` without a shift."""
        if not any(shifts):
            return None
        window = self.window
        rows, columns = (
            region_labels(length, window, shift, device) for length, shift in zip(size, shifts, strict=True)
        )
        labels = 3 * rows[:, None] + columns[None, :]
        labels = labels.view(size[0] // window, window, size[1] // window, window).transpose(1, 2)
        labels = labels.reshape(-1, window * window)
        return torch.where(labels[:, :, None] == labels[:, None, :], 0.0, BLOCKED)


class SwinBlock(nn.Module):
    """Window attention and a two-layer perceptron, each on normed input and added to it."""

    def __init__(self, channels: int, window: int, shift: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = WindowAttention(channels, window, shift, num_heads)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Joins 2x2 pixels into one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinEncoder(nn.Module):
    """A stem of patches, then four stages of blocks with a merge before each but the first."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.channels = tuple(spec.embed * 2**stage for stage in range(4))
        stem = nn.Conv2d(spec.in_channels, spec.embed, spec.patch_size, spec.stem_patch_stride, padding=1)
        norm = nn.LayerNorm(spec.embed, eps=NORM_EPS)
        self.features = nn.ModuleList([nn.Sequential(stem, Permute(0, 2, 3, 1), norm)])
        for number, (depth, heads) in enumerate(zip(spec.depths, spec.num_heads, strict=True)):
            channels = self.channels[number]
            if number:
                self.features.append(PatchMerging(channels // 2))
            shifts = [0 if j % 2 == 0 else spec.window_size // 2 for j in range(depth)]
            self.features.append(
                nn.Sequential(*(SwinBlock(channels, spec.window_size, shift, heads) for shift in shifts))
            )
        self.norm = nn.LayerNorm(self.channels[-1], eps=NORM_EPS)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, C, H, W) -> (B, C, h, w) features before each stage, finest first, and the last output."""
        before = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number % 2 == 0:
                before.append(x.permute(0, 3, 1, 2))
        return before, self.norm(x).permute(0, 3, 1, 2)
