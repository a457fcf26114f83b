"""The metadata of sleap-nn's own exports, read with types."""

from __future__ import annotations

from typing import Any, get_args

from attrs import field, frozen

from sleap_infer.choices import CentroidMethod
from sleap_infer.config.kinds import KINDS, Kind
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import CHANNELS, POSITIVE


@frozen
class Stated:
    """The used part of `export_metadata.json`; positions and sizes in pixels."""

    kind: str
    channels: int = field(validator=CHANNELS)
    scale: float = field(validator=POSITIVE)
    """Of two models, that of the first."""
    stride: int = field(validator=POSITIVE)
    threshold: float
    capacity: int = field(validator=POSITIVE)
    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    crop: int | None
    largest: tuple[int | None, int | None]
    """(height, width) that frames are fitted into."""
    anchor: str | None
    centring: CentroidMethod
    version: str
    source: str
    config_hash: str

    @property
    def row(self) -> Kind:
        """The row of its kind."""
        return KINDS[self.kind]

    @property
    def stages(self) -> tuple[str, ...]:
        """The kinds of the models in the graph, in the order in which they run."""
        return self.row.stages

    @property
    def ends_on_crops(self) -> bool:
        """Return whether the last of these models looks at crops."""
        return self.row.uses_crops


def read_stated(section: Section) -> Stated:
    """Read the metadata.

    Raises:
        ModelConfigError, ValueError, TypeError: something is missing or malformed.
    """
    kind = section.raw("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"model_type {kind!r} is none of {', '.join(KINDS)}")
    row = KINDS[kind]
    crop = section.list_of("crop_size", int) or (None,)
    if len(set(crop)) > 1:
        raise ValueError(f"crop_size {crop} is not a square")
    capacity = section.get("max_peaks_per_node" if row.capacity == "peaks of each node" else "max_instances", int)
    if capacity is None and row.capacity:
        raise ValueError("max_instances and max_peaks_per_node are missing")
    method = section.get("centroid_method", str)
    return Stated(
        kind=kind,
        channels=_required(section, "input_channels", int),
        scale=_required(section, "input_scale", float),
        stride=_required(section, "output_stride", int),
        threshold=_required(section, "peak_threshold", float),
        capacity=1 if capacity is None else capacity,
        nodes=section.list_of("node_names", str) or (),
        edges=tuple(
            (int(source), int(destination)) for source, destination in section.list_of("edge_inds", list) or ()
        ),
        classes=section.list_of("class_names", str) or (),
        crop=crop[0],
        largest=(section.get("max_height", int), section.get("max_width", int)),
        anchor=section.get("anchor_part", str),
        centring=next((name for name in get_args(CentroidMethod) if name == method), "center_of_mass"),
        version=str(section.raw("sleap_nn_version") or ""),
        source=section.get("checkpoint_path", str) or "",
        config_hash=section.get("training_config_hash", str) or "",
    )


def _required(section: Section, key: str, kind: type[Any]) -> Any:
    value = section.get(key, kind)
    if value is None:
        raise ValueError(f"{key} is missing")
    return value
