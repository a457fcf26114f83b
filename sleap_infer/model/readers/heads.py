"""Reads a head's section: which maps a model draws, of what, and how finely. Shared by every configuration format."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import get_args

from attrs import frozen

from sleap_infer.choices import CentroidMethod, ModelKind
from sleap_infer.errors import ModelConfigError, UnsupportedModelError
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import HeadSpec, MapHeadSpec, SkeletonSpec, VectorHeadSpec

CONFMAP_HEADS: Mapping[ModelKind, str] = {
    "single_instance": "SingleInstanceConfmapsHead",
    "centroid": "CentroidConfmapsHead",
    "centered_instance": "CenteredInstanceConfmapsHead",
    "bottomup": "MultiInstanceConfmapsHead",
    "multi_class_bottomup": "MultiInstanceConfmapsHead",
    "multi_class_topdown": "CenteredInstanceConfmapsHead",
}
"""The name of the confidence-map head of each kind of model, as its weights carry it."""

SECOND_SECTION: Mapping[ModelKind, str] = {
    "bottomup": "pafs",
    "multi_class_bottomup": "class_maps",
    "multi_class_topdown": "class_vectors",
}
"""The section that configures the second head of a kind of model that has two."""


ANCHOR = "anchor"
"""The method of a centroid that stands on the anchor node."""

ON_CROPS: tuple[ModelKind, ...] = ("centered_instance", "multi_class_topdown")


@frozen
class Centring:
    """Where crops of animals are centred whose points are known; see `ModelSpec`."""

    anchor_part: str | None = None
    centroid_method: CentroidMethod = "center_of_mass"
    centroid_fallback: CentroidMethod = "center_of_mass"


def read_centring(kind: ModelKind, head: Section) -> Centring:
    """Read where known instances are cropped, by the rules of sleap-nn 0.3.5 (measured from the outside).

    With `anchor_part`, centroids stand on that node, and where it is not visible on the centre that
    `centroid_fallback` names. Without, they stand on the centre that `centroid_method` names. Models that find
    centroids themselves need none of this.

    Raises:
        UnsupportedModelError: a method is not known.
        ModelConfigError: `anchor_part` and `centroid_method` contradict each other.
    """
    section = head.section("confmaps")
    anchor = section.get("anchor_part", str)
    method, fallback = (section.get(name, str) for name in ("centroid_method", "centroid_fallback"))
    known: tuple[CentroidMethod, ...] = get_args(CentroidMethod)
    for name, value, allowed in (("centroid_method", method, (*known, ANCHOR)), ("centroid_fallback", fallback, known)):
        if value is not None and value not in allowed:
            raise UnsupportedModelError(
                f"{section.where}: {name} {value!r} is not known here (known: {', '.join(allowed)}). Update "
                "sleap-infer, or predict with the program that trained the model."
            )
    if kind in ON_CROPS and method is not None and (method == ANCHOR) != (anchor is not None):
        raise ModelConfigError(
            f"{section.where}: centroid_method {method!r} contradicts anchor_part {anchor!r}. sleap-nn refuses it too: "
            "set centroid_method to null in the configuration, or anchor_part."
        )
    return Centring(
        anchor,
        next((name for name in known if name == method), "center_of_mass"),
        next((name for name in known if name == fallback), "center_of_mass"),
    )


def read_heads(kind: ModelKind, head: Section, skeleton: SkeletonSpec) -> tuple[HeadSpec, ...]:
    """The heads of a model in the order of its weights.

    Raises:
        ModelConfigError: a second head is missing, or names what the skeleton does not have.
    """
    confmaps = _read_confmaps(kind, head, skeleton)
    if kind not in SECOND_SECTION:
        return (confmaps,)
    name = SECOND_SECTION[kind]
    if name not in head:
        raise ModelConfigError(f"{head.where}: a {kind} model needs the section {name!r}.")
    section = head.section(name)
    if kind == "bottomup":
        n_edges = len(read_paf_edges(head, skeleton))
        return confmaps, section.read(MapHeadSpec, name="PartAffinityFieldsHead", channels=2 * n_edges, sigmoid=False)
    n_classes = len(read_classes(kind, head))
    if kind == "multi_class_bottomup":
        return confmaps, section.read(MapHeadSpec, name="ClassMapsHead", channels=n_classes, sigmoid=True)
    return confmaps, _read_class_vectors(section, n_classes)


def _read_confmaps(kind: ModelKind, head: Section, skeleton: SkeletonSpec) -> MapHeadSpec:
    section = head.section("confmaps")
    parts = section.list_of("part_names", str)
    if kind != "centroid" and parts is not None and len(parts) != len(skeleton.nodes):
        raise ModelConfigError(
            f"{section.where}: {len(parts)} part_names {parts}, but the skeleton has {len(skeleton.nodes)} nodes "
            f"{skeleton.nodes}. One of the two was edited."
        )
    return section.read(
        MapHeadSpec,
        name=CONFMAP_HEADS[kind],
        channels=1 if kind == "centroid" else len(skeleton.nodes),
        sigmoid=section.get("use_sigmoid_activation", bool) or False,
    )


def _read_class_vectors(section: Section, n_classes: int) -> VectorHeadSpec:
    if section.get("global_pool", bool) is False:
        raise UnsupportedModelError(
            f"{section.where}: class vectors without `global_pool` are not run here, nor by sleap-nn."
        )
    return section.read(VectorHeadSpec, name="ClassVectorsHead", channels=n_classes)


def read_paf_edges(head: Section, skeleton: SkeletonSpec) -> tuple[tuple[int, int], ...]:
    """Edges of the part affinity fields as (source, destination) node indices, in channel order.

    Raises:
        ModelConfigError: no edges at all, an edge names a part that is not there, or edges form a cycle.
    """
    section = head.section("pafs")
    parts, edges = skeleton.nodes, section.raw("edges")
    if edges is None:
        edges = skeleton.edges
    else:
        parts = head.section("confmaps").list_of("part_names", str) or parts
    if not edges:
        raise ModelConfigError(
            f"{section.where}: a bottom-up model needs at least one edge to join nodes by, found none. "
            "Give the configuration that training wrote."
        )
    if not isinstance(edges, list | tuple) or not all(_is_pair(edge, parts) for edge in edges):
        raise ModelConfigError(
            f"{section.where}: edges should be pairs of the parts {parts}, found {reprlib.repr(edges)}."
        )
    pairs = tuple((parts.index(source), parts.index(destination)) for source, destination in edges)
    if has_cycle(pairs):
        raise ModelConfigError(
            f"{section.where}: edges should form a tree, but {edges} go round in a cycle. "
            "sleap-nn cannot run them either."
        )
    return pairs


def has_cycle(pairs: Iterable[tuple[int, int]]) -> bool:
    """Return whether directed edges, (source, destination) each, go round in a cycle.

    >>> has_cycle([(0, 1), (1, 2)]), has_cycle([(0, 1), (1, 0)]), has_cycle([(0, 0)])
    (False, True, True)
    """
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for source, destination in pairs:
        sorter.add(destination, source)
    try:
        sorter.prepare()
    except CycleError:
        return True
    return False


def _is_pair(edge: object, parts: tuple[str, ...]) -> bool:
    return isinstance(edge, list | tuple) and len(edge) == 2 and all(name in parts for name in edge)


def read_classes(kind: ModelKind, head: Section) -> tuple[str, ...]:
    """Names of the identity classes in channel order; empty for kinds that have none.

    Raises:
        ModelConfigError: a model with classes does not name them.
    """
    if kind not in ("multi_class_bottomup", "multi_class_topdown"):
        return ()
    section = head.section(SECOND_SECTION[kind])
    classes = section.list_of("classes", str)
    if not classes or len(set(classes)) < len(classes):
        raise ModelConfigError(
            f"{section.where}: {kind} models need the names of their `classes`, each once; found {classes}. "
            "Give the configuration that training wrote."
        )
    return classes
