"""SLEAP's U-Net (after Ronneberger et al. 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.choices import TransposeAlignment
from sleap_infer.errors import UnsupportedModelError
from sleap_infer.model.networks.blocks import (
    ConvBlock,
    Decoder,
    Features,
    decoder_steps,
    log2,
    middle_blocks,
)
from sleap_infer.model.spec import UNetSpec

STEM_KERNEL = 7


class Stem(nn.Module):
    """Convolutions before the encoder that bring an image down to `2**n_blocks` times less."""

    def __init__(self, spec: UNetSpec, widths: list[int]) -> None:
        super().__init__()
        self.stem_stack = nn.ModuleList()
        into = spec.in_channels
        for b, width in enumerate(widths):
            names = [f"stem{b}_conv{i}" for i in range(spec.convs_per_block)]
            self.stem_stack.append(ConvBlock(names, into, width, STEM_KERNEL))
            into = width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / 2**n, W / 2**n)."""
        for block in self.stem_stack:
            x = F.max_pool2d(block(x), 2)
        return x


class Encoder(nn.Module):
    """Blocks of convolutions with a pool between them; every block's output is returned."""

    def __init__(self, spec: UNetSpec, widths: list[int], into: int, pool_first: bool) -> None:
        super().__init__()
        self.pool_first = pool_first
        self.encoder_stack = nn.ModuleList()
        for b, width in enumerate(widths):
            names = [f"stack0_enc{b}_conv{i}" for i in range(spec.convs_per_block)]
            self.encoder_stack.append(ConvBlock(names, into, width, spec.kernel_size))
            into = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> the output of each block, the finest first."""
        outputs = []
        for b, block in enumerate(self.encoder_stack):
            x = block(F.max_pool2d(x, 2) if b > 0 or self.pool_first else x)
            outputs.append(x)
        return outputs


class UNet(nn.Module):
    """(B, C, H, W) -> features by stride.

    With a stem the encoder pools once more before its first block, so the bottleneck lies at twice `max_stride`.
    """

    def __init__(self, spec: UNetSpec, transpose: TransposeAlignment) -> None:
        super().__init__()
        n_stem = log2(spec.stem_stride or 1, "stem_stride")
        n_down = log2(spec.max_stride, "max_stride") - n_stem
        n_up = log2(spec.max_stride // spec.output_stride, "max_stride / output_stride") + n_stem
        deepest = n_down + n_stem
        width = [int(spec.filters * spec.filters_rate**level) for level in range(deepest + 1)]
        if n_down < 1 or min(width) < 1 or (n_stem > 1 and n_up > n_down + 1):
            raise UnsupportedModelError(f"{spec} cannot be run, by sleap-nn either. Check the configuration.")

        self.stem = Stem(spec, width[:n_stem]) if n_stem else None
        into = width[n_stem - 1] if n_stem else spec.in_channels
        self.encoders = nn.ModuleList([Encoder(spec, width[n_stem:deepest], into, pool_first=n_stem > 0)])
        self.middle_blocks = middle_blocks(
            (f"stack0_enc{n_down + 1}", f"stack0_enc{n_down + 2}"),
            (width[deepest - 1], width[deepest]),
            spec.convs_per_block,
            spec.kernel_size,
        )
        skips = width[n_stem - 1 if n_stem else 0 : deepest][::-1]
        outs = [width[max(0, deepest - 1 - b)] for b in range(n_up)]
        stride = 2**deepest * (2 if n_stem else 1)
        steps = decoder_steps("stack0_dec", stride, width[deepest], skips, outs)
        transpose_or_none = None if spec.up_interpolate else transpose
        self.decoders = nn.ModuleList([Decoder(steps, spec.kernel_size, transpose_or_none)] if steps else [])
        self.bottleneck_channels = width[deepest]
        self.map_channels = {step.stride // 2: step.out_channels for step in steps} or {stride: width[deepest]}
        self.stride = stride

    def forward(self, x: Tensor) -> Features:
        """(B, C, H, W) -> features of the bottleneck and of every decoder block."""
        stem = None if self.stem is None else self.stem(x)
        outputs = self.encoders[0](x if stem is None else stem)
        bottleneck = self.middle_blocks(F.max_pool2d(outputs[-1], 2))
        skips = outputs[::-1] + ([] if stem is None else [stem])
        maps = self.decoders[0](bottleneck, skips) if len(self.decoders) else {self.stride: bottleneck}
        return Features(bottleneck, maps)
