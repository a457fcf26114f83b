"""The network from preprocessed images to candidates, as one torch module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sleap_infer.model.networks.blocks import Features
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import ModelSpec
from sleap_infer.ops.candidates import to_candidates

MAP_HEADS: Mapping[str, str] = {
    "confmaps": "ConfmapsHead",
    "pafs": "PartAffinityFieldsHead",
    "class_maps": "ClassMapsHead",
}
"""Names of maps among the candidates, and suffixes of their heads."""


class PoseNetwork(nn.Module):
    """Maps preprocessed images to candidates.

    Args:
        network: (B, C, H, W) float in [0, 1] to raw maps by head name.
        spec: the model's facts.
        settings: its resolved settings.
        n_peaks: capacity for peaks per map; `None`: that of each batch.
        keep: maps to return with the candidates, of `MAP_HEADS`.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        settings: StageSettings,
        n_peaks: int | None = None,
        keep: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.settings = settings
        self.n_peaks = n_peaks
        self.keep = keep

    def forward(
        self, images: Tensor, threshold: Tensor | None = None, capacity: int | None = None
    ) -> dict[str, Tensor]:
        """Return the candidates of images (B, C, H, W), uint8 or float in [0, 1], and requested maps.

        With a fixed `capacity` for peaks per map, which needs no synchronisation, also return `n_candidates` (B,): the
        capacity that each image needs.
        """
        return self.find(self.draw(images), threshold, capacity)

    def draw(self, images: Tensor) -> dict[str, Tensor]:
        """Return maps by head name for images (B, C, H, W)."""
        maps: dict[str, Tensor] = self.network(normalise(images))
        return maps

    def find(
        self, maps: dict[str, Tensor], threshold: Tensor | None = None, capacity: int | None = None
    ) -> dict[str, Tensor]:
        """Return the candidates of maps, and requested maps."""
        found = to_candidates(
            maps, self.spec, self.settings, capacity or self.n_peaks, threshold, count=capacity is not None
        )
        heads = {name: _ending(maps, MAP_HEADS[name]) for name in self.keep}
        return {**found, **{name: maps[head] for name, head in heads.items() if head is not None}}


class ReducedNetwork(nn.Module):
    """A network that computes in 16-bit floats between 32-bit images and 32-bit maps.

    Args:
        network: (B, C, H, W) to maps by head name.
        dtype: `torch.float16` or `torch.bfloat16`.
        full_heads: whether the heads stay in fp32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float16, full_heads: bool = False) -> None:
        super().__init__()
        self.network = network if full_heads else network.to(dtype)
        self.dtype = torch.float32 if full_heads else dtype
        if full_heads:
            network.backbone = ReducedBackbone(network.get_submodule("backbone"), dtype)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return maps by head name, float32, for images (B, C, H, W) float32."""
        return {name: values.float() for name, values in self.network(images.to(self.dtype)).items()}


class ReducedBackbone(nn.Module):
    """A backbone that computes in 16-bit floats between 32-bit images and 32-bit features.

    Args:
        backbone: (B, C, H, W) to `Features`.
        dtype: `torch.float16` or `torch.bfloat16`.
    """

    def __init__(self, backbone: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype

    def forward(self, images: Tensor) -> Features:
        """Return features, float32, for images (B, C, H, W) float32."""
        found = self.backbone(images.to(self.dtype))
        return Features(found.bottleneck.float(), {stride: values.float() for stride, values in found.maps.items()})


def normalise(images: Tensor) -> Tensor:
    """Convert uint8 to float in [0, 1]; float stays unchanged."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def _ending(maps: Mapping[str, Tensor], suffix: str) -> str | None:
    return next((name for name in maps if name.endswith(suffix)), None)
