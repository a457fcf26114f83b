"""Every option, in small frozen groups, one per stage of the work. Each default is written here and nowhere else.

An option's help text and the pipelines it applies to stand beside its default; the CLI and the checks read them from
here. `None` in `PreprocessOptions` means "as the model was trained".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
from attrs import field, frozen
from attrs.validators import ge, gt, optional

from sleap_infer.choices import Aim, Decoder, OnFrameError, OverlapMethod, Refinement
from sleap_infer.config.kinds import Scope, pipeline_kinds
from sleap_infer.errors import OptionError

DEFAULT_BATCH_SIZE = 4
"""Frames that go through the (first) network at once."""

DEFAULT_PLACES = 20
"""Room for centroids, and for peaks of each node, in an exported graph."""


CENTROID_MODEL, FUSED_GRAPH = "a centroid model", "both models in one graph"
"""Facts about models that take away the effect of options."""


def option(
    default: Any,
    help: str,
    scope: Scope | None = None,
    validator: Any = None,
    idle: tuple[str, Any] | str | None = None,
) -> Any:
    """Define an option.

    Args:
        default: its value if it is not given.
        help: what it does.
        scope: of the pipelines on which it has an effect; `None` for all.
        validator: checks its value.
        idle: when it has no effect there: the name and the value of another option, or a fact about the models.
    """
    return field(default=default, validator=validator, metadata={"help": help, "scope": scope, "idle": idle})


def applies_to(item: attrs.Attribute[Any]) -> tuple[str, ...]:
    """Return the kinds of pipelines on which an option has an effect."""
    return pipeline_kinds(item.metadata["scope"])


def _count_or_share(_group: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value < 0 or (isinstance(value, float) and value > 1):
        raise ValueError(f"{attribute.name!r} is a whole count or a share from 0 to 1, found {value!r}")


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pairs(values: Iterable[Iterable[Any]]) -> tuple[tuple[str, str], ...]:
    """Convert lists, as read from JSON, to pairs of texts."""
    return tuple((str(old), str(new)) for old, new in values)


@frozen
class PreprocessOptions:
    """Preprocessing of frames before the network. `None`: as in training."""

    ensure_rgb: bool | None = option(None, "Convert frames to three channels before the network.", "frames")
    ensure_grayscale: bool | None = option(None, "Convert frames to grayscale before the network.", "frames")
    max_height: int | None = option(None, "Resize frames to fit this height, in pixels.", None, optional(gt(0)))
    max_width: int | None = option(None, "Resize frames to fit this width, in pixels.", None, optional(gt(0)))
    input_scaling: float | None = option(
        None, "Scale frames and crops by this factor before the network.", None, optional(gt(0))
    )
    pad_to_stride: int | None = option(None, "Pad images to a multiple of this many pixels.", None, optional(gt(0)))
    crop_size: int | None = option(
        None, "Side of the square crop around each centroid, in pixels.", "crops", optional(gt(0))
    )
    anchor_part: str | None = option(
        None, "Node at the centre of the crop of known instances.", "known instances", idle=CENTROID_MODEL
    )


@frozen
class PeakOptions:
    """Options of finding peaks."""

    peak_threshold: float | tuple[float, float] = field(
        default=0.2,
        converter=_pair,
        metadata={
            "help": "Minimum confidence of a peak. Two values, as in 0.3,0.1: centroid stage, keypoint stage.",
            "scope": None,
        },
    )
    refinement: Refinement = option(
        "integral", "Sub-pixel refinement of peaks: centre of mass around each peak (integral), or none."
    )
    integral_patch_size: int = option(
        5,
        "Side of the patch for integral refinement, in pixels of the confidence map.",
        None,
        gt(0),
        idle=("refinement", "none"),
    )
    max_instances: int | None = option(
        None, "Maximum number of instances per frame; the strongest are retained.", "several", optional(gt(0))
    )
    max_peaks_per_node: int | None = option(
        None, "Maximum number of peaks per node; the strongest are retained.", "peaks per node", optional(gt(0))
    )


@frozen
class GroupingOptions:
    """Options of grouping a bottom-up model's peaks into instances."""

    n_points: int = option(10, "Points sampled along each candidate connection.", "connections", gt(0))
    max_edge_length_ratio: float = option(
        0.25,
        "Connections longer than this fraction of the image are penalised.",
        "connections",
        gt(0),
        idle=("dist_penalty_weight", 0),
    )
    dist_penalty_weight: float = option(1.0, "Weight of the penalty on long connections.", "connections", ge(0))
    min_line_scores: float = option(0.25, "Minimum score of a connection.", "connections")
    min_instance_peaks: int | float = option(
        0, "Minimum number of points per instance, or fraction of the nodes as in 0.5.", "connections", _count_or_share
    )


@frozen
class FilterOptions:
    """Filters of instances. All off by default."""

    min_visible_nodes: int = option(0, "Minimum number of points per instance.", "points", ge(0))
    min_visible_node_fraction: float = option(0.0, "Minimum fraction of visible nodes per instance.", "points", ge(0))
    min_instance_score: float = option(0.0, "Minimum score of an instance.", "several", ge(0))
    min_mean_node_score: float = option(0.0, "Minimum mean score of the points of an instance.", "points", ge(0))
    max_overlap: float | None = option(
        None, "Remove the weaker of two instances that overlap more than this (0 to 1).", "several", optional(ge(0))
    )
    overlap_method: OverlapMethod = option(
        "iou", "Measure of overlap: bounding boxes (iou) or keypoints (oks).", "several", idle=("max_overlap", None)
    )
    min_centroid_distance: float = option(
        0.0, "Remove the weaker of two centroids that are closer than this, in pixels.", "centroids", ge(0)
    )


@frozen
class ReturnOptions:
    """Large arrays to return with `Outputs`."""

    return_images: bool = option(False, "Return the frames and the input of the network.")
    return_confmaps: bool = option(False, "Return confidence maps.")
    return_pafs: bool = option(False, "Return part affinity fields.", "connections")
    return_class_maps: bool = option(False, "Return class maps.", "class maps")


@frozen
class StreamOptions:
    """Options of the flow of frames."""

    on_frame_error: OnFrameError = option(
        "keep_place",
        "What an unreadable frame does: count as a frame without instances (keep_place), or stop the run (raise).",
    )
    decoder: Decoder = option("cpu", "Decode video files on the CPU, or on the NVIDIA GPU that runs the network.")
    aim: Aim = option("throughput", "Optimise CPU threading for throughput or latency.")
    crop_batch_size: int = option(16, "Crops per batch.", "crops", gt(0), idle=FUSED_GRAPH)
    queue_size: int = option(2, "Maximum number of batches queued between two stages.", None, gt(0))


@frozen
class SourceOptions:
    """Options of opening sources. They are independent of models, so they are not in `InferenceOptions`."""

    dataset: str | None = option(
        None, "Name of the dataset with the frames in an HDF5 file, such as 'images' or 'group/images'."
    )
    channels_first: bool | None = option(
        None,
        "Axes of frames in HDF5 files: (N, C, H, W), or with --channels-last (N, H, W, C). Default: from the shape.",
    )
    replace_paths: tuple[tuple[str, str], ...] = field(
        default=(),
        converter=_pairs,
        metadata={
            "help": "OLD=NEW: replace a folder in the video paths of label files, also in Windows paths. Repeatable."
        },
    )


@frozen
class SourceSpec:
    """A path with the options with which it is opened; accepted wherever a source is.

    Attributes:
        path: of a source, as in `open_source`.
        options: how it is opened.
    """

    path: str
    options: SourceOptions = field(factory=SourceOptions)

    def __str__(self) -> str:
        """Return the path."""
        return self.path


def as_spec(source: str | SourceSpec) -> SourceSpec:
    """Return a source as a spec; a path has no options."""
    return source if isinstance(source, SourceSpec) else SourceSpec(source)


@frozen
class ReadingOptions:
    """Options of reading models."""

    ignore_unknown_settings: bool = option(
        False, "Run models with unknown settings in their configuration, with a warning."
    )


@frozen
class InferenceOptions:
    """All options together."""

    preprocess: PreprocessOptions = field(factory=PreprocessOptions)
    peaks: PeakOptions = field(factory=PeakOptions)
    grouping: GroupingOptions = field(factory=GroupingOptions)
    filters: FilterOptions = field(factory=FilterOptions)
    returned: ReturnOptions = field(factory=ReturnOptions)
    stream: StreamOptions = field(factory=StreamOptions)
    reading: ReadingOptions = field(factory=ReadingOptions)

    @classmethod
    def from_names(cls, options: Mapping[str, Any], kind: str | None = None) -> InferenceOptions:
        """Sort options given by name into their groups.

        Args:
            options: any of the names in the groups above; those with value `None` count as not given.
            kind: the pipeline they are for; an option without effect on it is an error.

        Raises:
            OptionError: an unknown name, a value that is not allowed, or an option that would have no effect.
        """
        given = {name: value for name, value in options.items() if value is not None}
        known = option_fields()
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else f" Known options: {', '.join(sorted(known))}."
                raise OptionError(f"Unknown option {name!r}.{hint}")
            applies = applies_to(known[name])
            if kind is not None and kind not in applies:
                raise OptionError(
                    f"{name!r} has no effect on a {kind} model; it applies to {', '.join(applies)}. Leave it out."
                )
        groups = {}
        for name, group in option_groups().items():
            names = attrs.fields_dict(group)
            groups[name] = _build(group, {n: v for n, v in given.items() if n in names})
        return cls(**groups)

    def check_effects(self, given: Iterable[str], facts: Iterable[str] = ()) -> None:
        """Check that each given option has an effect beside the others.

        Args:
            given: names of the options that were given.
            facts: those of `CENTROID_MODEL` and `FUSED_GRAPH` that hold.

        Raises:
            OptionError: one has none.
        """
        values, known = self.as_names(), option_fields()
        for name in given:
            idle = known[name].metadata.get("idle")
            if isinstance(idle, tuple) and values[idle[0]] == idle[1]:
                other, value = idle
                raise OptionError(f"{name!r} has no effect with {other}={value!r}. Leave it out, or change {other!r}.")
            if isinstance(idle, str) and idle in facts:
                raise OptionError(f"{name!r} has no effect with {idle}. Leave it out.")

    def as_names(self) -> dict[str, Any]:
        """Return all options by name, whatever their group."""
        return {name: value for group in attrs.asdict(self).values() for name, value in group.items()}


def option_fields() -> dict[str, attrs.Attribute[Any]]:
    """Return every option by name."""
    return {item.name: item for group in option_groups().values() for item in attrs.fields(group)}


def option_groups() -> dict[str, type[Any]]:
    """Return the class of each group, by the group's name."""
    return get_type_hints(InferenceOptions)


def _build(group: type[Any], values: dict[str, Any]) -> Any:
    hints = get_type_hints(group)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise OptionError(f"{name!r} cannot be {value!r}: expected {_spell(hints[name])}.")
    try:
        return group(**values)
    except ValueError as error:
        raise OptionError(f"{error.args[0]}.") from error


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value has an annotated type; integers also match float, lists match tuple."""
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return isinstance(value, (tuple, list)) and len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _spell(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(_spell(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    return {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a name"}.get(
        getattr(hint, "__name__", ""), "a pair of numbers"
    )
