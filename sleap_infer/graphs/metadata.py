"""Write `export_metadata.json`: sleap-nn's fields for other programs, and all facts under our own key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from sleap_infer._version import __version__
from sleap_infer.choices import Precision
from sleap_infer.graphs.build import GRAPH_NAME
from sleap_infer.model import ModelSpec
from sleap_infer.model.readers.directory import METADATA_NAME
from sleap_infer.model.readers.exported import OUR_KEY, hash_file, metadata_inside
from sleap_infer.model.readers.exported_spec import spec_to_json

PUBLISHED_BATCH = 8
"""Largest batch stated for other programs if the graph takes any; the default of sleap-nn."""


def write_metadata(directory: Path, spec: ModelSpec) -> None:
    """Write the metadata of an exported model into its directory."""
    text = json.dumps({**published_fields(spec), OUR_KEY: spec_to_json(spec)}, indent=1)
    (directory / METADATA_NAME).write_text(text + "\n", encoding="utf-8")


def restate(
    directory: Path,
    spec: ModelSpec,
    precision: Precision,
    kept: Sequence[str] = (),
) -> ModelSpec:
    """Write the metadata of a graph, inside and beside it, after its precision was reduced.

    Args:
        directory: of the graph.
        spec: its previous facts.
        precision: of its networks.
        kept: blocks that stay in fp32.

    Returns:
        The new facts.
    """
    from sleap_infer.graphs.onnx_file import set_metadata

    graph = directory / GRAPH_NAME
    assert spec.exported is not None
    facts = attrs.evolve(spec.exported, precision=precision, kept=tuple(kept), sha256="")
    set_metadata(graph, metadata_inside(attrs.evolve(spec, exported=facts)))
    stated: ModelSpec = attrs.evolve(spec, exported=attrs.evolve(facts, sha256=hash_file(graph)))
    write_metadata(directory, stated)
    return stated


def published_fields(spec: ModelSpec) -> dict[str, Any]:
    """Return the fields of sleap-nn's exports (FORMAT: version 0.3.5), and a few of ours."""
    facts = spec.exported
    assert facts is not None
    crop = spec.preprocessing.crop_size
    return {
        "sleap_nn_version": spec.written_by,
        "export_timestamp": datetime.now(UTC).isoformat(),
        "export_format": "onnx",
        "model_type": spec.kind,
        "model_name": ";".join(Path(source).parent.name for source in facts.source.split(";")),
        "checkpoint_path": facts.source,
        "backbone": spec.backbone.kind,
        "n_nodes": spec.n_nodes,
        "n_edges": len(spec.paf_edges),
        "node_names": list(spec.skeleton.nodes),
        "edge_inds": [list(edge) for edge in spec.paf_edges],
        "input_scale": spec.preprocessing.scale,
        "input_channels": spec.backbone.in_channels,
        "output_stride": spec.map_head("ConfmapsHead").output_stride,
        "crop_size": [crop, crop] if crop else None,
        "max_instances": facts.n_places,
        "max_peaks_per_node": facts.n_places,
        "max_batch_size": facts.batch_size or facts.max_batch_size or PUBLISHED_BATCH,
        "precision": facts.precision,
        "peak_threshold": facts.peak_threshold,
        "input_dtype": "uint8",
        "normalization": "0_to_1",
        "n_classes": len(spec.classes),
        "class_names": list(spec.classes),
        "anchor_part": spec.anchor_part,
        "training_config_embedded": False,
        "symmetries": [list(pair) for pair in spec.skeleton.symmetries],
        "opset_version": facts.opset,
        "layout": facts.layout,
        "preprocessing_inside": facts.inside,
        "sleap_infer_version": __version__,
        "verdict": facts.verdict,
    }
