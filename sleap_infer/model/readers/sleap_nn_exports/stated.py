"""What the metadata of sleap-nn's own exports say, read with types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from attrs import field, frozen

from sleap_infer.choices import CentroidMethod, GraphKind, ModelKind
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import CHANNELS, POSITIVE

STAGES: Mapping[GraphKind, tuple[ModelKind, ...]] = {
    "topdown": ("centroid", "centered_instance"),
    "multi_class_topdown_combined": ("centroid", "multi_class_topdown"),
}
"""The models in graphs of two."""

GROUPED = ("bottomup", "multi_class_bottomup")


@frozen
class Stated:
    """What `export_metadata.json` says, as far as it is used here; positions and sizes in pixels."""

    kind: GraphKind
    channels: int = field(validator=CHANNELS)
    scale: float = field(validator=POSITIVE)
    """Of two models, that of the first."""
    stride: int = field(validator=POSITIVE)
    threshold: float
    places: int = field(validator=POSITIVE)
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
    def stages(self) -> tuple[ModelKind, ...]:
        """The kinds of the models in the graph, in the order in which they run."""
        return STAGES.get(self.kind) or tuple(kind for kind in get_args(ModelKind) if kind == self.kind)


def read_stated(section: Section) -> Stated:
    """Read the metadata.

    Raises:
        ModelConfigError, ValueError, TypeError: something is missing or malformed.
    """
    kind: GraphKind | None = next((k for k in _graph_kinds() if k == section.raw("model_type")), None)
    if kind is None:
        raise ValueError(f"model_type {section.raw('model_type')!r} is none of {', '.join(_graph_kinds())}")
    crop = section.list_of("crop_size", int) or (None,)
    if len(set(crop)) > 1:
        raise ValueError(f"crop_size {crop} is not a square")
    places = section.get("max_peaks_per_node" if kind in GROUPED else "max_instances", int)
    if places is None and (kind in (*GROUPED, *STAGES) or kind == "centroid"):
        raise ValueError("neither max_instances nor max_peaks_per_node says how many there is room for")
    method = section.get("centroid_method", str)
    return Stated(
        kind=kind,
        channels=_required(section, "input_channels", int),
        scale=_required(section, "input_scale", float),
        stride=_required(section, "output_stride", int),
        threshold=_required(section, "peak_threshold", float),
        places=1 if places is None else places,
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


def _graph_kinds() -> tuple[GraphKind, ...]:
    return (*get_args(ModelKind), *STAGES)


def _required(section: Section, key: str, kind: type[Any]) -> Any:
    value = section.get(key, kind)
    if value is None:
        raise ValueError(f"{key} is missing")
    return value
