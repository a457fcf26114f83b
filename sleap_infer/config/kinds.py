"""The kinds of models: one row each. Everything that depends on the kind of a model reads its row.

To add a kind: a row in `KINDS` here, its mathematics in `ops.candidates.FINDERS`, its decoder in
`poses.postprocess.DECODERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import Factory, frozen

from sleap_infer.errors import OptionError

Channels: TypeAlias = Literal["one", "nodes", "edges", "classes"]
"""The items for which a head has one channel each (two for each edge)."""

Scope: TypeAlias = Literal[
    "frames",
    "crops",
    "known instances",
    "several",
    "points",
    "peaks per node",
    "connections",
    "class maps",
    "centroids",
]
"""A group of options that have an effect on some pipelines only; the rows name the groups, the options their group."""

Capacity: TypeAlias = Literal["", "centroids", "peaks of each node"]


@frozen
class Head:
    """A head of a kind of network.

    Attributes:
        section: of the head's settings in a model's configuration.
        name: prefix of its weights; in graphs, of its maps.
        channels: what it has one channel for.
        activation: `"read"` takes it from the configuration (`use_sigmoid_activation`).
        is_vector: whether it gives one vector per image instead of maps.
    """

    section: str
    name: str
    channels: Channels
    activation: Literal["none", "sigmoid", "read"] = "none"
    is_vector: bool = False

    def n_channels(self, n_nodes: int, n_edges: int = 0, n_classes: int = 0) -> int:
        """Return the number of channels for a skeleton and a number of classes."""
        return {"one": 1, "nodes": n_nodes, "edges": 2 * n_edges, "classes": n_classes}[self.channels]


@frozen(kw_only=True)
class Kind:
    """One kind of network, trained or exported, and what it means for everything around the network.

    Attributes:
        name: as in training configurations and in `export_metadata.json`.
        label: for people.
        arrays: of its candidates, in the published order, and the axes of each: B images, N nodes, K peaks per node,
            I instances, E edges, P pairs of peaks (K * K), C classes, 2 coordinates (x, y).
        finder: name of the function in `ops.candidates.FINDERS` that turns maps into candidates.
        decoder: name of the function in `poses.postprocess.DECODERS` that turns candidates into instances.
        heads: of the network, in the order of its weights; of two networks in one graph, those of the last.
        scopes: groups of options that have an effect.
        on_crops: whether the network looks at crops around instances, not at whole frames.
        stages: kinds of the networks in it, in the order in which they run, where there are several.
        pipeline: the kind that a pipeline of it has, where that differs.
        legacy_name: of its section in configurations of SLEAP up to 1.4; `""` if SLEAP does not have it.
    """

    name: str
    label: str
    arrays: Mapping[str, str]
    finder: str
    decoder: str
    heads: tuple[Head, ...]
    scopes: tuple[Scope, ...]
    on_crops: bool = False
    stages: tuple[str, ...] = Factory(lambda row: (row.name,), takes_self=True)
    pipeline: str = Factory(lambda row: row.name, takes_self=True)
    legacy_name: str = ""

    @property
    def is_fused(self) -> bool:
        """Return whether several networks are in one graph."""
        return len(self.stages) > 1

    @property
    def uses_crops(self) -> bool:
        """Return whether the last of its networks looks at crops."""
        return self.on_crops or KINDS[self.stages[-1]].on_crops

    @property
    def finds_points(self) -> bool:
        """Return whether it finds the points of instances, not only their centroids."""
        return "peaks" in self.arrays

    @property
    def finds_centroids(self) -> bool:
        """Return whether it finds the centroids of instances, alone or with their points."""
        return "centroids" in self.arrays

    @property
    def finds_edges(self) -> bool:
        """Return whether a head draws part affinity fields."""
        return any(head.channels == "edges" for head in self.heads)

    @property
    def capacity(self) -> Capacity:
        """The items for which its arrays have a limited number of positions."""
        axes = "".join(self.arrays.values())
        return "peaks of each node" if "K" in axes else "centroids" if "I" in axes else ""


_ONE = {"peaks": "BN2", "peak_vals": "BN"}
_LOCAL = {"peaks": "BNK2", "peak_vals": "BNK", "peak_mask": "BNK"}
_CENTROIDS = {"centroids": "BI2", "centroid_vals": "BI"}
_FUSED = {**_CENTROIDS, "peaks": "BIN2", "peak_vals": "BIN"}
_CENTERED = Head("confmaps", "CenteredInstanceConfmapsHead", "nodes", "read")
_MULTI = Head("confmaps", "MultiInstanceConfmapsHead", "nodes", "read")
_VECTORS = Head("class_vectors", "ClassVectorsHead", "classes", is_vector=True)

_ROWS = (
    Kind(
        name="single_instance",
        label="single instance",
        arrays=_ONE,
        finder="find_highest",
        decoder="decode_one",
        heads=(Head("confmaps", "SingleInstanceConfmapsHead", "nodes", "read"),),
        scopes=("frames", "points"),
        legacy_name="single_instance",
    ),
    Kind(
        name="centroid",
        label="centroids",
        arrays={**_CENTROIDS, "instance_valid": "BI"},
        finder="find_centroids",
        decoder="decode_centroids",
        heads=(Head("confmaps", "CentroidConfmapsHead", "one", "read"),),
        scopes=("frames", "several", "centroids"),
        legacy_name="centroid",
    ),
    Kind(
        name="centered_instance",
        label="centered instance",
        arrays=_ONE,
        finder="find_highest",
        decoder="decode_one",
        heads=(_CENTERED,),
        scopes=("crops", "known instances", "points"),
        on_crops=True,
        legacy_name="centered_instance",
    ),
    Kind(
        name="topdown",
        label="top-down",
        arrays={**_FUSED, "instance_valid": "BI"},
        finder="",
        decoder="decode_fused",
        heads=(_CENTERED,),
        scopes=("frames", "crops", "several", "points"),
        stages=("centroid", "centered_instance"),
    ),
    Kind(
        name="bottomup",
        label="bottom-up",
        arrays={**_LOCAL, "line_scores": "BEP", "candidate_mask": "BEP"},
        finder="find_connections",
        decoder="decode_bottomup",
        heads=(_MULTI, Head("pafs", "PartAffinityFieldsHead", "edges")),
        scopes=("frames", "several", "points", "peaks per node", "connections"),
        legacy_name="multi_instance",
    ),
    Kind(
        name="multi_class_bottomup",
        label="multi-class bottom-up",
        arrays={**_LOCAL, "class_probs": "BNKC"},
        finder="find_classes_of_peaks",
        decoder="decode_multi_class_bottomup",
        heads=(_MULTI, Head("class_maps", "ClassMapsHead", "classes", "sigmoid")),
        scopes=("frames", "several", "points", "peaks per node", "class maps"),
        legacy_name="multi_class_bottomup",
    ),
    Kind(
        name="multi_class_topdown",
        label="multi-class top-down",
        arrays={**_ONE, "class_probs": "BC"},
        finder="find_highest_and_class",
        decoder="decode_class_vector",
        heads=(_CENTERED, _VECTORS),
        scopes=("frames", "crops", "known instances", "several", "points"),
        on_crops=True,
        legacy_name="multi_class_topdown",
    ),
    Kind(
        name="multi_class_topdown_combined",
        label="multi-class top-down, both networks in one graph",
        arrays={**_FUSED, "class_probs": "BIC", "instance_valid": "BI"},
        finder="",
        decoder="decode_fused_classes",
        heads=(_CENTERED, _VECTORS),
        scopes=(),
        stages=("centroid", "multi_class_topdown"),
        pipeline="multi_class_topdown",
    ),
)

KINDS: dict[str, Kind] = {row.name: row for row in _ROWS}
"""Every kind by name."""


def register(kind: Kind) -> None:
    """Add a kind of model from outside the package.

    Raises:
        OptionError: there is a kind of this name already.
    """
    if kind.name in KINDS:
        raise OptionError(f"There is a kind of model {kind.name!r} already. Choose another name.")
    KINDS[kind.name] = kind


def model_kinds() -> tuple[str, ...]:
    """Return the kinds of single networks.

    >>> model_kinds()[:3]
    ('single_instance', 'centroid', 'centered_instance')
    """
    return tuple(name for name, row in KINDS.items() if not row.is_fused)


def pipeline_kinds(scope: Scope | None = None) -> tuple[str, ...]:
    """Return the kinds of pipelines, or those on which a group of options has an effect.

    >>> pipeline_kinds("connections")
    ('bottomup',)
    """
    return tuple(name for name, row in KINDS.items() if row.pipeline == name and (scope is None or scope in row.scopes))


def kind_of_stages(stages: tuple[str, ...]) -> Kind | None:
    """Return the row of a graph of these networks, in the order in which they run; `None` if they do not fit.

    >>> kind_of_stages(("centroid", "multi_class_topdown")).name
    'multi_class_topdown_combined'
    """
    return next((row for row in KINDS.values() if row.stages == stages), None)
