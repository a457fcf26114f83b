"""Build the graph of trained models and its metadata in a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from sleap_infer.choices import GraphInside
from sleap_infer.config.graph_options import LOWERED, GraphOptions
from sleap_infer.config.kinds import KINDS, kind_of_stages
from sleap_infer.errors import OptionError, UnsupportedModelError
from sleap_infer.model import ModelSpec, build_network, find_model_files
from sleap_infer.model.blocks import HEADS
from sleap_infer.model.readers.directory import WEIGHTS_NAMES
from sleap_infer.model.readers.exported import hash_file, metadata_inside
from sleap_infer.model.settings import ImageSettings, StageSettings, cuts_from_scaled
from sleap_infer.model.spec import ExportFacts
from sleap_infer.poses.preprocess import scaled_size

if TYPE_CHECKING:
    from torch import nn

    from sleap_infer.graphs.modules import Graph
    from sleap_infer.runners.torch.pose_network import PoseNetwork

GRAPH_NAME = WEIGHTS_NAMES["onnx"]

BAKED_PEAKS = ("refinement", "integral_patch_size")
BAKED_LINES = ("n_points", "max_edge_length_ratio", "dist_penalty_weight")
BAKED_SCALING = ("input_scaling", "pad_to_stride")
BAKED_FITTING = ("ensure_rgb", "ensure_grayscale", "max_height", "max_width")
BAKED_CROPS = ("crop_size",)


@frozen
class Trained:
    """One trained model to export.

    Attributes:
        path: where it is.
        spec: its facts.
        settings: its resolved settings.
    """

    path: Path
    spec: ModelSpec
    settings: StageSettings


def make_graph(
    models: Sequence[Trained], frames: ImageSettings, directory: Path, options: GraphOptions, given: dict[str, Any]
) -> tuple[ModelSpec, dict[str, Any]]:
    """Trace one model, or two fused ones, and write the graph.

    Args:
        models: in execution order.
        frames: how whole frames are fitted.
        directory: existing, for the graph.
        options: of the graph.
        given: inference options that were given, by name.

    Returns:
        The exported model's facts, and inputs, outputs, opset and number of operations of the graph.

    Raises:
        OptionError: an option does not apply to these models.
        ModelError: a model cannot be read.
        BackendNotInstalledError: a package that exporting needs is missing.
    """
    from sleap_infer.graphs.onnx_file import finish_graph, require_export_packages, write_graph

    require_export_packages()
    check_options(models, options)
    graph = build_graph(models, frames, options)
    path = directory / GRAPH_NAME
    write_graph(graph, path, _input_form(models, frames, options), options.opset_version)
    spec = _exported_spec(models, frames, options, given)
    last = models[-1].settings
    values = {"peak_threshold": last.peak_threshold, "centroid_threshold": models[0].settings.peak_threshold}
    thresholds = {name: values[name] for name in graph.threshold_names}
    inside = finish_graph(path, thresholds, metadata_inside(spec))
    assert spec.exported is not None
    facts = attrs.evolve(spec.exported, sha256=hash_file(path), opset=inside["opset"])
    return attrs.evolve(spec, exported=facts), inside


def build_graph(models: Sequence[Trained], frames: ImageSettings, options: GraphOptions) -> Graph:
    """Return the torch module of a graph, which is traced and which the finished graph is compared with."""
    from sleap_infer.graphs.modules import Frame, Graph, OneStage, TopDown

    kind = graph_kind(models)
    images = frames if not models[0].spec.row.on_crops else ImageSettings(conventions=frames.conventions)
    if inside_of(models, options) == "scaling":
        images = ImageSettings(conventions=frames.conventions)
    frame = Frame(kind, inside_of(models, options), images, options.layout, options.before, options.after)
    networks = [_pose_network(model, options) for model in models]
    body = OneStage(networks[0], frame) if len(networks) == 1 else TopDown(networks[0], networks[1], frame)
    return Graph(body, frame).eval()


def inside_of(models: Sequence[Trained], options: GraphOptions) -> GraphInside:
    """Return how much of the preprocessing a graph contains.

    Frames that are scaled to floats are scaled inside, because the input of graphs is uint8.
    """
    images = models[0].settings.images
    is_whole = images.conventions.resizing == "antialiased" or images.input_scaling == 1.0
    if options.inside == "network" and not is_whole and not models[0].spec.row.on_crops:
        return "scaling"
    return options.inside


def graph_kind(models: Sequence[Trained]) -> str:
    """Return the kind of a graph of these models."""
    row = kind_of_stages(tuple(model.spec.kind for model in models))
    assert row is not None
    return row.name


def check_options(models: Sequence[Trained], options: GraphOptions) -> None:
    """Refuse options that do not apply to these models.

    Raises:
        OptionError: an option has no effect on these models.
        UnsupportedModelError: a model is an exported one already.
    """
    for model in models:
        if model.spec.exported:
            raise UnsupportedModelError(f"{model.path} is an exported model already. Give the trained model.")
    if options.input_size and models[0].spec.row.on_crops:
        raise OptionError("input_size has no effect on a model that runs on crops: crop_size decides. Leave it out.")


def _pose_network(model: Trained, options: GraphOptions) -> PoseNetwork:
    from sleap_infer.runners.torch.pose_network import PoseNetwork, ReducedNetwork

    network: nn.Module = build_network(model.spec, find_model_files(model.path))
    if options.precision == "fp16":
        network = ReducedNetwork(network, full_heads=options.full_heads)
    return PoseNetwork(network, model.spec, model.settings, n_peaks=_capacity(model.spec, options))


def _capacity(spec: ModelSpec, options: GraphOptions) -> int:
    return options.max_instances if spec.row.capacity == "centroids" else options.max_peaks_per_node


def _input_form(models: Sequence[Trained], frames: ImageSettings, options: GraphOptions) -> Any:
    from sleap_infer.graphs.onnx_file import InputForm

    settings = models[0].settings
    inside = inside_of(models, options)
    stride = settings.images.pad_to_stride if inside == "network" else 1
    size = options.input_size
    if size is None and settings.crop_size and options.batch_size:
        size = (settings.crop_size, settings.crop_size)
    if size is not None and inside == "network":
        size = network_size(size, of_network(models[0]))
    return InputForm(stride, options.batch_size, size)


def network_size(size: tuple[int, int], images: ImageSettings) -> tuple[int, int]:
    """Return the height and width of the network's input for images of a size.

    >>> network_size((100, 50), ImageSettings(input_scaling=0.5, pad_to_stride=16))
    (64, 32)
    """
    stride = images.pad_to_stride
    sides = size if images.input_scaling == 1.0 else scaled_size(size, images)
    height, width = (-(-side // stride) * stride for side in sides)
    return height, width


def of_network(model: Trained) -> ImageSettings:
    """Return the preprocessing of one network's images; crops from scaled frames are not scaled again."""
    images = model.settings.images
    return attrs.evolve(images, input_scaling=1.0) if cuts_from_scaled(model.spec, images) else images


def _exported_spec(
    models: Sequence[Trained], frames: ImageSettings, options: GraphOptions, given: dict[str, Any]
) -> ModelSpec:
    """Return the facts of the graph; given preprocessing options outside of it become the model's own."""
    last, kind, inside = models[-1], graph_kind(models), inside_of(models, options)
    height, width = options.input_size or (frames.max_height, frames.max_width)
    images = last.settings.images
    is_scaled_before = len(models) == 1 and cuts_from_scaled(last.spec, images)
    preprocessing = attrs.evolve(
        last.spec.preprocessing,
        ensure_rgb=frames.ensure_rgb,
        ensure_grayscale=frames.ensure_grayscale,
        max_height=height,
        max_width=width,
        scale=images.input_scaling if inside == "network" or is_scaled_before else 1.0,
        crop_size=last.settings.crop_size,
    )
    thresholds = tuple(model.settings.peak_threshold for model in models)
    weights = [find_model_files(model.path).weights for model in models]
    facts = ExportFacts(
        sha256="",
        n_places=options.max_instances if KINDS[kind].is_fused else _capacity(last.spec, options),
        baked=baked_options(kind, last.settings, options, given) | _baked_scaling(inside, given),
        peak_threshold=thresholds if len(thresholds) > 1 else thresholds[0],
        precision="fp32" if options.precision in LOWERED else options.precision,
        kept=(HEADS,) if options.full_heads else (),
        inside=inside,
        layout=options.layout,
        batch_size=options.batch_size,
        input_size=options.input_size,
        max_batch_size=options.max_batch_size,
        opset=options.opset_version,
        given=given,
        source=";".join(str(path.resolve()) for path in weights),
        source_sha256=";".join(hash_file(path) for path in weights),
    )
    return attrs.evolve(
        last.spec,
        kind=kind,
        backbone=models[0].spec.backbone,
        preprocessing=preprocessing,
        anchor_part=models[0].spec.anchor_part if KINDS[kind].is_fused else last.spec.anchor_part,
        exported=facts,
        format="onnx",
    )


def _baked_scaling(inside: GraphInside, given: dict[str, Any]) -> dict[str, Any]:
    return {name: given.get(name) for name in BAKED_SCALING} if inside == "scaling" else {}


def baked_options(kind: str, settings: StageSettings, options: GraphOptions, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are fixed in the graph, by name."""
    baked = {name: getattr(settings.peaks, name) for name in BAKED_PEAKS}
    if KINDS[kind].finds_edges:
        baked |= {name: getattr(settings.grouping, name) for name in BAKED_LINES}
    if KINDS[kind].capacity == "peaks of each node":
        baked["max_peaks_per_node"] = options.max_peaks_per_node
    inside = (*BAKED_SCALING, *BAKED_FITTING) if options.inside == "fitting" else ()
    names = (*inside, *(BAKED_CROPS if KINDS[kind].is_fused else ()))
    baked |= {name: given.get(name) for name in names if not KINDS[kind].on_crops or name not in BAKED_FITTING[:2]}
    if options.input_size:
        baked |= {"max_height": options.input_size[0], "max_width": options.input_size[1]}
    return baked
