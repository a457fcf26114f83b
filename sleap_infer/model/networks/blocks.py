"""Building blocks of all backbones: rows of convolutions, and the decoder of a U-Net.

Submodules carry the names of sleap-nn's checkpoints, so that weights load without renaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.choices import TransposeAlignment
from sleap_infer.errors import UnsupportedModelError


class Features(NamedTuple):
    """Outputs of a backbone, the inputs of the heads."""

    bottleneck: Tensor
    """(B, C, H / stride, W / stride): the deepest features."""
    maps: dict[int, Tensor]
    """Features to draw maps from, by stride."""


class ConvBlock(nn.Module):
    """Convolutions in a row, each with zero "same" padding and followed by ReLU.

    Args:
        names: one name per convolution.
        in_channels: channels of the input.
        out_channels: channels of every convolution's output.
        kernel_size: side of the kernels in pixels.
    """

    def __init__(self, names: Sequence[str], in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict()
        for name in names:
            self.blocks[name] = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")
            in_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        for convolution in self.blocks.values():
            x = F.relu(convolution(x))
        return x


def middle_blocks(names: tuple[str, str], channels: tuple[int, int], n_convs: int, kernel_size: int) -> nn.Sequential:
    """Build the bottleneck: `n_convs - 1` expanding convolutions, then a contracting one.

    Args:
        names: starts of the names of the expanding and of the contracting block.
        channels: channels of the input and of the output.
        n_convs: convolutions of the bottleneck in all.
        kernel_size: side of the kernels in pixels.
    """
    into, out = channels
    expand = [f"{names[0]}_middle_expand_conv{i}" for i in range(n_convs - 1)]
    contract = [f"{names[1]}_middle_contract_conv0"]
    return nn.Sequential(ConvBlock(expand, into, out, kernel_size), ConvBlock(contract, out, out, kernel_size))


class AlignedTranspose(nn.ConvTranspose2d):
    """A 3x3 transposed convolution that doubles the size, aligned like sleap-nn or like TensorFlow.

    sleap-nn drops the first row and column of the full output, TensorFlow ("same") the last.
    """

    def __init__(self, in_channels: int, out_channels: int, alignment: TransposeAlignment) -> None:
        edge = 1 if alignment == "sleap-nn" else 0
        super().__init__(in_channels, out_channels, 3, stride=2, padding=edge, output_padding=edge)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W)."""
        height, width = x.shape[-2:]
        return super().forward(x, output_size)[..., : 2 * height, : 2 * width]


@frozen
class DecoderStep:
    """Facts of one decoder block: what comes in, what is joined, what goes out."""

    prefix: str
    """Name up to the block's number, e.g. `"stack0_dec"`."""
    stride: int
    """Stride of the input; the output has half of it."""
    in_channels: int
    skip_channels: int
    """Channels of the encoder features that are joined; 0 where there are none."""
    out_channels: int


def decoder_steps(
    prefix: str, stride: int, in_channels: int, skips: Sequence[int], outs: Sequence[int]
) -> list[DecoderStep]:
    """Chain the steps of a decoder.

    Args:
        prefix: start of the names.
        stride: stride of the bottleneck.
        in_channels: channels of the bottleneck.
        skips: channels of the encoder features to join, deepest first; steps beyond them join nothing.
        outs: channels of each step's output.
    """
    steps: list[DecoderStep] = []
    for number, out in enumerate(outs):
        skip = skips[number] if number < len(skips) else 0
        steps.append(DecoderStep(prefix, stride >> number, in_channels, skip, out))
        in_channels = out
    return steps


class DecoderBlock(nn.Module):
    """Doubles the size, joins the encoder's features of that size, and refines.

    Args:
        number: position in the decoder.
        step: channels and strides.
        kernel_size: side of the refining kernels in pixels.
        transpose: `None` to interpolate, or how to align a transposed convolution.
    """

    def __init__(self, number: int, step: DecoderStep, kernel_size: int, transpose: TransposeAlignment | None) -> None:
        super().__init__()
        name = f"{step.prefix}{number}_s{step.stride}_to_s{step.stride // 2}"
        self.blocks = nn.ModuleDict()
        width = step.in_channels
        self.transpose = f"{name}_trans_conv" if transpose else ""
        if transpose:
            self.blocks[self.transpose] = AlignedTranspose(width, step.out_channels, transpose)
            width = step.out_channels
        width += step.skip_channels
        self.refine = [f"{name}_refine_conv{i}" for i in range(2 if step.skip_channels else 1)]
        for refine in self.refine:
            self.blocks[refine] = nn.Conv2d(width, step.out_channels, kernel_size, padding="same")
            width = step.out_channels

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(B, in, H, W) and (B, skip, 2H, 2W) -> (B, out, 2H, 2W); a skip of another size decides the size."""
        if self.transpose:
            x = F.relu(self.blocks[self.transpose](x))
        else:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        if skip is not None:
            if x.shape[-2:] != skip.shape[-2:]:
                x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = torch.cat([skip, x], dim=1)
        for refine in self.refine:
            x = F.relu(self.blocks[refine](x))
        return x


class Decoder(nn.Module):
    """Decoder blocks from the bottleneck up to the output stride."""

    def __init__(self, steps: Sequence[DecoderStep], kernel_size: int, transpose: TransposeAlignment | None) -> None:
        super().__init__()
        self.strides = [step.stride // 2 for step in steps]
        self.decoder_stack = nn.ModuleList(
            DecoderBlock(number, step, kernel_size, transpose) for number, step in enumerate(steps)
        )

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> dict[int, Tensor]:
        """Bottleneck and skips (deepest first) -> features by output stride, the deepest first."""
        features: dict[int, Tensor] = {}
        for number, (stride, block) in enumerate(zip(self.strides, self.decoder_stack, strict=True)):
            x = block(x, skips[number] if number < len(skips) else None)
            features[stride] = x
        return features


def log2(value: int, name: str) -> int:
    """Return the exponent of a power of two.

    Raises:
        UnsupportedModelError: `value` is not a power of two.

    >>> log2(16, "max_stride")
    4
    """
    exponent = value.bit_length() - 1
    if value < 1 or value != 1 << exponent:
        raise UnsupportedModelError(f"{name} has to be a power of two, found {value}. Check the configuration.")
    return exponent
