"""Traced modules: one network, or the two of a top-down pipeline, from uint8 frames to candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs
import torch
from attrs import frozen
from torch import Tensor, nn

from sleap_infer.choices import GraphInside, Layout
from sleap_infer.config.kinds import KINDS
from sleap_infer.graphs.layout import flat_names, flatten
from sleap_infer.graphs.preprocess import Crops, FitFrames, ScaleAndPad, fit_open_channels
from sleap_infer.model.settings import ImageSettings, cuts_from_scaled
from sleap_infer.runners.torch.pose_network import PoseNetwork

Arrays: TypeAlias = dict[str, Tensor]

POSITIONS = ("peaks", "centroids")
"""Names of candidates that are positions."""


@frozen
class Frame:
    """Contents of a graph besides its networks.

    Attributes:
        kind: of the graph.
        inside: how much of the preprocessing it contains.
        images: settings of the preprocessing of whole frames.
        layout: of the outputs.
        before: applied to the uint8 images first, if given.
        after: applied to the outputs, a tuple of tensors, last, if given.
    """

    kind: str
    inside: GraphInside
    images: ImageSettings
    layout: Layout = "batched"
    before: nn.Module | None = None
    after: nn.Module | None = None


class OneStage(nn.Module):
    """One network, with the preprocessing that the graph contains.

    Args:
        network: with a fixed capacity for peaks.
        frame: contents besides the network.
    """

    def __init__(self, network: PoseNetwork, frame: Frame) -> None:
        super().__init__()
        self.pose_network = network
        self.inside = frame.inside
        images = network.settings.images
        if cuts_from_scaled(network.spec, images):
            images = attrs.evolve(images, input_scaling=1.0)
        self.fit, self.scale = FitFrames(frame.images), ScaleAndPad(images)

    def forward(self, images: Tensor, thresholds: Mapping[str, Tensor]) -> Arrays:
        """Return the candidates of images (B, C, H, W), integers from 0 to 255."""
        if self.inside == "network":
            return look(self.pose_network, images, thresholds["peak_threshold"])
        fitted, factor = self.fit(images)
        found = look(self.pose_network, self.scale(fitted), thresholds["peak_threshold"])
        return {
            name: self.scale.restored(value) / factor if name in POSITIONS else value for name, value in found.items()
        }


class TopDown(nn.Module):
    """Centroids, a fixed number of crops around them, and a second network on the crops, with all preprocessing.

    Args:
        centroid: finds centroids, at most `max_instances`.
        instance: runs on crops.
        frame: contents besides the networks.
    """

    def __init__(self, centroid: PoseNetwork, instance: PoseNetwork, frame: Frame) -> None:
        super().__init__()
        assert instance.settings.crop_size is not None
        self.centroid, self.instance = centroid, instance
        images = instance.settings.images
        self.fit = FitFrames(frame.images)
        self.fit_size = FitFrames(attrs.evolve(frame.images, ensure_rgb=False, ensure_grayscale=False))
        coerces = frame.images.ensure_rgb or frame.images.ensure_grayscale
        self.has_own_channels = coerces and images.conventions.cropping == "whole_pixels"
        self.scale_frames = ScaleAndPad(centroid.settings.images)
        self.scale_crops = ScaleAndPad(images)
        self.cut = Crops(images, instance.settings.crop_size)

    def forward(self, images: Tensor, thresholds: Mapping[str, Tensor]) -> Arrays:
        """Return the candidates of images (B, C, H, W), integers from 0 to 255."""
        fitted, factor = self.fit(images)
        found = look(self.centroid, self.scale_frames(fitted), thresholds["centroid_threshold"])
        if self.has_own_channels:  # crops have the colours of the frame, as with two graphs
            fitted, _ = self.fit_size(images)
        valid = found["instance_valid"]
        centroids = self.scale_frames.restored(found["centroids"])
        crops, origin = self.cut(fitted, centroids.masked_fill(~valid[..., None], 0.0))
        poses = look(self.instance, crops, thresholds["peak_threshold"])
        per_place = {name: value.unflatten(0, valid.shape) for name, value in poses.items()}
        peaks = (self.scale_crops.restored(per_place["peaks"]) + origin[:, :, None]) / factor
        return {
            **{name: value * valid.view(*valid.shape, *(1,) * (value.ndim - 2)) for name, value in per_place.items()},
            "centroids": centroids / factor,
            "centroid_vals": found["centroid_vals"],
            "peaks": peaks.masked_fill(~valid[..., None, None], torch.nan),
            "instance_valid": valid,
        }


class Graph(nn.Module):
    """The traced module: inputs and outputs in their published order around `OneStage` or `TopDown`.

    Args:
        body: that finds candidates.
        frame: contents besides the networks.
    """

    def __init__(self, body: OneStage | TopDown, frame: Frame) -> None:
        super().__init__()
        self.body = body
        self.frame = frame
        self.before, self.after = frame.before, frame.after
        self.threshold_names = ("centroid_threshold", "peak_threshold")[isinstance(body, OneStage) :]
        names = tuple(KINDS[frame.kind].arrays)
        self.output_names = names if frame.layout == "batched" else flat_names(frame.kind)

    def forward(self, image: Tensor, *thresholds: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) uint8 and scalars -> candidates."""
        images = image if self.before is None else self.before(image)
        found = self.body(images.float(), dict(zip(self.threshold_names, thresholds, strict=True)))
        if self.frame.layout == "flat":
            found = flatten(found, self.frame.kind)
        outputs = tuple(found[name] for name in self.output_names)
        return outputs if self.after is None else tuple(self.after(*outputs))


def look(network: PoseNetwork, images: Tensor, threshold: Tensor) -> Arrays:
    """Return the candidates of images with integers from 0 to 255 and any number of channels."""
    found: Arrays = network(fit_open_channels(images / 255.0, network.spec.backbone.in_channels), threshold)
    return found
