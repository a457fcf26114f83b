"""Reads sleap-nn's `training_config.yaml`, old files and new, into a `ModelSpec`."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import attrs

from sleap_infer.config.kinds import model_kinds
from sleap_infer.errors import ModelConfigError, UnsupportedModelError
from sleap_infer.model.readers.backbone import read_backbone
from sleap_infer.model.readers.directory import ModelFiles
from sleap_infer.model.readers.heads import read_centring, read_classes, read_heads, read_paf_edges
from sleap_infer.model.readers.known_settings import check_sleap_nn
from sleap_infer.model.readers.section import Section
from sleap_infer.model.readers.texts import parse_yaml, read_text
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, TrainedPreprocessing


def read_yaml_spec(files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read the configuration of a sleap-nn model; what older files lack takes its default.

    Args:
        files: of the model.
        ignore_unknown: whether settings that are not known here are only warned of.

    Raises:
        ModelConfigError: the file is not YAML, lacks what a model needs, or contradicts itself.
        UnsupportedModelError: a kind of model, a backbone, a mode or a setting that is not run here.
    """
    return spec_from_text(read_text(files.config), str(files.config), files, ignore_unknown)


def spec_from_text(text: str, where: str, files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read the configuration of a sleap-nn model from its text.

    Args:
        text: YAML.
        where: what messages call it.
        files: of the model.
        ignore_unknown: as in `read_yaml_spec`.

    Raises:
        ModelConfigError, UnsupportedModelError: as in `read_yaml_spec`.
    """
    try:
        data = parse_yaml(text)
    except ValueError as error:
        raise ModelConfigError(f"{where} is not readable YAML: {error}. Copy it again from its source.") from error
    return spec_from_data(data, where, files, ignore_unknown)


def spec_from_data(data: object, where: str, files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read the configuration of a sleap-nn model from its data; arguments as in `spec_from_text`.

    Raises:
        ModelConfigError, UnsupportedModelError: as in `read_yaml_spec`.
    """
    root = Section(data, where)
    model, data_config = root.section("model_config"), root.section("data_config")
    kind, head = read_kind(model.section("head_configs"))
    _refuse_tiling(data_config.section("preprocessing"))
    skeleton = read_skeleton(data_config, head)
    backbone = read_backbone(model.section("backbone_config"))
    check_sleap_nn(root, kind, backbone.kind, ignore_unknown)
    return ModelSpec(
        kind=kind,
        skeleton=skeleton,
        backbone=backbone,
        heads=read_heads(kind, head, skeleton),
        preprocessing=_read_preprocessing(data_config.section("preprocessing")),
        paf_edges=read_paf_edges(kind, head, skeleton),
        classes=read_classes(kind, head),
        **attrs.asdict(read_centring(kind, head)),
        path=files.directory,
        format="sleap-nn",
        written_by=str(root.raw("sleap_nn_version") or ""),
    )


def read_kind(heads: Section) -> tuple[str, Section]:
    """Return the kind of model, which is the first head that is given, as in sleap-nn, and its section.

    Raises:
        ModelConfigError: no head is given.
        UnsupportedModelError: the head is of a kind that is not run here (segmentation, say).
    """
    given = next(iter(heads), None)
    for kind in model_kinds():
        if given == kind:
            return kind, heads.section(kind)
    if given is None:
        raise ModelConfigError(
            f"{heads.where}: no head is given, so there is no telling what this model finds. Give the configuration "
            "that training wrote."
        )
    raise UnsupportedModelError(
        f"{heads.where}: models of kind {given!r} are not run here (supported: {', '.join(model_kinds())}). "
        "Predict with sleap-nn itself."
    )


def read_skeleton(data_config: Section, head: Section) -> SkeletonSpec:
    """Read the first skeleton of the file, in the list form of today or the mapping form of early versions.

    A file without one gets a skeleton of the head's parts.

    Raises:
        ModelConfigError: the skeleton is malformed, or there is neither a skeleton nor parts.
    """
    where = f"{data_config.where}: skeletons"
    try:
        return _skeleton(data_config.raw("skeletons"), head.section("confmaps").list_of("part_names", str))
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise ModelConfigError(
            f"{where}: malformed skeleton ({type(error).__name__}: {error}). Expected a list of one mapping with "
            "`nodes` and `edges`, as training wrote it."
        ) from error


def _skeleton(skeletons: Any, parts: tuple[str, ...] | None) -> SkeletonSpec:
    if not skeletons:
        if not parts:
            raise ValueError("neither a skeleton nor part_names are given")
        return SkeletonSpec(nodes=parts)
    if isinstance(skeletons, Mapping):
        skeletons = [{"name": name, **skeleton} for name, skeleton in skeletons.items()]
    first = skeletons[0]
    if not first["nodes"]:
        raise ValueError("no nodes")
    return SkeletonSpec(
        nodes=tuple(_name(node) for node in first["nodes"]),
        edges=tuple((_name(edge["source"]), _name(edge["destination"])) for edge in first.get("edges") or ()),
        symmetries=tuple(_pair(pair) for pair in first.get("symmetries") or ()),
        name=str(first.get("name") or "Skeleton-0"),
    )


def _name(node: object) -> str:
    name = node["name"] if isinstance(node, Mapping) else node
    if not isinstance(name, str | int | float):
        raise TypeError(f"{reprlib.repr(name)} is not the name of a node")
    return str(name)


def _pair(symmetry: Any) -> tuple[str, str]:
    nodes = symmetry.get("nodes", list(symmetry.values())) if isinstance(symmetry, Mapping) else symmetry
    first, second = (_name(node) for node in nodes)
    return first, second


def _read_preprocessing(section: Section) -> TrainedPreprocessing:
    """Read how images are prepared; the first versions wrote the size of crops as `crop_hw: [height, width]`."""
    sides = section.list_of("crop_hw", int)
    if sides is None or "crop_size" in section:
        return section.read(TrainedPreprocessing)
    if len(set(sides)) != 1:
        raise UnsupportedModelError(f"{section.where}: crop_hw {list(sides)} is not a square, which is not run here.")
    return Section({**dict(section.items()), "crop_size": sides[0]}, section.where).read(TrainedPreprocessing)


def _refuse_tiling(preprocessing: Section) -> None:
    if preprocessing.section("tiling").get("enabled", bool):
        raise UnsupportedModelError(
            f"{preprocessing.where}: this model was trained on tiles (`tiling.enabled`), which is not run here. "
            "Predict with sleap-nn itself."
        )
