"""A spec as plain data, as it stands in the metadata of our exports, and back. All of it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import attrs

from sleap_infer.config.plain import read_value, unknown_names
from sleap_infer.model.conventions import Conventions
from sleap_infer.model.readers.heads import has_cycle
from sleap_infer.model.spec import (
    OFFSET_HEAD,
    ConvNextSpec,
    HeadSpec,
    MapHeadSpec,
    ModelSpec,
    SwinSpec,
    TrainedPreprocessing,
    UNetSpec,
    VectorHeadSpec,
)

BACKBONES: Mapping[str, type[Any]] = {spec.kind: spec for spec in (UNetSpec, ConvNextSpec, SwinSpec)}
BY_HAND = ("backbone", "heads", "path", "format")
ADDED = ("centroid_method", "centroid_fallback", "conventions")
"""Fields that older exports do not have."""


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Return a spec as plain data."""
    data = attrs.asdict(spec)
    del data["path"]
    data["backbone"]["kind"] = spec.backbone.kind
    return data


def spec_from_json(data: Any, path: Path) -> ModelSpec:
    """Return a spec from what `spec_to_json` made of it.

    Args:
        data: the plain data; names that are not known are left out, see `unknown_in`.
        path: where the model lies now.

    Raises:
        ValueError: it is something else, or contradicts itself; the message names the value.
    """
    if not isinstance(data, dict):
        raise ValueError(f"expected a mapping, found {data!r:.60}")
    backbone, heads = data.get("backbone"), data.get("heads")
    if not isinstance(backbone, dict) or not isinstance(kind := backbone.get("kind"), str) or kind not in BACKBONES:
        raise ValueError(
            f"backbone is {backbone!r:.60}, expected a mapping whose kind is one of {', '.join(BACKBONES)}"
        )
    if not isinstance(heads, (list, tuple)) or not heads:
        raise ValueError(f"heads is {heads!r:.60}, expected a list")
    fields, hints = attrs.fields_dict(ModelSpec), get_type_hints(ModelSpec)
    missing = [name for name in fields if name not in data and name not in (*BY_HAND, *ADDED)]
    if missing or data["exported"] is None:
        raise ValueError(f"{', '.join(missing) or 'exported'} is missing")
    _require_all(TrainedPreprocessing, data["preprocessing"], "preprocessing")
    _require_all(BACKBONES[kind], backbone, "backbone")
    if "conventions" in data:
        _require_all(Conventions, data["conventions"], "conventions")
    try:
        given = {
            name: read_value(hints[name], data[name], name) for name in fields if name in data and name not in BY_HAND
        }
        spec = ModelSpec(
            backbone=read_value(BACKBONES[kind], backbone, "backbone"),
            heads=tuple(_read_head(head, f"heads[{number}]") for number, head in enumerate(heads)),
            path=path,
            format="onnx",
            **given,
        )
    except (TypeError, OverflowError) as error:  # of a validator
        raise ValueError(str(error)) from error
    _check(spec)
    return spec


def unknown_in(data: Mapping[str, Any]) -> list[str]:
    """Return the names in the plain data of a spec that are not known here."""
    found = unknown_names(ModelSpec, {name: value for name, value in data.items() if name not in BY_HAND})
    backbone = {name: value for name, value in data["backbone"].items() if name != "kind"}
    found += unknown_names(BACKBONES[data["backbone"]["kind"]], backbone, "backbone")
    for number, head in enumerate(data["heads"]):
        found += unknown_names(_head_class(head), head, f"heads[{number}]")
    return found


def _head_class(head: Any) -> type[Any]:
    return MapHeadSpec if isinstance(head, dict) and "output_stride" in head else VectorHeadSpec


def _read_head(head: Any, where: str) -> HeadSpec:
    found: HeadSpec = read_value(_head_class(head), head, where)
    return found


def _require_all(kind: type[Any], data: Any, where: str) -> None:
    """Refuse a section that lacks a value: a default in its place would change the poses.

    Raises:
        ValueError: it lacks one.
    """
    missing = [name for name in attrs.fields_dict(kind) if isinstance(data, dict) and name not in data]
    if missing:
        raise ValueError(f"{where}.{missing[0]} is missing")


def _check(spec: ModelSpec) -> None:
    """Refuse a spec whose parts contradict each other.

    Raises:
        ValueError: they do.
    """
    n_nodes, n_edges = spec.n_nodes, len(spec.paf_edges)
    channels = {head.name: head.n_channels(n_nodes, n_edges, len(spec.classes)) for head in spec.row.heads}
    confmaps = spec.row.heads[0].name
    channels[OFFSET_HEAD] = 2 * channels[confmaps]
    found = {head.name: head.channels for head in spec.heads}
    if confmaps not in found:
        raise ValueError(f"heads are {', '.join(found)}: a {spec.kind} model needs {confmaps}")
    for name, number in found.items():
        if channels.get(name) != number or not number:
            raise ValueError(f"{name} has {number} channels, expected {channels.get(name, 'no such head')}")
    if len(set(spec.paf_edges)) < n_edges:
        raise ValueError(f"paf_edges {spec.paf_edges} name an edge twice")
    if any(not 0 <= node < n_nodes for edge in spec.paf_edges for node in edge) or has_cycle(spec.paf_edges):
        raise ValueError(f"paf_edges {spec.paf_edges} are no tree of {n_nodes} nodes")
    if spec.row.finds_edges and not n_edges:
        raise ValueError("paf_edges are missing")
    if spec.anchor_part is not None and spec.anchor_part not in spec.skeleton.nodes:
        raise ValueError(f"anchor_part {spec.anchor_part!r} is not a node of the skeleton")
