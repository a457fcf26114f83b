"""Reads models of SLEAP up to 1.4 (`training_config.json`, Keras `best_model.h5`) without TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sleap_infer.config.kinds import KINDS
from sleap_infer.errors import CheckpointError, ModelConfigError, UnsupportedModelError
from sleap_infer.model.conventions import SLEAP
from sleap_infer.model.readers.directory import ModelFiles
from sleap_infer.model.readers.h5_weights import Budget, child, open_weights, read_array
from sleap_infer.model.readers.heads import read_classes, read_heads, read_paf_edges
from sleap_infer.model.readers.known_settings import check_sleap
from sleap_infer.model.readers.section import Section
from sleap_infer.model.readers.texts import one_line, parse_json, read_text
from sleap_infer.model.spec import (
    OFFSET_HEAD,
    HeadSpec,
    MapHeadSpec,
    ModelSpec,
    SkeletonSpec,
    TrainedPreprocessing,
    UNetSpec,
)

PRECEDENCE = ("centroid", "centered_instance", "single_instance", "multi_instance")
"""Heads that SLEAP takes first, if a configuration has several."""

MISSING_STEM_STRIDE = 16
MISSING_FC = {"num_fc_layers": 2, "num_fc_units": 1024}
"""Defaults of SLEAP."""


def read_json_spec(files: ModelFiles, ignore_unknown: bool = False) -> ModelSpec:
    """Read the configuration of a SLEAP model; the number of input channels comes from its weights.

    Args:
        files: of the model.
        ignore_unknown: whether settings that are not known here are only warned of.

    Raises:
        ModelConfigError: the file is not JSON, lacks what a model needs, or contradicts itself.
        UnsupportedModelError: a kind of model, a backbone or a setting that is not run here.
    """
    try:
        root = Section(parse_json(read_text(files.config)), str(files.config))
    except ValueError as error:
        raise ModelConfigError(
            f"{files.config} is not readable JSON: {error}. Copy it again from its source."
        ) from error
    data, model = root.section("data"), root.section("model")
    kind, head = _read_head(model.section("heads"))
    skeleton = _read_skeleton(data.section("labels"), head)
    check_sleap(root, kind, head, ignore_unknown)
    weights = read_keras_weights(files.weights)
    return ModelSpec(
        kind=kind,
        skeleton=skeleton,
        backbone=_read_unet(model.section("backbone"), _in_channels(weights, files.weights)),
        heads=_with_offsets(read_heads(kind, head, skeleton), weights),
        preprocessing=_read_preprocessing(data),
        paf_edges=read_paf_edges(kind, head, skeleton),
        classes=read_classes(kind, head),
        anchor_part=_read_anchor(kind, data, head),
        centroid_method="bbox_center",
        centroid_fallback="bbox_center",
        path=files.directory,
        format="sleap",
        conventions=SLEAP,
        written_by=str(root.raw("sleap_version") or ""),
    )


def _with_offsets(heads: tuple[HeadSpec, ...], weights: Mapping[str, NDArray[np.float32]]) -> tuple[HeadSpec, ...]:
    """Heads, and that of offsets where the weights have it. As in SLEAP, the configuration does not decide that."""
    confmaps = heads[0]
    if f"{OFFSET_HEAD}.weight" not in weights or not isinstance(confmaps, MapHeadSpec):
        return heads
    return *heads, MapHeadSpec(OFFSET_HEAD, 2 * confmaps.channels, confmaps.output_stride)


def _read_head(heads: Section) -> tuple[str, Section]:
    kinds = {row.legacy_name: row for row in KINDS.values() if row.legacy_name}
    for name in sorted(kinds, key=lambda name: PRECEDENCE.index(name) if name in PRECEDENCE else len(PRECEDENCE)):
        if name not in heads:
            continue
        row, fields = kinds[name], dict(heads.section(name).items())
        if len(row.heads) == 1:  # the fields of the only head stand one level higher than in newer configurations
            fields = {"confmaps": fields}
        for head in row.heads:
            if head.is_vector:
                fields[head.section] = {**MISSING_FC, **dict(heads.section(name).section(head.section).items())}
        return row.name, Section(fields, f"{heads.where}: {name}")
    found = ", ".join(heads) or "none"
    raise ModelConfigError(f"{heads.where}: a head has to be given ({', '.join(kinds)}), found {found}.")


def _read_anchor(kind: str, data: Section, head: Section) -> str | None:
    """Return the node that crops of known instances are centred on: SLEAP reads it from `instance_cropping`.

    Where it is not visible, and without one, SLEAP takes the middle of the bounding box (`InstanceCentroidFinder`).
    """
    own = head.section("confmaps").get("anchor_part", str)
    if not KINDS[kind].on_crops:
        return own
    return data.section("instance_cropping").get("center_on_part", str) or own


def _read_unet(backbones: Section, in_channels: int) -> UNetSpec:
    if "unet" not in backbones:
        found = ", ".join(backbones) or "none"
        raise UnsupportedModelError(f"{backbones.where}: of SLEAP's backbones only unet is run here, found {found}.")
    section = backbones.section("unet")
    if section.get("middle_block", bool) is False or section.get("stacks", int) not in (None, 1):
        raise UnsupportedModelError(f"{section.where}: `middle_block: false` and several stacks are not run here.")
    known = {} if section.mentions("stem_stride") else {"stem_stride": MISSING_STEM_STRIDE}
    return section.read(UNetSpec, in_channels=in_channels, **known)


def _read_preprocessing(data: Section) -> TrainedPreprocessing:
    section = data.section("preprocessing")
    scale = section.get("input_scaling", float)
    size = section.get("target_height", int), section.get("target_width", int)
    is_fitted = section.get("resize_and_pad_to_target", bool) is not False and None not in size
    return section.read(
        TrainedPreprocessing,
        max_height=size[0] if is_fitted else None,
        max_width=size[1] if is_fitted else None,
        crop_size=data.section("instance_cropping").get("crop_size", int),
        **({} if scale is None else {"scale": scale}),
    )


def _read_skeleton(labels: Section, head: Section) -> SkeletonSpec:
    """Decode SLEAP's jsonpickled skeleton with sleap-io; fall back to the head's parts where there is none."""
    skeletons = labels.raw("skeletons")
    if not skeletons:
        parts = head.section("confmaps").list_of("part_names", str)
        if not parts:
            raise ModelConfigError(f"{labels.where}: neither a skeleton nor part_names are given.")
        return SkeletonSpec(nodes=parts)
    from sleap_io.io.skeleton import SkeletonDecoder

    try:
        decoded = SkeletonDecoder().decode(json.dumps(skeletons[0]))
        skeleton = decoded[0] if isinstance(decoded, list) else decoded
        return SkeletonSpec(
            nodes=tuple(skeleton.node_names),
            edges=tuple((edge.source.name, edge.destination.name) for edge in skeleton.edges),
            symmetries=tuple(_sorted_names(pair) for pair in skeleton.symmetries),
            name=skeleton.name or "Skeleton-0",
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelConfigError(f"{labels.where}: malformed skeleton ({type(error).__name__}: {error}).") from error


def _sorted_names(symmetry: Any) -> tuple[str, str]:
    first, second = sorted(node.name for node in symmetry.nodes)
    return first, second


def read_keras_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a Keras file as `"<layer>.weight"` and `"<layer>.bias"` in PyTorch's axis order.

    Kernels (height, width, in, out) become (out, in, height, width), dense matrices (in, out) become (out, in);
    the same permutation turns a transposed convolution's (height, width, out, in) into (in, out, height, width).
    Keras' suffix of heads (`CentroidConfmapsHead_0`) is dropped.

    Raises:
        CheckpointError: the file is not a readable HDF5 file with Keras weights.
    """
    try:
        with open_weights(path) as (group, budget):
            return dict(_iter_weights(group, budget))
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{path} cannot be read as Keras weights ({type(error).__name__}: {one_line(error)}). "
            "It may be truncated: copy it again from its source."
        ) from error


def _iter_weights(group: h5py.Group, budget: Budget) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for layer in group:
        if layer not in child(group, layer):
            continue
        name = re.sub(r"(Head)_\d+$", r"\1", layer)
        weights = child(group[layer], layer)
        if "kernel:0" in weights:
            yield f"{name}.weight", _to_torch_axes(read_array(weights, "kernel:0", budget))
        if "bias:0" in weights:
            yield f"{name}.bias", read_array(weights, "bias:0", budget)


def _to_torch_axes(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1), np.float32)


def _in_channels(weights: Mapping[str, NDArray[np.float32]], path: Path) -> int:
    for first in ("stem0_conv0.weight", "stack0_enc0_conv0.weight"):
        if first in weights:
            return int(weights[first].shape[1])
    raise CheckpointError(f"{path}: no first convolution (stem0_conv0 or stack0_enc0_conv0) among its weights.")
