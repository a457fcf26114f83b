"""Exported models: what `export_metadata.json` says of a graph, and the spec that comes of it. No torch.

The file has the fields that sleap-nn writes, for other programs, and under `sleap_infer` all that is needed to run the
graph and to name what it finds. The same text travels inside the graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from sleap_infer.errors import ExportedModelError, ModelError
from sleap_infer.model.directory import METADATA_NAME, ModelFiles
from sleap_infer.model.foreign import is_sleap_nn, read_foreign_spec
from sleap_infer.model.reading import explain, parse_json, read_text
from sleap_infer.model.spec import (
    BackboneSpec,
    ConvNextSpec,
    ExportFacts,
    HeadSpec,
    MapHeadSpec,
    ModelSpec,
    SkeletonSpec,
    SwinSpec,
    TrainedPreprocessing,
    UNetSpec,
    VectorHeadSpec,
)

OUR_KEY = "sleap_infer"
BACKBONES: Mapping[str, type[Any]] = {spec.kind: spec for spec in (UNetSpec, ConvNextSpec, SwinSpec)}


def read_export_spec(files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read what an exported model is, and check that its graph is the one that was exported.

    Exports of sleap-nn, which have no such check, are read by `model.foreign`.

    Args:
        files: of the export.
        ignore_unknown: whether settings that are not known here are only warned of.

    Raises:
        ExportedModelError: the graph was changed since, or nothing says what it is.
    """
    beside = files.config.name == METADATA_NAME
    metadata = _read_beside(files.config) if beside else _read_inside(files.weights)
    if OUR_KEY not in metadata:
        if is_sleap_nn(metadata):
            return read_foreign_spec(files, metadata, ignore_unknown)
        raise ExportedModelError(
            f"{files.weights}: its metadata are not sleap_infer's, nor sleap-nn's (keys: "
            f"{', '.join(sorted(metadata)[:6]) or 'none'}). Export the trained model again: sleap-infer export MODEL "
            "-o DIR."
        )
    try:
        spec = spec_from_json(metadata[OUR_KEY], files.directory)
    except (KeyError, TypeError, ValueError) as error:
        raise ExportedModelError(f"{files.config}: malformed metadata ({type(error).__name__}: {error}).") from error
    assert spec.exported is not None
    if beside and (found := hash_file(files.weights)) != spec.exported.sha256:
        raise ExportedModelError(
            f"{files.weights} is not the file that was exported: its SHA-256 is {found[:12]}..., not "
            f"{spec.exported.sha256[:12]}... It was damaged or replaced; copy the directory again, or export again."
        )
    return spec


def metadata_inside(spec: ModelSpec) -> dict[str, str]:
    """What travels inside a graph, so that it is enough by itself."""
    return {OUR_KEY: json.dumps(spec_to_json(spec))}


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """A spec as plain data."""
    data = attrs.asdict(spec)
    del data["path"]
    data["backbone"]["kind"] = spec.backbone.kind
    return data


def spec_from_json(data: Mapping[str, Any], path: Path) -> ModelSpec:
    """A spec from what `spec_to_json` made of it; `path` is where it lies now.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    backbone: BackboneSpec = BACKBONES[data["backbone"]["kind"]](
        **{name: _frozen(value) for name, value in data["backbone"].items() if name != "kind"}
    )
    return ModelSpec(
        kind=data["kind"],
        skeleton=SkeletonSpec(**{name: _frozen(value) for name, value in data["skeleton"].items()}),
        backbone=backbone,
        heads=tuple(_head(head) for head in data["heads"]),
        preprocessing=TrainedPreprocessing(**data["preprocessing"]),
        paf_edges=_frozen(data["paf_edges"]),
        classes=_frozen(data["classes"]),
        anchor_part=data["anchor_part"],
        path=path,
        format="onnx",
        written_by=data["written_by"],
        exported=ExportFacts(**{name: _frozen(value) for name, value in data["exported"].items()}),
    )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {explain(error)}.") from error


def _read_beside(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(read_text(path, ExportedModelError))
    except ValueError as error:
        raise ExportedModelError(f"{path} is not readable JSON: {error}. Export the model again.") from error
    if not isinstance(data, dict):
        raise ExportedModelError(f"{path}: expected a mapping, found {type(data).__name__}. Export the model again.")
    return data


def _read_inside(path: Path) -> dict[str, Any]:
    """Metadata that travel inside a graph, which onnxruntime has to open for it."""
    from sleap_infer.model.graph import open_graph

    inside = open_graph(path).get_modelmeta().custom_metadata_map
    try:
        return {OUR_KEY: json.loads(inside[OUR_KEY])} if OUR_KEY in inside else dict(inside)
    except ValueError as error:
        raise ExportedModelError(f"{path}: the metadata inside are not readable: {error}.") from error


def _head(data: Mapping[str, Any]) -> HeadSpec:
    return MapHeadSpec(**data) if "output_stride" in data else VectorHeadSpec(**data)


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
