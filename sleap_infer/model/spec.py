"""Facts of a trained model, read once from its files and never changed.

A new backbone adds a class here, a network in `model.networks`, and a line in `model.readers.sleap_nn`.
"""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, in_, le, lt, optional

from sleap_infer.choices import (
    BackboneKind,
    CentroidMethod,
    Exporter,
    GraphInside,
    Layout,
    ModelFormat,
    Precision,
)
from sleap_infer.config.kinds import KINDS, Kind
from sleap_infer.model.conventions import Conventions

Pairs: TypeAlias = tuple[tuple[str, str], ...]

POSITIVE: Any = and_(gt(0), lt(inf))
SIZE: Any = and_(gt(0), le(1 << 16))
"""Sides of images, in pixels."""
SCALE: Any = and_(gt(0), lt(inf), le(16))
COUNT: Any = and_(gt(0), le(1 << 20))
CHANNELS = in_((1, 3))
AT_MOST = le(1000)
"""Layers in a row; more are a typing error."""
COUNTS = deep_iterable(gt(0))
OFFSET_HEAD = "OffsetRefinementHead"
"""The head of SLEAP that gives, at each bin, the offset of the point."""
DEPTHS = deep_iterable(and_(gt(0), AT_MOST))


LARGEST_STRIDE = 1 << 12


def _power_of_two(_spec: object, attribute: Attribute[int], value: int) -> None:
    if not 1 <= value <= LARGEST_STRIDE or value & (value - 1):
        raise ValueError(f"{attribute.name!r} has to be a power of two, found {value} (at most {LARGEST_STRIDE})")


def _finite(_spec: object, attribute: Attribute[Any], value: Any) -> None:
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    if (not values and value is not None) or not all(isfinite(item) for item in values):
        raise ValueError(f"{attribute.name!r} has to be finite, found {value}")


def _optional_sizes(spec: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None:
        deep_iterable(SIZE)(spec, attribute, value)


def _unique(_spec: object, attribute: Attribute[tuple[str, ...]], names: tuple[str, ...]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{attribute.name!r} has to name each only once, found {names}")


def _known(spec: SkeletonSpec, attribute: Attribute[Pairs], pairs: Pairs) -> None:
    unknown = sorted({name for pair in pairs for name in pair} - set(spec.nodes))
    if unknown:
        raise ValueError(f"{attribute.name!r} name {unknown}, which are none of the nodes {spec.nodes}")


@frozen
class SkeletonSpec:
    """The nodes of an animal and how they are joined, by name and in channel order."""

    nodes: tuple[str, ...] = field(validator=_unique)
    edges: Pairs = field(default=(), validator=_known)
    """(source, destination) pairs."""
    symmetries: Pairs = field(default=(), validator=_known)
    name: str = "Skeleton-0"

    @property
    def edge_inds(self) -> tuple[tuple[int, int], ...]:
        """Edges as pairs of node indices."""
        return tuple((self.nodes.index(source), self.nodes.index(destination)) for source, destination in self.edges)


@frozen
class UNetSpec:
    """A U-Net: `filters * filters_rate**level` channels, `max_stride` at its deepest."""

    kind: ClassVar[BackboneKind] = "unet"
    in_channels: int = field(default=1, validator=CHANNELS)
    kernel_size: int = field(default=3, validator=POSITIVE)
    filters: int = field(default=32, validator=POSITIVE)
    filters_rate: float = field(default=1.5, validator=POSITIVE)
    max_stride: int = field(default=16, validator=_power_of_two)
    stem_stride: int | None = field(default=None, validator=optional(_power_of_two))
    convs_per_block: int = field(default=2, validator=and_(ge(2), AT_MOST))
    up_interpolate: bool = True
    output_stride: int = field(default=1, validator=_power_of_two)


@frozen
class ConvNextSpec:
    """A ConvNeXt encoder (blocks and channels of each of its four stages) under a U-Net decoder."""

    kind: ClassVar[BackboneKind] = "convnext"
    depths: tuple[int, ...] = field(validator=DEPTHS)
    channels: tuple[int, ...] = field(validator=COUNTS)
    in_channels: int = field(default=1, validator=CHANNELS)
    kernel_size: int = field(default=3, validator=POSITIVE)
    filters_rate: float = field(default=2.0, validator=POSITIVE)
    max_stride: int = field(default=32, validator=_power_of_two)
    convs_per_block: int = field(default=2, validator=and_(ge(2), AT_MOST))
    up_interpolate: bool = True
    output_stride: int = field(default=1, validator=_power_of_two)
    stem_patch_kernel: int = field(default=4, validator=POSITIVE)
    stem_patch_stride: int = field(default=2, validator=_power_of_two)


@frozen
class SwinSpec:
    """A Swin Transformer encoder (blocks and heads of each of its four stages) under a U-Net decoder."""

    kind: ClassVar[BackboneKind] = "swint"
    embed: int = field(validator=POSITIVE)
    depths: tuple[int, ...] = field(validator=DEPTHS)
    num_heads: tuple[int, ...] = field(validator=COUNTS)
    window_size: int = field(default=7, validator=and_(gt(0), le(64)))
    patch_size: int = field(default=4, validator=POSITIVE)
    in_channels: int = field(default=1, validator=CHANNELS)
    kernel_size: int = field(default=3, validator=POSITIVE)
    filters_rate: float = field(default=2.0, validator=POSITIVE)
    max_stride: int = field(default=32, validator=_power_of_two)
    convs_per_block: int = field(default=2, validator=and_(ge(2), AT_MOST))
    up_interpolate: bool = True
    output_stride: int = field(default=1, validator=_power_of_two)
    stem_patch_stride: int = field(default=2, validator=_power_of_two)


BackboneSpec: TypeAlias = UNetSpec | ConvNextSpec | SwinSpec


@frozen
class MapHeadSpec:
    """A head that draws maps: a 1x1 convolution on the features of its stride."""

    name: str
    channels: int
    output_stride: int = field(default=1, validator=_power_of_two)
    sigmoid: bool = False


@frozen
class VectorHeadSpec:
    """A head that gives one probability per class for a whole image, from the globally pooled deepest features."""

    name: str
    channels: int
    num_fc_layers: int = field(default=1, validator=and_(ge(0), AT_MOST))
    num_fc_units: int = field(default=64, validator=POSITIVE)


HeadSpec: TypeAlias = MapHeadSpec | VectorHeadSpec


@frozen
class TrainedPreprocessing:
    """Preprocessing of the images in training. `None`: the configuration leaves it open."""

    ensure_rgb: bool | None = None
    ensure_grayscale: bool | None = None
    max_height: int | None = field(default=None, validator=optional(SIZE))
    max_width: int | None = field(default=None, validator=optional(SIZE))
    scale: float = field(default=1.0, validator=SCALE)
    crop_size: int | None = field(default=None, validator=optional(SIZE))
    """In pixels before or after scaling, see `Conventions.cropping`."""


@frozen
class ExportFacts:
    """Facts that are fixed in an exported graph."""

    sha256: str
    """Of the graph's file; empty where the metadata travelled inside it."""
    n_places: int = field(validator=COUNT)
    """Room for peaks per node, or for centroids."""
    baked: dict[str, Any] = field(factory=dict)
    """Options that are part of the graph, by name, and that no run can change."""
    precision: Precision = "fp32"
    inside: GraphInside = "network"
    """How much of the preprocessing is part of the graph."""
    layout: Layout = "batched"
    peak_threshold: float | tuple[float, ...] | None = field(default=None, validator=_finite)
    """Default of the graph's threshold; of two models in one graph, centroids first."""
    input_size: tuple[int, int] | None = field(default=None, validator=_optional_sizes)
    """The only (height, width) that frames are fitted into, if it is fixed."""
    batch_size: int | None = field(default=None, validator=optional(COUNT))
    """The only number of images that the graph takes, if it is fixed."""
    max_batch_size: int | None = field(default=None, validator=optional(COUNT))
    """The largest number of images that the graph is given at once."""
    opset: int | None = None
    given: dict[str, Any] = field(factory=dict)
    """Inference options that were given at the export, by name."""
    kept: tuple[str, ...] = ()
    """Groups of layers that stayed in 32-bit floats, in a graph of lower precision."""
    source: str = ""
    """The trained model that it was made from."""
    source_sha256: str = ""
    verdict: str = ""
    """Result of the comparison with that model."""
    made_by: Exporter = "sleap-infer"
    """The program that made the graph."""
    output_scale: float = field(default=1.0, validator=POSITIVE)
    """The positions that the graph gives, times this, are pixels of its input."""


def _known_kind(_spec: object, _attribute: Attribute[str], value: str) -> None:
    if value not in KINDS:
        raise ValueError(f"kind is {value!r}, expected one of {', '.join(KINDS)}")


@frozen
class ModelSpec:
    """All that is known about a trained model without its weights."""

    kind: str = field(validator=_known_kind)
    skeleton: SkeletonSpec
    backbone: BackboneSpec
    heads: tuple[HeadSpec, ...]
    preprocessing: TrainedPreprocessing = field(factory=TrainedPreprocessing)
    paf_edges: tuple[tuple[int, int], ...] = ()
    """(source, destination) node indices in the channel order of the part affinity fields."""
    classes: tuple[str, ...] = ()
    anchor_part: str | None = None
    """The node that a centroid stands on; `None` is the centre of the visible nodes."""
    centroid_method: CentroidMethod = "center_of_mass"
    """The centre for models without an anchor."""
    centroid_fallback: CentroidMethod = "center_of_mass"
    """The centre for instances whose anchor is not visible."""
    path: Path = Path()
    """The directory that the model was read from."""
    format: ModelFormat = "sleap-nn"
    written_by: str = ""
    """Version of the program that wrote the model, if it is known."""
    conventions: Conventions = field(factory=Conventions)
    """Preprocessing and peak rules of the program that trained it."""
    exported: ExportFacts | None = None
    """Facts of the graph, for exported models."""

    @property
    def row(self) -> Kind:
        """The row of its kind in `sleap_infer.config.kinds`."""
        return KINDS[self.kind]

    @property
    def n_nodes(self) -> int:
        """Number of nodes in the skeleton."""
        return len(self.skeleton.nodes)

    @property
    def max_stride(self) -> int:
        """Images are padded to a multiple of this many pixels before the network."""
        return self.backbone.max_stride

    @property
    def has_offsets(self) -> bool:
        """Return whether a head gives the offsets of points from the bins of the confidence maps."""
        return any(head.name == OFFSET_HEAD for head in self.heads)

    def map_head(self, suffix: str) -> MapHeadSpec:
        """Return the one map head whose name ends with `suffix`, e.g. `"ConfmapsHead"`.

        Raises:
            KeyError: the model has no such head.
        """
        for head in self.heads:
            if isinstance(head, MapHeadSpec) and head.name.endswith(suffix):
                return head
        raise KeyError(suffix)
