"""The export check: raw outputs against the traced module, poses of the export against those of its source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.checks.figures import NodeErrors, PoseErrors, RawErrors, Worst
from sleap_infer.checks.images import CheckFrames
from sleap_infer.poses.candidates import Candidates
from sleap_infer.poses.compare import FrameComparison, cautious_limit, compare_frames, points_of, similarity
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors import Predictor
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.base import Images
from sleap_infer.runners.graph.io import read_outputs

if TYPE_CHECKING:
    from sleap_infer.graphs.modules import Graph

MASKS = ("peak_mask", "instance_valid")


class Recorder(BaseInferenceRunner):
    """Runs another runner and records its inputs and candidates.

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
    """Return the same predictor with recording runners."""
    recorders = [Recorder(runner) for runner in predictor.runners]
    return type(predictor)(recorders, predictor.settings, predictor.batch_size), recorders


def predict_frames(predictor: Predictor, frames: CheckFrames) -> list[Outputs]:
    """Return the poses on frames of the check."""
    if frames.as_crops:
        return predictor.runners[0].predict(frames.source)
    return predictor.predict(frames.source, as_labels=False, frames=frames.selection)


def compare_raw(graph: Graph, recorder: Recorder) -> list[RawErrors]:
    """Compare the outputs of a graph with those of its torch module on the same images.

    Images that reach the capacity are ignored: which of several equal peaks they retain is arbitrary.
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
        counted = ~_is_full(expected)
        for name, values in expected.items():
            pairs.setdefault(name, []).append((values[counted], found[name][counted]))
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


def _is_full(candidates: Candidates) -> NDArray[np.bool_]:
    """Return which images (B,) reach the capacity for some node."""
    mask = next((candidates[name] for name in MASKS if name in candidates), None)
    if mask is None:
        return np.zeros(len(next(iter(candidates.values()))), bool)
    full: NDArray[np.bool_] = mask.astype(bool).all(axis=-1).reshape(len(mask), -1)
    return np.asarray(full.any(axis=1))


def compare_poses(expected: Sequence[Outputs], found: Sequence[Outputs], nodes: tuple[str, ...]) -> PoseErrors:
    """Compare poses frame by frame. Frames that fill the capacity of the graph count for distances only.

    Args:
        expected: of the source.
        found: of the export, of the same frames.
        nodes: names; of centroid models one name.
    """
    frames = compare_frames([points_of(item) for item in found], [points_of(item) for item in expected]).frames
    counted = [frame for frame, item in zip(frames, found, strict=True) if not item.capped]
    away = np.concatenate([np.zeros((0, len(nodes)), np.float32), *(frame.px for frame in frames if frame.n_matched)])
    px = away[~np.isnan(away)].astype(np.float64)
    px = px if len(px) else np.zeros(1)
    none = np.zeros(len(nodes), np.int64)
    lost = sum((frame.missed_points.sum(axis=0) for frame in counted if frame.n_matched), start=none)
    gained = sum((frame.false_points.sum(axis=0) for frame in counted if frame.n_matched), start=none)
    oks = [
        similarity(frame.found[row], frame.expected[column])
        for frame in frames
        for row, column in zip(frame.rows, frame.columns, strict=True)
    ]
    return PoseErrors(
        n_frames=len(expected),
        n_instances=sum(frame.n_expected for frame in frames),
        nodes=tuple(
            _node_errors(name, away[:, node], int(lost[node]), int(gained[node])) for node, name in enumerate(nodes)
        ),
        n_points=int((~np.isnan(away)).sum()),
        p50_px=float(np.median(px)),
        p95_px=float(np.percentile(px, 95)),
        cautious_px=cautious_limit(px),
        max_px=float(px.max()),
        lost=int(lost.sum()),
        gained=int(gained.sum()),
        instances_lost=sum(frame.n_missed for frame in counted),
        instances_gained=sum(frame.n_false for frame in counted),
        oks=float(np.nanmean(oks)) if oks else float("nan"),
        n_capped=len(frames) - len(counted),
        worst=_worst(frames, expected, nodes),
    )


def _worst(frames: Sequence[FrameComparison], expected: Sequence[Outputs], nodes: tuple[str, ...]) -> Worst | None:
    largest = [float(frame.distances.max(initial=-1.0)) for frame in frames]
    if max(largest, default=-1.0) < 0:
        return None
    number = int(np.argmax(largest))
    frame, image = frames[number], expected[number].original_image
    match, node = np.argwhere(frame.px == frame.distances.max())[0]
    x, y = frame.expected[frame.columns[match], node]
    return Worst(
        frame=number,
        node=nodes[node],
        px=largest[number],
        image=None if image is None else np.asarray(image),
        where=(float(x), float(y)),
        expected=frame.expected,
        found=frame.found,
    )


def _node_errors(name: str, px: NDArray[np.float32], lost: int, gained: int) -> NodeErrors:
    seen = px[~np.isnan(px)]
    p50, p95, largest = (float(value) for value in np.percentile(seen, [50, 95, 100])) if len(seen) else (0.0, 0.0, 0.0)
    return NodeErrors(name, len(seen), p50, p95, largest, lost, gained)
