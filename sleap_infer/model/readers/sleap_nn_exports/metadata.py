"""sleap-nn's own exports (`sleap-nn export`): their metadata, configurations and graphs as a spec. No torch.

Measured on exports of sleap-nn 0.3.5, as a black box. Their metadata leave out the size that a graph was traced with,
which decides what it makes of other sizes; it is read from the constants in the graph. Options that are in a graph but
in no metadata (the sampling of connections) count as sleap-nn's defaults, so that asking for others is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil
from typing import Any

import attrs
from attrs import frozen

from sleap_infer.choices import GraphInside
from sleap_infer.errors import ExportedModelError, ModelConfigError
from sleap_infer.model.readers.directory import ModelFiles
from sleap_infer.model.readers.known_settings import check_export
from sleap_infer.model.readers.section import Section
from sleap_infer.model.readers.sleap_nn import read_yaml_spec, spec_from_text
from sleap_infer.model.readers.sleap_nn_exports.onnx_constants import INSIDE_KEY, GraphFile, read_graph_file
from sleap_infer.model.readers.sleap_nn_exports.stated import Stated, read_stated
from sleap_infer.model.readers.texts import parse_json
from sleap_infer.model.spec import (
    ExportFacts,
    MapHeadSpec,
    ModelSpec,
    SkeletonSpec,
    TrainedPreprocessing,
    UNetSpec,
)

KNOWN_VERSION = "0.3.5"
"""Of sleap-nn, whose exports were measured."""

ASSUMED_LINES = {"n_points": 10, "max_edge_length_ratio": 0.25, "dist_penalty_weight": 1.0}
"""Sampling of connections: the defaults of `sleap-nn export`, whose metadata lack it."""

INSTEAD = "Or export the trained model: sleap-infer export MODEL -o DIR."

logger = logging.getLogger(__name__)


@frozen
class Feeding:
    """Preprocessing that a graph needs.

    Attributes:
        inside: how much of that is in the graph.
        size: the only (height, width) before scaling that it takes; `None` for any that is padded to its stride.
        scale: factor by which images are scaled before the graph.
        output_scale: factor from its positions to pixels of its input.
    """

    inside: GraphInside
    size: tuple[int, int] | None = None
    scale: float = 1.0
    output_scale: float = 1.0


def is_sleap_nn(metadata: Mapping[str, Any]) -> bool:
    """Return whether these are the metadata of an export that sleap-nn made.

    >>> is_sleap_nn({"model_type": "bottomup", "sleap_nn_version": "0.3.5"}), is_sleap_nn({"model_type": "bottomup"})
    (True, False)
    """
    by_hand = "model_type" in metadata and ("sleap_nn_version" in metadata or "export_format" in metadata)
    return INSIDE_KEY in metadata or (by_hand and "sleap_infer_version" not in metadata)


def read_sleap_nn_export(files: ModelFiles, metadata: Mapping[str, Any], ignore_unknown: bool = False) -> ModelSpec:
    """Read an export of sleap-nn, and warn once of its limitations.

    Args:
        files: of the export.
        metadata: from `export_metadata.json`, or from inside the graph.
        ignore_unknown: whether settings that are not known here are only warned of.

    Raises:
        ExportedModelError: something is damaged, missing, or contradicts something else.
        ModelError: a configuration beside the graph cannot be read.
    """
    try:
        if INSIDE_KEY in metadata:
            metadata = parse_json(metadata[INSIDE_KEY])
        section = Section(metadata, str(files.config))
        check_export(section, ignore_unknown)
        stated = read_stated(section)
    except (ModelConfigError, ValueError, TypeError, RecursionError) as error:
        raise ExportedModelError(f"{files.config}: malformed metadata ({error}). Copy the directory again.") from error
    graph = read_graph_file(files.weights)
    configs = _read_configs(files, stated, graph, ignore_unknown)
    try:
        spec = _build(files, stated, configs, graph)
    except (ValueError, TypeError, OverflowError) as error:
        raise ExportedModelError(f"{files.config}: malformed metadata ({error}). Copy the directory again.") from error
    logger.warning("%s", _caution(stated, configs, spec))
    return spec


def _read_configs(files: ModelFiles, stated: Stated, graph: GraphFile, ignore_unknown: bool) -> dict[str, ModelSpec]:
    """Return the models in the graph by kind, if their configuration is beside the graph or inside it."""
    found = {}
    inside = _texts_inside(files, stated, graph)
    for kind in stated.stages:
        beside = files.directory / _config_name(stated, kind)
        if files.config != files.weights and beside.is_file():
            found[kind] = read_yaml_spec(attrs.evolve(files, config=beside), ignore_unknown)
        elif kind in inside:
            where = f"{files.weights}, the configuration inside"
            found[kind] = spec_from_text(inside[kind], where, files, ignore_unknown)
        if kind in found and found[kind].kind != kind:
            raise ExportedModelError(
                f"{files.weights} holds a {kind} model, but its training configuration is of a {found[kind].kind} "
                f"model. Copy the directory again, with its own {beside.name}."
            )
    return found


def _texts_inside(files: ModelFiles, stated: Stated, graph: GraphFile) -> dict[str, str]:
    text = graph.properties.get("training_config")
    if not text:
        return {}
    if len(stated.stages) == 1:
        return {stated.kind: text}
    try:
        return {str(kind): str(part) for kind, part in parse_json(text).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ExportedModelError(f"{files.weights}: the configurations inside are no JSON ({error}).") from error


def _build(files: ModelFiles, stated: Stated, configs: Mapping[str, ModelSpec], graph: GraphFile) -> ModelSpec:
    known = configs.get(stated.stages[-1]) or _without_config(stated)
    _check_agree(files, stated, known, graph)
    feeding = _feeding(files, stated, configs.get(stated.stages[0]), graph)
    facts = ExportFacts(
        sha256=graph.sha256,
        n_places=stated.capacity,
        baked=_fixed_options(stated, feeding),
        inside=feeding.inside,
        input_size=feeding.size,
        source=stated.source,
        made_by="sleap-nn",
        output_scale=feeding.output_scale,
        peak_threshold=stated.threshold,
    )
    return attrs.evolve(
        known,
        kind=stated.kind,
        backbone=attrs.evolve(known.backbone, in_channels=stated.channels),
        preprocessing=_preprocessing(stated, known, feeding, graph),
        anchor_part=configs.get(stated.stages[0], known).anchor_part or stated.anchor,
        path=files.directory,
        format="onnx",
        written_by=stated.version,
        exported=facts,
    )


def _preprocessing(stated: Stated, known: ModelSpec, feeding: Feeding, graph: GraphFile) -> TrainedPreprocessing:
    crop = stated.crop or graph.crop_side or known.preprocessing.crop_size
    images = attrs.evolve(
        known.preprocessing,
        ensure_rgb=stated.channels == 3,
        ensure_grayscale=stated.channels == 1,
        scale=feeding.scale,
        crop_size=crop if stated.ends_on_crops else None,
    )
    if feeding.size is None:
        return images
    if stated.row.on_crops:
        return attrs.evolve(images, crop_size=feeding.size[0])
    if stated.row.is_fused and crop is None:
        raise ValueError("crop_size is missing")
    return attrs.evolve(images, max_height=feeding.size[0], max_width=feeding.size[1])


def _without_config(stated: Stated) -> ModelSpec:
    """Build a spec from the metadata alone; of the backbone, only the channels are known."""
    kind, stride, confmaps = stated.stages[-1], stated.stride, stated.row.heads[0]
    return ModelSpec(
        kind=kind,
        skeleton=SkeletonSpec(nodes=stated.nodes),
        backbone=UNetSpec(in_channels=stated.channels, output_stride=stride, max_stride=max(16, stride)),
        heads=(MapHeadSpec(confmaps.name, confmaps.n_channels(len(stated.nodes)), stride),),
        preprocessing=TrainedPreprocessing(
            crop_size=stated.crop, max_height=stated.largest[0], max_width=stated.largest[1]
        ),
        centroid_method=stated.centring,
        centroid_fallback=stated.centring,
        paf_edges=stated.edges,
        classes=stated.classes,
    )


def _check_agree(files: ModelFiles, stated: Stated, known: ModelSpec, graph: GraphFile) -> None:
    """Compare metadata, configuration and graph, which may have been mixed up in copying."""
    pairs: list[tuple[str, Any, Any]] = [
        ("nodes", stated.nodes, known.skeleton.nodes),
        ("classes", stated.classes, known.classes),
        ("edges", stated.edges, known.paf_edges),
        ("crop_size", stated.crop, graph.crop_side),
        ("max_height", stated.largest[0], known.preprocessing.max_height),
        ("max_width", stated.largest[1], known.preprocessing.max_width),
        ("training_config_hash", stated.config_hash, graph.config_hash()),
    ]
    for name, given, found in pairs:
        if given and found and given != found:
            raise ExportedModelError(
                f"{files.config}: the metadata have {name} {given}, but the training configuration, or the graph, has "
                f"{found}: they are not of the same export. Copy the directory again. {INSTEAD}"
            )
    if stated.scale == 1.0 and graph.input_size:
        raise ExportedModelError(
            f"{files.config}: the metadata have input_scale 1, but the graph scales its images to {graph.input_size}: "
            f"they are not of the same export. Copy the directory again. {INSTEAD}"
        )
    if not known.skeleton.nodes:
        raise ExportedModelError(f"{files.config}: nothing names the nodes. {_copy_hint(stated)}")
    ends = [node for edge in known.paf_edges for node in edge]
    if stated.row.finds_edges and not (ends and 0 <= min(ends) <= max(ends) < len(known.skeleton.nodes)):
        raise ExportedModelError(
            f"{files.config}: no edges that join its nodes: {known.paf_edges}. {_copy_hint(stated)}"
        )


def _feeding(files: ModelFiles, stated: Stated, config: ModelSpec | None, graph: GraphFile) -> Feeding:
    """Return the preprocessing with which a graph gives the results of its model.

    A graph of a scaled model resizes whatever it gets to one size, without antialiasing. It is fed that size, made by
    our own preprocessing, so that its resizing does nothing; a size that our padding would change is fitted directly.
    Two models in one graph crop rightly in frames of one size only.
    """
    if stated.row.is_fused:
        return Feeding("scaling", _known_size(files, graph.cropped_size))
    on_crops = stated.row.on_crops
    if stated.scale == 1.0:
        if config is not None:
            return Feeding("network")
        if on_crops and stated.crop:
            return Feeding("scaling", (stated.crop, stated.crop))
        raise ExportedModelError(f"{files.config}: the stride of the network is unknown. {_copy_hint(stated)}")
    fixed = _known_size(files, graph.input_size)
    images = config.preprocessing if config else TrainedPreprocessing()
    height, width = (stated.crop, stated.crop) if on_crops else (images.max_height, images.max_width)
    size = _unscaled(fixed, stated.scale)
    if height and width and (int(height * stated.scale), int(width * stated.scale)) == fixed:
        size = height, width
    factor = 1.0 if stated.row.finds_edges else stated.scale
    if config is not None and all(side % config.max_stride == 0 for side in fixed):
        return Feeding("network", size, stated.scale, factor)
    return Feeding("scaling", size) if on_crops else Feeding("scaling", fixed, output_scale=factor)


def _known_size(files: ModelFiles, size: tuple[int, int] | None) -> tuple[int, int]:
    if size is None:
        raise ExportedModelError(
            f"{files.weights} does not say what size of images it was made for, as graphs of sleap-nn {KNOWN_VERSION} "
            f"do, or it is not the graph of these metadata. Copy the directory again. {INSTEAD}"
        )
    return size


def _copy_hint(stated: Stated) -> str:
    names = " and ".join(_config_name(stated, kind) for kind in stated.stages)
    return f"Copy {names} of the export beside it. {INSTEAD}"


def _config_name(stated: Stated, kind: str) -> str:
    return f"training_config_{kind}.yaml" if len(stated.stages) > 1 else "training_config.yaml"


def _unscaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the smallest (height, width) that scaling turns into this size.

    >>> _unscaled((160, 33), 0.3), int(534 * 0.3), int(110 * 0.3)
    ((534, 110), 160, 33)
    """
    height, width = (side + (int(side * scale) < wanted) for wanted in size for side in [ceil(wanted / scale)])
    return height, width


def _fixed_options(stated: Stated, feeding: Feeding) -> dict[str, Any]:
    """Options that no run can change, with the values that they have; `None` is "as it was exported"."""
    fixed: dict[str, Any] = {"refinement": "none", "peak_threshold": stated.threshold}
    if stated.row.finds_edges:
        fixed |= ASSUMED_LINES
    if stated.row.capacity == "peaks of each node":
        fixed |= {"max_peaks_per_node": stated.capacity}
    if not stated.row.on_crops:
        fixed |= {"ensure_rgb": stated.channels == 3, "ensure_grayscale": stated.channels == 1}
    if feeding.size is None:
        return fixed
    fixed |= {"input_scaling": None, "pad_to_stride": None}
    if stated.ends_on_crops:
        fixed |= {"crop_size": None}
    if not stated.row.on_crops:
        fixed |= {"max_height": feeding.size[0], "max_width": feeding.size[1]}
    return fixed


def _caution(stated: Stated, configs: Mapping[str, ModelSpec], spec: ModelSpec) -> str:
    """Return a warning about the accuracy of such an export."""
    scale = stated.scale
    if stated.row.is_fused:
        last = configs.get(stated.stages[-1])
        scale = last.preprocessing.scale if last else 1.0
    grid_px = stated.stride / scale
    version = stated.version or "of unknown version"
    doubt = "" if version == KNOWN_VERSION else f", and read as those of {KNOWN_VERSION} are"
    return (
        f"{spec.path} was exported by sleap-nn {version}{doubt}: its peaks lie on a grid of {grid_px:g} px without "
        f"refinement, so points are up to {grid_px / 2**0.5:.1f} px off. Better export the trained model: sleap-infer "
        "export MODEL -o DIR"
    )
