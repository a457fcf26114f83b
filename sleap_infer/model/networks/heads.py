"""Heads: the last layers, which turn features into the maps or probabilities a model was trained for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sleap_infer.errors import ModelConfigError
from sleap_infer.model.networks.blocks import Features
from sleap_infer.model.spec import MapHeadSpec, VectorHeadSpec


class MapHead(nn.Module):
    """A 1x1 convolution on the features of the head's stride; linear, or through a sigmoid."""

    def __init__(self, spec: MapHeadSpec, map_channels: dict[int, int]) -> None:
        super().__init__()
        if spec.output_stride not in map_channels:
            raise ModelConfigError(
                f"{spec.name} has output_stride {spec.output_stride}, but the backbone gives features at strides "
                f"{sorted(map_channels)}. Check `output_stride` of backbone and heads."
            )
        self.spec = spec
        convolution = nn.Conv2d(map_channels[spec.output_stride], spec.channels, 1)
        self.add_module(spec.name, nn.Sequential(convolution))

    def forward(self, features: Features) -> Tensor:
        """Features -> (B, channels, H / stride, W / stride)."""
        maps: Tensor = self.get_submodule(self.spec.name)(features.maps[self.spec.output_stride])
        return torch.sigmoid(maps) if self.spec.sigmoid else maps


class VectorHead(nn.Module):
    """Class probabilities from the bottleneck: global max pool, fully connected layers, softmax."""

    def __init__(self, spec: VectorHeadSpec, in_features: int) -> None:
        super().__init__()
        self.spec = spec
        self.hidden = [f"pre_classification{i}_fc" for i in range(spec.num_fc_layers)]
        for name in self.hidden:
            self.add_module(name, nn.Linear(in_features, spec.num_fc_units))
            in_features = spec.num_fc_units
        self.add_module(spec.name, nn.Linear(in_features, spec.channels))

    def forward(self, features: Features) -> Tensor:
        """Features -> (B, n_classes), rows that sum to one."""
        x = features.bottleneck.amax(dim=(2, 3))
        for name in self.hidden:
            x = F.relu(self.get_submodule(name)(x))
        logits: Tensor = self.get_submodule(self.spec.name)(x)
        return logits.softmax(dim=1)
