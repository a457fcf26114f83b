"""What a trained model is: plain facts, read once from its files and never changed.

A new backbone adds a class here, a network in `model.networks`, and a line in `model.config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from sleap_infer.choices import BackboneKind, ModelFormat, ModelKind


@frozen
class SkeletonSpec:
    """The nodes of an animal and how they are joined, by name and in channel order."""

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...] = ()
    """(source, destination) pairs."""
    symmetries: tuple[tuple[str, str], ...] = ()
    name: str = "Skeleton-0"

    @property
    def edge_inds(self) -> tuple[tuple[int, int], ...]:
        """Edges as pairs of node indices."""
        return tuple((self.nodes.index(source), self.nodes.index(destination)) for source, destination in self.edges)


@frozen
class UNetSpec:
    """A U-Net: `filters * filters_rate**level` channels, `max_stride` at its deepest."""

    kind: ClassVar[BackboneKind] = "unet"
    in_channels: int = 1
    kernel_size: int = 3
    filters: int = 32
    filters_rate: float = 1.5
    max_stride: int = 16
    stem_stride: int | None = None
    convs_per_block: int = 2
    up_interpolate: bool = True
    output_stride: int = 1


@frozen
class ConvNextSpec:
    """A ConvNeXt encoder (blocks and channels of each of its four stages) under a U-Net decoder."""

    kind: ClassVar[BackboneKind] = "convnext"
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    in_channels: int = 1
    kernel_size: int = 3
    filters_rate: float = 2.0
    max_stride: int = 32
    convs_per_block: int = 2
    up_interpolate: bool = True
    output_stride: int = 1
    stem_patch_kernel: int = 4
    stem_patch_stride: int = 2


@frozen
class SwinSpec:
    """A Swin Transformer encoder (blocks and heads of each of its four stages) under a U-Net decoder."""

    kind: ClassVar[BackboneKind] = "swint"
    embed: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int = 7
    patch_size: int = 4
    in_channels: int = 1
    kernel_size: int = 3
    filters_rate: float = 2.0
    max_stride: int = 32
    convs_per_block: int = 2
    up_interpolate: bool = True
    output_stride: int = 1
    stem_patch_stride: int = 2


BackboneSpec: TypeAlias = UNetSpec | ConvNextSpec | SwinSpec


@frozen
class MapHeadSpec:
    """A head that draws maps: a 1x1 convolution on the features of its stride."""

    name: str
    channels: int
    output_stride: int
    sigmoid: bool = False


@frozen
class VectorHeadSpec:
    """A head that gives one probability per class for a whole image, from the globally pooled deepest features."""

    name: str
    channels: int
    num_fc_layers: int = 1
    num_fc_units: int = 64


HeadSpec: TypeAlias = MapHeadSpec | VectorHeadSpec


@frozen
class TrainedPreprocessing:
    """How images were prepared when the model was trained. `None`: the configuration leaves it open."""

    ensure_rgb: bool | None = None
    ensure_grayscale: bool | None = None
    max_height: int | None = None
    max_width: int | None = None
    scale: float = 1.0
    crop_size: int | None = None


@frozen
class ModelSpec:
    """All that is known about a trained model without its weights."""

    kind: ModelKind
    skeleton: SkeletonSpec
    backbone: BackboneSpec
    heads: tuple[HeadSpec, ...]
    preprocessing: TrainedPreprocessing = field(factory=TrainedPreprocessing)
    paf_edges: tuple[tuple[int, int], ...] = ()
    """(source, destination) node indices in the channel order of the part affinity fields."""
    classes: tuple[str, ...] = ()
    anchor_part: str | None = None
    """The node that a centroid stands on; `None` is the mean of the visible nodes."""
    path: Path = Path()
    """The directory that the model was read from."""
    format: ModelFormat = "sleap-nn"
    written_by: str = ""
    """Version of the program that wrote the model, where it says so."""

    @property
    def n_nodes(self) -> int:
        """Number of nodes in the skeleton."""
        return len(self.skeleton.nodes)

    @property
    def max_stride(self) -> int:
        """Images are padded to a multiple of this many pixels before the network."""
        return self.backbone.max_stride

    def map_head(self, suffix: str) -> MapHeadSpec:
        """The one map head whose name ends with `suffix`, e.g. `"ConfmapsHead"`.

        Raises:
            KeyError: the model has no such head.
        """
        for head in self.heads:
            if isinstance(head, MapHeadSpec) and head.name.endswith(suffix):
                return head
        raise KeyError(suffix)
