"""Exported models: `export_metadata.json` of a graph, and its spec. No torch.

The file has the fields that sleap-nn writes, for other programs, and under `sleap_infer` all that is needed to run the
graph and to name what it finds. The same text travels inside the graph.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

from sleap_infer.errors import ExportedModelError, ModelError
from sleap_infer.model.readers.directory import METADATA_NAME, ModelFiles
from sleap_infer.model.readers.exported_spec import spec_from_json, spec_to_json, unknown_in
from sleap_infer.model.readers.known_settings import report
from sleap_infer.model.readers.sleap_nn_exports.metadata import is_sleap_nn, read_sleap_nn_export
from sleap_infer.model.readers.texts import explain, one_line, parse_json, read_text
from sleap_infer.model.spec import ModelSpec
from sleap_infer.system.digest import file_digest

OUR_KEY = "sleap_infer"
KERAS_ENDING = ".h5"
"""Of the weights of SLEAP models."""

logger = logging.getLogger(__name__)


def read_export_spec(files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read what an exported model is, and check that its graph is the one that was exported.

    Exports of sleap-nn, which have no such check, are read by `readers.sleap_nn_exports`.

    Args:
        files: of the export.
        ignore_unknown: whether settings that are not known here are only warned of.

    Raises:
        ExportedModelError: the graph was changed since, or has no metadata.
    """
    beside = files.config.name == METADATA_NAME
    metadata = _read_beside(files.config) if beside else _read_inside(files.weights)
    if OUR_KEY not in metadata:
        if is_sleap_nn(metadata):
            return read_sleap_nn_export(files, metadata, ignore_unknown)
        raise ExportedModelError(
            f"{files.weights}: its metadata are not sleap_infer's, nor sleap-nn's (keys: "
            f"{', '.join(sorted(metadata)[:6]) or 'none'}). Export the trained model again: sleap-infer export MODEL "
            "-o DIR."
        )
    _check_conventions(metadata[OUR_KEY], files)
    spec = _read_ours(files, _without_second_pass(metadata[OUR_KEY], files.directory), ignore_unknown)
    assert spec.exported is not None
    if beside and (found := hash_file(files.weights)) != spec.exported.sha256:
        raise ExportedModelError(
            f"{files.weights} is not the file that was exported: its SHA-256 is {found[:12]}..., not "
            f"{spec.exported.sha256[:12]}... It was damaged or replaced; copy the directory again, or export again."
        )
    return spec


def _read_ours(files: ModelFiles, data: Any, ignore_unknown: bool) -> ModelSpec:
    try:
        spec = spec_from_json(data, files.directory)
    except (ValueError, RecursionError) as error:
        raise ExportedModelError(
            f"{files.config}: malformed metadata ({one_line(error)}). Copy the directory again, or export again."
        ) from error
    report([f"{files.config}: {name!r} is not known" for name in unknown_in(data)], ignore_unknown)
    return spec


def _without_second_pass(data: Any, directory: Path) -> Any:
    """Return metadata without the margins of a second pass, which earlier versions exported with some models."""
    facts = data.get("exported") if isinstance(data, dict) else None
    if not isinstance(facts, dict) or "second_look" not in facts:
        return data
    if facts["second_look"]:
        _warn_of_second_pass(directory)
    return {**data, "exported": {name: value for name, value in facts.items() if name != "second_look"}}


@cache
def _warn_of_second_pass(directory: Path) -> None:
    """Warn once per process and export."""
    logger.warning(
        "%s was exported with a second pass at higher precision (second_look), which this version does not run: only "
        "the first graph is used, and poses near thresholds may differ. Export the model again, or use fp32.",
        directory,
    )


def metadata_inside(spec: ModelSpec) -> dict[str, str]:
    """Return the metadata that are stored inside a graph, so that it is complete without other files."""
    return {OUR_KEY: json.dumps(spec_to_json(spec))}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {explain(error)}.") from error


def _check_conventions(data: Any, files: ModelFiles) -> None:
    """Refuse exports of SLEAP models by versions that prepared their images as those of sleap-nn models."""
    facts = data.get("exported") if isinstance(data, dict) else None
    sources = str(facts.get("source", "")).split(";") if isinstance(facts, dict) else []
    if "conventions" not in data and any(source.endswith(KERAS_ENDING) for source in sources):
        raise ExportedModelError(
            f"{files.weights} was made from a SLEAP model ({', '.join(sources)}) by an older version of sleap-infer, "
            "which prepared images and placed points as sleap-nn does, not as SLEAP. Export the model again: "
            "sleap-infer export MODEL -o DIR."
        )


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
    from sleap_infer.model.onnx_graph import open_graph

    inside = open_graph(path).get_modelmeta().custom_metadata_map
    try:
        return {OUR_KEY: json.loads(inside[OUR_KEY])} if OUR_KEY in inside else dict(inside)
    except ValueError as error:
        raise ExportedModelError(f"{path}: the metadata inside are not readable: {error}.") from error
