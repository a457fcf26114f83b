"""The gate: an export against its source. Raw outputs against the traced module, poses pipeline against pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from sleap_infer.checks.images import CheckFrames
from sleap_infer.checks.report import NodeErrors, PoseErrors, RawErrors, Worst
from sleap_infer.poses.candidates import Candidates
from sleap_infer.poses.compare import cautious_limit, match_poses, similarity
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors import Predictor
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.base import Images
from sleap_infer.runners.graph.io import read_outputs

if TYPE_CHECKING:
    from sleap_infer.graphs.modules import Graph

REACH_PX = 20.0
"""Instances whose points are on average farther apart are not the same."""

MASKS = ("peak_mask", "instance_valid")


class Recorder(BaseInferenceRunner):
    """Runs another runner and remembers what it saw and gave.

    Args:
        runner: to run.
    """

    def __init__(self, runner: BaseInferenceRunner) -> None:
        super().__init__(runner.spec, runner.settings, runner.returned)
        self.runner = runner
        self.inputs: list[Images] = []
        self.found: list[Candidates] = []

    def _predict(self, images: Images) -> Candidates:
        found = self.runner.infer(images)
        self.inputs.append(images)
        self.found.append(found)
        return found


def record(predictor: Predictor) -> tuple[Predictor, list[Recorder]]:
    """The same predictor with runners that remember."""
    recorders = [Recorder(runner) for runner in predictor.runners]
    return type(predictor)(recorders, predictor.settings, predictor.batch_size), recorders


def predict_frames(predictor: Predictor, frames: CheckFrames) -> list[Outputs]:
    """Poses on frames to compare on."""
    if frames.as_crops:
        return predictor.runners[0].predict(frames.source)
    return predictor.predict(frames.source, as_labels=False, frames=frames.selection)


def compare_raw(graph: Graph, recorder: Recorder) -> list[RawErrors]:
    """Compare what a graph gave with what its torch module gives for the same images.

    Images that fill all places are left out: which of several equal peaks are kept there means nothing.
    """
    import torch

    thresholds = [torch.tensor(getattr(recorder.settings, name), dtype=torch.float32) for name in graph.threshold_names]
    pairs: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for images, found in zip(recorder.inputs, recorder.found, strict=True):
        if images.dtype != np.uint8:
            images = np.rint(images * np.float32(255)).astype(np.uint8)
        with torch.inference_mode():
            outputs = graph(torch.from_numpy(np.ascontiguousarray(images)), *thresholds)
        named = {name: value.numpy() for name, value in zip(graph.output_names, outputs, strict=True)}
        expected = read_outputs(named, recorder.spec, len(images), len(images))
        kept = ~_full(expected)
        for name, values in expected.items():
            pairs.setdefault(name, []).append((values[kept], found[name][kept]))
    return [_raw_errors(recorder.spec.kind, name, values) for name, values in pairs.items()]


def _raw_errors(kind: str, name: str, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> RawErrors:
    flat = [(np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)) for a, b in pairs]
    expected, found = (np.concatenate(side) for side in zip(*flat, strict=True))
    both = ~np.isnan(expected) & ~np.isnan(found)
    unequal = int((np.isnan(expected) != np.isnan(found)).sum())
    a, b = expected[both], found[both]
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return RawErrors(
        model=kind,
        output=name,
        n_values=len(a),
        max_abs=float(np.abs(a - b).max(initial=0.0)),
        mse=float(((a - b) ** 2).mean()) if len(a) else 0.0,
        cosine=float(a @ b) / norm if norm else 1.0,
        n_unequal=unequal,
    )


def _full(candidates: Candidates) -> NDArray[np.bool_]:
    """Which images fill all places for some node."""
    mask = next((candidates[name] for name in MASKS if name in candidates), None)
    if mask is None:
        return np.zeros(len(next(iter(candidates.values()))), bool)
    full: NDArray[np.bool_] = mask.astype(bool).all(axis=-1).reshape(len(mask), -1)
    return np.asarray(full.any(axis=1))


@define
class _Tally:
    """Counts of a comparison of poses, frame by frame."""

    nodes: tuple[str, ...]
    distances: list[tuple[float, int, int, int]] = field(factory=list)
    """(px, frame, node, row of the expected poses)."""
    oks: list[float] = field(factory=list)
    lost: NDArray[np.int64] = field(init=False)
    gained: NDArray[np.int64] = field(init=False)
    instances: int = 0
    instances_lost: int = 0
    instances_gained: int = 0
    n_capped: int = 0

    def __attrs_post_init__(self) -> None:
        self.lost, self.gained = np.zeros(len(self.nodes), np.int64), np.zeros(len(self.nodes), np.int64)

    def add(self, frame: int, expected: Outputs, found: Outputs) -> None:
        """Compare one frame."""
        wanted, given = points_of(expected), points_of(found)
        rows, columns = match_poses(given, wanted, REACH_PX)
        self.instances += len(wanted)
        self.n_capped += found.capped
        if not found.capped:
            self.instances_lost += len(wanted) - len(columns)
            self.instances_gained += len(given) - len(rows)
        for row, column in zip(rows, columns, strict=True):
            a, b = wanted[column], given[row]
            away = np.linalg.norm(a - b, axis=-1)
            seen = np.flatnonzero(~np.isnan(away))
            self.distances += [(float(away[node]), frame, int(node), int(column)) for node in seen]
            self.oks.append(similarity(b, a))
            if not found.capped:
                self.lost += ~np.isnan(a[:, 0]) & np.isnan(b[:, 0])
                self.gained += np.isnan(a[:, 0]) & ~np.isnan(b[:, 0])


def compare_poses(expected: Sequence[Outputs], found: Sequence[Outputs], nodes: tuple[str, ...]) -> PoseErrors:
    """Compare poses frame by frame; instances are matched by distance.

    Args:
        expected: of the source.
        found: of the export, of the same frames.
        nodes: names; of centroid models one name.
    """
    tally = _Tally(nodes)
    for frame, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        tally.add(frame, wanted, given)
    px = np.array([distance for distance, *_ in tally.distances] or [0.0])
    which = np.array([node for _, _, node, _ in tally.distances], np.int64)
    return PoseErrors(
        n_frames=len(expected),
        n_instances=tally.instances,
        nodes=tuple(
            _node_errors(name, px[: len(which)][which == node], int(tally.lost[node]), int(tally.gained[node]))
            for node, name in enumerate(nodes)
        ),
        n_points=len(tally.distances),
        p50_px=float(np.median(px)),
        p95_px=float(np.percentile(px, 95)),
        cautious_px=cautious_limit(px),
        max_px=float(px.max()),
        lost=int(tally.lost.sum()),
        gained=int(tally.gained.sum()),
        instances_lost=tally.instances_lost,
        instances_gained=tally.instances_gained,
        oks=float(np.nanmean(tally.oks)) if tally.oks else float("nan"),
        n_capped=tally.n_capped,
        worst=_worst(tally, expected, found),
    )


def _worst(tally: _Tally, expected: Sequence[Outputs], found: Sequence[Outputs]) -> Worst | None:
    if not tally.distances:
        return None
    px, frame, node, row = max(tally.distances)
    poses = points_of(expected[frame])
    image = expected[frame].original_image
    return Worst(
        frame=frame,
        node=tally.nodes[node],
        px=px,
        image=None if image is None else np.asarray(image),
        where=(float(poses[row, node, 0]), float(poses[row, node, 1])),
        expected=poses,
        found=points_of(found[frame]),
    )


def _node_errors(name: str, px: NDArray[np.float64], lost: int, gained: int) -> NodeErrors:
    p50, p95, largest = (float(value) for value in np.percentile(px, [50, 95, 100])) if len(px) else (0.0, 0.0, 0.0)
    return NodeErrors(name, len(px), p50, p95, largest, lost, gained)


def points_of(outputs: Outputs) -> NDArray[np.float32]:
    """(I, N, 2) of the rows with a point; centroids count as one node."""
    points = outputs.pred_keypoints if outputs.pred_keypoints is not None else outputs.pred_centroids
    array = np.zeros((0, 1, 2), np.float32) if points is None else np.asarray(points)
    array = array[:, None] if array.ndim == 2 else array
    present: NDArray[np.float32] = array[~np.isnan(array[..., 0]).all(axis=1)]
    return present
