"""The report of the export check: its figures, and their result according to `limits`."""

from __future__ import annotations

from typing import Any

import attrs
import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.checks.figures import PoseErrors, RawErrors
from sleap_infer.checks.limits import Result, grade, judge, judge_poses, judge_raw
from sleap_infer.choices import Precision
from sleap_infer.system.printable import printable

RING_PX, RING_COLOUR = 8.0, (255, 214, 0)


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
    def raw_verdict(self) -> Result:
        """Return the result for network outputs."""
        return judge_raw(self.raw, self.precision)

    @property
    def pose_verdict(self) -> Result:
        """Return the result for poses."""
        return judge_poses(self.poses, self.precision, self.budget_px) if self.are_real else "WARN"

    @property
    def verdict(self) -> Result:
        """Return the result of both."""
        return judge(self.raw_verdict, self.pose_verdict, self.precision, self.are_real)

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
            f"cosine {row.cosine:.6f}  {grade(row)}" + (f", {row.n_unequal} positions unequal" if row.n_unequal else "")
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
