"""The measurements of the export check: differences of network outputs, and of poses."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from numpy.typing import NDArray


@frozen
class RawErrors:
    """One output of one graph, compared with its torch module.

    Attributes:
        model: kind of the graph.
        output: name of the output.
        n_values: number of compared values.
        max_abs: largest difference.
        mse: mean squared difference.
        cosine: cosine similarity.
        n_unequal: number of positions that are filled in only one of the two.
    """

    model: str
    output: str
    n_values: int
    max_abs: float
    mse: float
    cosine: float
    n_unequal: int

    @property
    def is_position(self) -> bool:
        """Return whether the values are in pixels."""
        return self.output in ("peaks", "centroids")


@frozen
class NodeErrors:
    """Distances of the points of one node in image pixels."""

    node: str
    n_points: int
    p50_px: float
    p95_px: float
    max_px: float
    lost: int
    gained: int


@frozen
class Worst:
    """Position of the largest distance.

    Attributes:
        frame: position among the compared frames.
        node: name of the node.
        px: the distance.
        where: (x, y) of the point in the source.
        image: (C, H, W) image of that frame.
        expected: (I, N, 2) poses of the source.
        found: (I, N, 2) poses of the export.
    """

    frame: int
    node: str
    px: float
    where: tuple[float, float]
    image: NDArray[Any] | None = field(default=None, repr=False, eq=False)
    expected: NDArray[Any] | None = field(default=None, repr=False, eq=False)
    found: NDArray[Any] | None = field(default=None, repr=False, eq=False)


@frozen
class PoseErrors:
    """Poses of an export compared with those of its source, instance by instance.

    Attributes:
        n_frames: number of compared frames.
        n_instances: number of instances of the source.
        nodes: errors of each node.
        n_points: number of points that both have.
        p50_px: median of their distances, in image pixels.
        p95_px: 95th percentile of the distances.
        cautious_px: upper limit of the 95th percentile; see `poses.compare.cautious_limit`.
        max_px: largest distance.
        lost: points that only the source has, in instances that both have.
        gained: points that only the export has, in instances that both have.
        instances_lost: instances that only the source has.
        instances_gained: instances that only the export has.
        oks: mean object keypoint similarity of the instances that both have; NaN for none.
        n_capped: frames that reach the capacity of the graph; these count for distances only.
        worst: the largest distance; `None` if no point was compared.
    """

    n_frames: int
    n_instances: int
    nodes: tuple[NodeErrors, ...]
    n_points: int
    p50_px: float
    p95_px: float
    cautious_px: float
    max_px: float
    lost: int
    gained: int
    instances_lost: int
    instances_gained: int
    oks: float
    n_capped: int
    worst: Worst | None

    @property
    def changed(self) -> float:
        """Return the fraction of points or instances, whichever is larger, that only one of the two has."""
        points = (self.lost + self.gained) / max(self.n_points, 1)
        instances = (self.instances_lost + self.instances_gained) / max(self.n_instances, 1)
        return max(points, instances)
