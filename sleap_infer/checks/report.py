"""The report of the export check, and its limits."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs
import cv2
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.system.printable import printable

Verdict: TypeAlias = Literal["PASS", "WARN", "FAIL"]

EXCELLENT, GOOD = 1e-5, 1e-4
"""Largest difference of raw values that is excellent, and good."""

LEAST_COSINE = 0.9999
"""Smallest cosine similarity of raw values."""

RING_PX, RING_COLOUR = 8.0, (255, 214, 0)


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

    @property
    def grade(self) -> str:
        """Return the grade: excellent, good or poor."""
        if self.is_position:
            return "good" if self.max_abs <= MAX_ERROR_PX else "poor"
        return "excellent" if self.max_abs < EXCELLENT else "good" if self.max_abs < GOOD else "poor"


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


@frozen
class Report:
    """Comparison of an export with its source.

    Attributes:
        frames: name of the frames.
        are_real: whether poses on them are meaningful; on generated images only raw values are judged.
        backend: that ran the export.
        precision: of the export.
        budget_px: largest distance: of all points in fp32, else of 95 % of them.
        raw: of each output of each graph.
        poses: of the whole pipeline.
    """

    frames: str
    are_real: bool
    backend: str
    precision: Precision
    budget_px: float
    raw: tuple[RawErrors, ...]
    poses: PoseErrors

    @property
    def raw_verdict(self) -> Verdict:
        """Return the result for raw values. In lower precision it is at most a warning, because poses decide."""
        if self.precision == "fp32":
            bad = any(row.grade == "poor" or row.n_unequal for row in self.raw)
            return "FAIL" if bad else "PASS"
        return "PASS" if all(row.cosine >= LEAST_COSINE and not row.n_unequal for row in self.raw) else "WARN"

    @property
    def pose_verdict(self) -> Verdict:
        """Return the result for poses; a warning if there were none."""
        poses = self.poses
        if not self.are_real:
            return "WARN"
        if self.precision == "fp32":
            fails = poses.max_px > self.budget_px or poses.changed > 0
        else:
            fails = poses.p95_px > self.budget_px or poses.changed > MAX_CHANGED
        if fails:
            return "FAIL"
        return "WARN" if poses.n_points == 0 or poses.n_capped or poses.changed > 0 else "PASS"

    @property
    def verdict(self) -> Verdict:
        """Return the worse of both; in lower precision that of the poses, if they are real."""
        verdicts = {self.raw_verdict, self.pose_verdict}
        if "FAIL" in verdicts:
            return "FAIL"
        if self.precision != "fp32" and self.are_real:
            return self.pose_verdict
        return "WARN" if "WARN" in verdicts else "PASS"

    def line(self) -> str:
        """Return a one-line summary for people."""
        poses, worst = self.poses, self.poses.worst
        values = [row.max_abs for row in self.raw if not row.is_position]
        raw = f"; raw values within {max(values):.1g}" if values else ""
        where = f" ({printable(worst.node)}, frame {worst.frame})" if worst else ""
        full = f"; {poses.n_capped} frames reach the capacity" if poses.n_capped else ""
        kind = "" if self.are_real else ", on which only raw values are judged"
        return (
            f"{self.verdict}: {poses.n_frames} frames ({printable(self.frames)}){kind}; {poses.n_points} points, "
            f"median {poses.p50_px:.2g} px, 95 % within {poses.p95_px:.2g} px, worst {poses.max_px:.2g} px{where}; "
            f"points missed {poses.lost}, added {poses.gained}; instances missed {poses.instances_lost}, added "
            f"{poses.instances_gained}; OKS {poses.oks:.4f}{raw}{full}"
        )

    def __str__(self) -> str:
        """Return tables of all figures."""
        lines = [self.line(), "", f"raw, {self.backend} against torch: {self.raw_verdict}"]
        lines += [
            f"  {printable(f'{row.model} {row.output}'):<36} max {row.max_abs:.1e}  MSE {row.mse:.1e}  "
            f"cosine {row.cosine:.6f}  {row.grade}" + (f", {row.n_unequal} positions unequal" if row.n_unequal else "")
            for row in self.raw
        ]
        lines += [
            "",
            f"poses: {self.pose_verdict}",
            "  node              points   median px     95 % px      max px  missed",
        ]
        lines += [
            f"  {printable(row.node):<16}{row.n_points:>8}{row.p50_px:>12.4f}{row.p95_px:>12.4f}{row.max_px:>12.4f}"
            f"{row.lost:>8}" + (f", {row.gained} added" if row.gained else "")
            for row in self.poses.nodes
        ]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain data for JSON."""
        data = attrs.asdict(self, filter=lambda item, _value: item.name not in ("image", "expected", "found"))
        verdicts = {"verdict": self.verdict, "raw_verdict": self.raw_verdict, "pose_verdict": self.pose_verdict}
        return {**verdicts, **_finite(data)}

    def draw(self, scale: float = 2.0) -> NDArray[np.uint8] | None:
        """Draw the frame with the largest distance in a ring: poses of the source blue, of the export violet.

        Returns:
            (H, W, 3) RGB, uint8; `None` if no point was compared.
        """
        from sleap_infer.render.frame import draw_poses

        worst = self.poses.worst
        if worst is None or worst.image is None or worst.expected is None or worst.found is None:
            return None
        both = np.concatenate([worst.expected, worst.found])
        colours = np.repeat([0, 3], [len(worst.expected), len(worst.found)])
        picture = draw_poses(worst.image, both, (), colours, scale)
        centre = np.round(np.array(worst.where) * scale).astype(int)
        cv2.circle(picture, (int(centre[0]), int(centre[1])), round(RING_PX * scale), RING_COLOUR, 2, cv2.LINE_AA)
        return picture


def _finite(value: Any) -> Any:
    """Replace NaN by `None` for JSON."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
