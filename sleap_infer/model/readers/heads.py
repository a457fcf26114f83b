"""Read the heads' sections of configurations, for every format: maps, channels and strides."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import get_args

from attrs import frozen

from sleap_infer.choices import CentroidMethod
from sleap_infer.config.kinds import KINDS, Head
from sleap_infer.errors import ModelConfigError, UnsupportedModelError
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import HeadSpec, MapHeadSpec, SkeletonSpec, VectorHeadSpec

ANCHOR = "anchor"
"""The method of a centroid that stands on the anchor node."""


@frozen
class Centring:
    """Centres of the crops around known instances; see `ModelSpec`."""

    anchor_part: str | None = None
    centroid_method: CentroidMethod = "center_of_mass"
    centroid_fallback: CentroidMethod = "center_of_mass"


def read_centring(kind: str, head: Section) -> Centring:
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
    if KINDS[kind].on_crops and method is not None and (method == ANCHOR) != (anchor is not None):
        raise ModelConfigError(
            f"{section.where}: centroid_method {method!r} contradicts anchor_part {anchor!r}. sleap-nn refuses it too: "
            "set centroid_method to null in the configuration, or anchor_part."
        )
    return Centring(
        anchor,
        next((name for name in known if name == method), "center_of_mass"),
        next((name for name in known if name == fallback), "center_of_mass"),
    )


def read_heads(kind: str, head: Section, skeleton: SkeletonSpec) -> tuple[HeadSpec, ...]:
    """Return the heads of a model in the order of its weights.

    Raises:
        ModelConfigError: a second head is missing, or names what the skeleton does not have.
    """
    parts = head.section("confmaps").list_of("part_names", str)
    if KINDS[kind].finds_points and parts is not None and len(parts) != len(skeleton.nodes):
        raise ModelConfigError(
            f"{head.section('confmaps').where}: {len(parts)} part_names {parts}, but the skeleton has "
            f"{len(skeleton.nodes)} nodes {skeleton.nodes}. One of the two was edited."
        )
    for row in KINDS[kind].heads[1:]:
        if row.section not in head:
            raise ModelConfigError(f"{head.where}: a {kind} model needs the section {row.section!r}.")
    sizes = len(skeleton.nodes), len(read_paf_edges(kind, head, skeleton)), len(read_classes(kind, head))
    return tuple(_read_head(row, head.section(row.section), row.n_channels(*sizes)) for row in KINDS[kind].heads)


def _read_head(row: Head, section: Section, channels: int) -> HeadSpec:
    if not row.is_vector:
        reads = row.activation == "read"
        sigmoid = bool(section.get("use_sigmoid_activation", bool)) if reads else row.activation == "sigmoid"
        return section.read(MapHeadSpec, name=row.name, channels=channels, sigmoid=sigmoid)
    if section.get("global_pool", bool) is False:
        raise UnsupportedModelError(
            f"{section.where}: class vectors without `global_pool` are not run here, nor by sleap-nn."
        )
    return section.read(VectorHeadSpec, name=row.name, channels=channels)


def read_paf_edges(kind: str, head: Section, skeleton: SkeletonSpec) -> tuple[tuple[int, int], ...]:
    """Return the edges of the part affinity fields as (source, destination) node indices, in channel order.

    Empty for kinds of models without them.

    Raises:
        ModelConfigError: no edges at all, an edge names a part that is not there, or edges form a cycle.
    """
    name = next((row.section for row in KINDS[kind].heads if row.channels == "edges"), None)
    if name is None:
        return ()
    section = head.section(name)
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


def read_classes(kind: str, head: Section) -> tuple[str, ...]:
    """Return the names of the identity classes in channel order; empty for kinds that have none.

    Raises:
        ModelConfigError: a model with classes does not name them.
    """
    name = next((row.section for row in KINDS[kind].heads if row.channels == "classes"), None)
    if name is None:
        return ()
    section = head.section(name)
    classes = section.list_of("classes", str)
    if not classes or len(set(classes)) < len(classes):
        raise ModelConfigError(
            f"{section.where}: {kind} models need the names of their `classes`, each once; found {classes}. "
            "Give the configuration that training wrote."
        )
    return classes
