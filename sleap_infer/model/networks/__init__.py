"""Networks of every backbone, built from a `ModelSpec`.

To add a backbone: a spec class in `model.spec`, a module here whose forward gives `Features` and which has
`map_channels` and `bottleneck_channels`, and a branch in `build_backbone`.
"""

from __future__ import annotations

from torch import Tensor, nn

from sleap_infer.choices import TransposeAlignment
from sleap_infer.model.networks.encoder_decoder import EncoderDecoder
from sleap_infer.model.networks.heads import MapHead, VectorHead
from sleap_infer.model.networks.unet import UNet
from sleap_infer.model.spec import BackboneSpec, MapHeadSpec, ModelSpec, UNetSpec

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Weights of R, G and B in a gray value (ITU-R BT.601)."""


class Network(nn.Module):
    """A backbone and its heads: images in [0, 1] to raw maps.

    Images whose channels are not the network's are made to fit: gray is repeated, colour is weighted to gray.

    Args:
        spec: the model's facts.
        transpose: alignment of transposed convolutions.
    """

    def __init__(self, spec: ModelSpec, transpose: TransposeAlignment) -> None:
        super().__init__()
        self.in_channels = spec.backbone.in_channels
        self.backbone = build_backbone(spec.backbone, transpose)
        self.head_names = [head.name for head in spec.heads]
        self.head_layers = nn.ModuleList(
            MapHead(head, self.backbone.map_channels)
            if isinstance(head, MapHeadSpec)
            else VectorHead(head, self.backbone.bottleneck_channels)
            for head in spec.heads
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) float in [0, 1] -> raw map, or class probabilities, by head name."""
        features = self.backbone(fit_channels(images, self.in_channels))
        return {name: head(features) for name, head in zip(self.head_names, self.head_layers, strict=True)}


def build_backbone(spec: BackboneSpec, transpose: TransposeAlignment) -> UNet | EncoderDecoder:
    """Build the backbone that a spec describes, with random weights."""
    return UNet(spec, transpose) if isinstance(spec, UNetSpec) else EncoderDecoder(spec, transpose)


def fit_channels(images: Tensor, n_channels: int) -> Tensor:
    """Make float images fit a network: repeat gray, or weight colour to gray.

    Args:
        images: (B, 1 or 3, H, W).
        n_channels: 1 or 3.

    Returns:
        (B, n_channels, H, W).
    """
    if images.shape[1] == n_channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, n_channels, -1, -1)
    red, green, blue = images.split(1, dim=1)
    return GRAY_WEIGHTS[0] * red + GRAY_WEIGHTS[1] * green + GRAY_WEIGHTS[2] * blue
