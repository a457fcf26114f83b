"""The resolved settings of each stage: the user's options, else those that the model was trained with.

Stages are independent, with one exception, as in sleap-nn: in a top-down pipeline frames
are fitted (size, channels) once, by the settings of the centroid model, with gaps filled from the second model. Crops
are only scaled and padded, separately for each model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import field, frozen

from sleap_infer.choices import CentroidMethod
from sleap_infer.config.kinds import KINDS, kind_of_stages
from sleap_infer.config.options import (
    CENTROID_MODEL,
    FUSED_GRAPH,
    FilterOptions,
    GroupingOptions,
    InferenceOptions,
    PeakOptions,
    PreprocessOptions,
    ReturnOptions,
    StreamOptions,
)
from sleap_infer.errors import ModelCombinationError, ModelConfigError, OptionError
from sleap_infer.model.conventions import Conventions
from sleap_infer.model.spec import ModelSpec, TrainedPreprocessing


@frozen
class ImageSettings:
    """Resolved preprocessing of images before one network. The defaults do nothing."""

    ensure_rgb: bool = False
    ensure_grayscale: bool = False
    max_height: int | None = None
    max_width: int | None = None
    input_scaling: float = 1.0
    pad_to_stride: int = 1
    conventions: Conventions = field(factory=Conventions)
    """Of the model that the images are for."""

    @property
    def half_pixel(self) -> float:
        """Offset that is added to points after they are scaled back."""
        return self.conventions.half_pixel if self.input_scaling != 1.0 else 0.0


@frozen
class StageSettings:
    """Resolved settings of one network's pre- and postprocessing."""

    kind: str
    images: ImageSettings = field(factory=ImageSettings)
    peaks: PeakOptions = field(factory=PeakOptions)
    grouping: GroupingOptions = field(factory=GroupingOptions)
    crop_size: int | None = None
    anchor_part: str | None = None
    centroid_method: CentroidMethod = "center_of_mass"
    """Centre of known instances without a visible anchor."""

    @property
    def peak_threshold(self) -> float:
        """Confidence that a peak of this stage needs; of two stages in one graph, the second."""
        threshold = self.peaks.peak_threshold
        return threshold[-1] if isinstance(threshold, tuple) else threshold

    @property
    def centroid_threshold(self) -> float:
        """Confidence that a centroid needs, where two stages are in one graph."""
        threshold = self.peaks.peak_threshold
        return threshold[0] if isinstance(threshold, tuple) else threshold

    @property
    def patch_size(self) -> int | None:
        """Side of the refinement patch, `None` without refinement."""
        return self.peaks.integral_patch_size if self.peaks.refinement == "integral" else None


@frozen
class PipelineSettings:
    """The resolved settings of every stage, in the order in which they run, and of what follows them."""

    kind: str
    frames: ImageSettings
    """Channels and size of whole frames, before scaling and padding."""
    stages: tuple[StageSettings, ...]
    filters: FilterOptions
    returned: ReturnOptions
    stream: StreamOptions


def pipeline_kind(specs: Sequence[ModelSpec]) -> str:
    """Return the kind of pipeline that models form.

    Raises:
        ModelCombinationError: no pipeline consists of these models.
    """
    kinds = [spec.kind for spec in specs]
    row = KINDS[kinds[0]] if len(kinds) == 1 else kind_of_stages(tuple(kinds))
    if row is not None:
        return row.pipeline
    found = ", ".join(f"{spec.kind} ({spec.path})" for spec in specs) or "none"
    twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    reason = f"two models are of one kind, {twice}" if twice else "these do not make a pipeline"
    second = " or ".join(row.stages[-1] for row in KINDS.values() if row.is_fused)
    raise ModelCombinationError(
        f"Given models: {found}. {reason.capitalize()}: give one model, or a centroid model with a {second} model."
    )


def default_backend(specs: Sequence[ModelSpec]) -> str:
    """Return the name of the backend that runs these models if none is given."""
    return "onnx" if any(spec.exported for spec in specs) else "torch"


def in_order(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """Return models in the order in which they run: centroids first."""
    return sorted(specs, key=lambda spec: spec.row.on_crops)


def read_options(specs: Sequence[ModelSpec], kind: str, given: Mapping[str, Any]) -> InferenceOptions:
    """Read options by name; those that are fixed in an exported graph default to their value there.

    Raises:
        OptionError: an unknown option, a wrong value, or an option without effect on these models.
    """
    exports = [spec.exported for spec in specs if spec.exported]
    fixed = {name: value for facts in exports for name, value in facts.baked.items()}
    thresholds = tuple(facts.peak_threshold for facts in exports if facts.peak_threshold is not None)
    if len(thresholds) == len(specs):
        fixed["peak_threshold"] = thresholds[0] if len(thresholds) == 1 else thresholds
    own = {name: value for name, value in given.items() if value is not None}
    options = InferenceOptions.from_names({**fixed, **own}, kind)
    options.check_effects(own, [fact for fact, holds in _facts(specs).items() if holds])
    return options


def _facts(specs: Sequence[ModelSpec]) -> dict[str, bool]:
    """Return which facts hold that take away the effect of options."""
    return {
        CENTROID_MODEL: any(spec.row.finds_centroids for spec in specs),
        FUSED_GRAPH: any(spec.row.is_fused for spec in specs),
    }


def resolve(specs: Sequence[ModelSpec], options: InferenceOptions) -> PipelineSettings:
    """Resolve every setting of a pipeline.

    Args:
        specs: its models in the order in which they run.
        options: given by the user.

    Raises:
        ModelCombinationError: the models do not make a pipeline.
        ModelConfigError: the models' own settings contradict each other.
        OptionError: the options contradict each other or the models.
    """
    kind = pipeline_kind(specs)
    stages = [_stage(spec, options, last=spec is specs[-1]) for spec in specs]
    for spec, stage in zip(specs, stages, strict=True):
        _check_fixed(spec, options, stage)
    frames = _frame_settings(specs, options.preprocess)
    if not specs[0].row.on_crops:
        own = stages[0].images
        images = attrs.evolve(frames, input_scaling=own.input_scaling, pad_to_stride=own.pad_to_stride)
        stages[0] = attrs.evolve(stages[0], images=images)
    return PipelineSettings(kind, frames, tuple(stages), options.filters, options.returned, options.stream)


def cuts_from_scaled(spec: ModelSpec, images: ImageSettings) -> bool:
    """Return whether crops for a model are cut from frames that are already scaled."""
    return spec.row.on_crops and images.conventions.cropping == "between_pixels"


def side_in_frame(stage: StageSettings) -> int | None:
    """Return the number of pixels of the fitted frame that a crop covers, rounded; `None` without crops."""
    images = stage.images
    if stage.crop_size is None or images.conventions.cropping == "whole_pixels":
        return stage.crop_size
    return round(stage.crop_size / images.input_scaling)


def left_outside(images: ImageSettings, spec: ModelSpec) -> ImageSettings:
    """Return the scaling and padding that is done before a network, or before a graph that contains some of it."""
    if spec.exported is None or spec.exported.inside == "network":
        return images
    scale = images.input_scaling if cuts_from_scaled(spec, images) else 1.0
    return attrs.evolve(images, input_scaling=scale, pad_to_stride=1)


def _check_fixed(spec: ModelSpec, options: InferenceOptions, stage: StageSettings) -> None:
    if spec.exported is None:
        return
    wanted = {**options.as_names(), "peak_threshold": stage.peaks.peak_threshold}
    for name, value in spec.exported.baked.items():
        if wanted[name] != value:
            raise OptionError(
                f"{name}={wanted[name]!r} has no effect: in the graph of {spec.path} it is {value!r} for good. "
                "Leave it out, or export the model again with that value."
            )


def _frame_settings(specs: Sequence[ModelSpec], options: PreprocessOptions) -> ImageSettings:
    conventions = specs[0].conventions
    if specs[0].exported and specs[0].exported.inside == "fitting":
        return ImageSettings(conventions=conventions)
    names = ("ensure_rgb", "ensure_grayscale", "max_height", "max_width")
    sources: list[PreprocessOptions | TrainedPreprocessing] = [options, *(spec.preprocessing for spec in specs)]
    found: dict[str, Any] = {
        name: next((value for source in sources if (value := getattr(source, name)) is not None), None)
        for name in names
    }
    asked = options.ensure_rgb is not None or options.ensure_grayscale is not None
    if conventions.channels_of_network and not asked and specs[0].exported is None:
        is_colour = specs[0].backbone.in_channels == 3
        found |= {"ensure_rgb": is_colour, "ensure_grayscale": not is_colour}
    if found["ensure_rgb"] and found["ensure_grayscale"]:
        if options.ensure_rgb is None or options.ensure_grayscale is None:
            raise ModelConfigError(
                "ensure_rgb and ensure_grayscale are both on. Turn one of them off, e.g. ensure_grayscale=False."
            )
        raise OptionError("ensure_rgb and ensure_grayscale exclude each other: give one of them.")
    coerce = {name: bool(found.pop(name)) for name in ("ensure_rgb", "ensure_grayscale")}
    return ImageSettings(**coerce, **found, conventions=conventions)


def _stage(spec: ModelSpec, options: InferenceOptions, last: bool) -> StageSettings:
    preprocess, peaks = options.preprocess, options.peaks
    threshold = peaks.peak_threshold
    if isinstance(threshold, tuple) and not spec.row.is_fused:
        threshold = threshold[1 if last and spec.row.finds_points else 0]
    anchor = preprocess.anchor_part or spec.anchor_part
    if anchor is not None and anchor not in spec.skeleton.nodes:
        message = f"anchor_part {anchor!r} is not a node of the skeleton: {', '.join(spec.skeleton.nodes)}."
        raise OptionError(message) if preprocess.anchor_part else ModelConfigError(f"{spec.path}: {message}")
    crop_size = preprocess.crop_size or spec.preprocessing.crop_size
    if spec.row.on_crops and crop_size is None:
        raise ModelConfigError(f"{spec.path}: no crop_size in the configuration. Give it as an option, crop_size=...")
    images = ImageSettings(
        pad_to_stride=preprocess.pad_to_stride or spec.max_stride,
        input_scaling=preprocess.input_scaling or spec.preprocessing.scale,
        conventions=spec.conventions,
    )
    return StageSettings(
        kind=spec.kind,
        images=left_outside(images, spec),
        peaks=attrs.evolve(peaks, peak_threshold=threshold if isinstance(threshold, tuple) else float(threshold)),
        grouping=options.grouping,
        crop_size=crop_size if spec.row.on_crops else None,
        anchor_part=anchor,
        centroid_method=spec.centroid_fallback if anchor else spec.centroid_method,
    )
