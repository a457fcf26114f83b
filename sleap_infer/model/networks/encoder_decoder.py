"""A transformer-era encoder (ConvNeXt, Swin) between a stem of patches and SLEAP's decoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.choices import TransposeAlignment
from sleap_infer.model.networks.blocks import Decoder, Features, decoder_steps, log2, middle_blocks
from sleap_infer.model.networks.convnext import ConvNextEncoder
from sleap_infer.model.networks.swin import SwinEncoder
from sleap_infer.model.spec import ConvNextSpec, SwinSpec

STAGES_STRIDE = 16
"""The bottleneck's stride in units of the stem's: three merges between stages and one pool after the last."""


class EncoderDecoder(nn.Module):
    """(B, C, H, W) -> features by stride.

    The encoder's features *before* each of its four stages are the skips; its last output is pooled once more
    into the bottleneck.
    """

    def __init__(self, spec: ConvNextSpec | SwinSpec, transpose: TransposeAlignment) -> None:
        super().__init__()
        self.enc = ConvNextEncoder(spec) if isinstance(spec, ConvNextSpec) else SwinEncoder(spec)
        channels = self.enc.channels
        width = int(channels[-1] * spec.filters_rate)
        self.middle_blocks = middle_blocks(
            ("convnext", "convnext"), (channels[-1], width), spec.convs_per_block, spec.kernel_size
        )
        self.stride = STAGES_STRIDE * spec.stem_patch_stride
        n_up = log2(self.stride // spec.output_stride, "bottleneck stride / output_stride")
        outs = [int(channels[0] * spec.filters_rate ** max(0, 3 - b)) for b in range(n_up)]
        steps = decoder_steps("dec", self.stride, width, channels[::-1], outs)
        self.dec = Decoder(steps, spec.kernel_size, None if spec.up_interpolate else transpose)
        self.bottleneck_channels = width
        self.map_channels = {step.stride // 2: step.out_channels for step in steps} or {self.stride: width}

    def forward(self, x: Tensor) -> Features:
        """(B, C, H, W) -> features of the bottleneck and of every decoder block."""
        skips, deepest = self.enc(x)
        bottleneck = self.middle_blocks(F.max_pool2d(deepest, 2))
        return Features(bottleneck, self.dec(bottleneck, skips[::-1]) or {self.stride: bottleneck})
