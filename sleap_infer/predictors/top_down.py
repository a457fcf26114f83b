"""Predictors that look at crops around centroids, which another model finds or a person gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.candidates import Candidates
from sleap_infer.choices import PipelineKind
from sleap_infer.errors import ModelCombinationError
from sleap_infer.frames import FrameBatch, Source
from sleap_infer.geometry import Floats, Geometry
from sleap_infer.outputs import Outputs
from sleap_infer.postprocess import assign_crop_classes
from sleap_infer.predictors.base import Predictor, Step
from sleap_infer.predictors.work import Work
from sleap_infer.preprocess import fit_size, place_crops, preprocess
from sleap_infer.runners.base import Pending
from sleap_infer.settings import FUSED


class CroppingPredictor(Predictor):
    """Centroids, crops around them across all frames of a batch, and a second network on the crops.

    With one runner only, centroids are those of the instances that a label file has; or both networks are in its graph.
    """

    _node_names: tuple[str, ...] = ()

    @property
    def _is_fused(self) -> bool:
        return self.runners[0].spec.kind in FUSED

    @property
    def _finds_centroids(self) -> bool:
        return len(self.runners) > 1 or self._is_fused

    def _check_source(self, source: Source) -> None:
        if self._finds_centroids:
            return
        if source.node_names is None:
            raise ModelCombinationError(
                f"A {self.runners[0].spec.kind} model looks at crops around animals, and {source.name} does not say "
                "where these are. Add a centroid model (-m CENTROID -m THIS), give labelled frames (.slp), or predict "
                "crops that you cut yourself: runner.predict(crops)."
            )
        anchor = self.settings.stages[0].anchor_part
        if anchor is not None and anchor not in source.node_names:
            raise ModelCombinationError(
                f"The model is anchored on {anchor!r}, which is not a node of {source.name} "
                f"({', '.join(source.node_names)}). Give another anchor_part."
            )
        self._node_names = source.node_names

    def _preprocess(self, batch: FrameBatch) -> Work:
        if self._finds_centroids:
            return Work(batch, *preprocess(batch.images, self.settings.stages[0].images))
        height, width = batch.images.shape[2:]
        return Work(batch, batch.images, Geometry((height, width)))

    def _steps(self) -> Sequence[Step]:
        if self._is_fused:
            return (self._start,)
        return (self._start, self._look) if self._finds_centroids else (self._look,)

    def _look(self, work: Work) -> Work:
        """Begin to run the second network on crops around the centroids of all frames."""
        if not work.batch.readable:
            return work
        work.centroids = self._found_centroids(work) if self._finds_centroids else self._known_centroids(work)
        fitted, factor = fit_size(work.batch.images, self.settings.frames)
        points = [np.asarray(found.pred_centroids) * np.float32(factor) for found in work.centroids]
        which = np.repeat(np.arange(len(points)), [len(found) for found in points])
        work.crops, work.pending = self._look_at(fitted, which, np.concatenate(points), work.geometry, factor)
        return work

    def _found_centroids(self, work: Work) -> list[Outputs]:
        assert work.pending is not None
        return self.runners[0].postprocess_results(work.pending(), work.geometry)

    def _known_centroids(self, work: Work) -> list[Outputs]:
        anchor = self.settings.stages[0].anchor_part
        index = None if anchor is None else self._node_names.index(anchor)
        spec = self.runners[0].spec
        found = []
        for frame in work.batch.readable:
            centroids = anchor_points(np.zeros((0, 1, 2), np.float32) if frame.known is None else frame.known, index)
            values = np.ones(len(centroids), np.float32)
            found.append(
                Outputs(
                    pred_centroids=centroids,
                    pred_raw_centroids=centroids,
                    pred_centroid_values=values,
                    instance_scores=values,
                    skeleton=spec.skeleton,
                )
            )
        return found

    def _look_at(
        self, fitted: Any, which: NDArray[np.int64], centroids: Floats, frame: Geometry, factor: float
    ) -> tuple[Geometry, Pending | None]:
        runner, settings = self.runners[-1], self.settings.stages[-1]
        assert settings.crop_size is not None
        origin, first = place_crops(centroids, settings.crop_size)
        geometry = Geometry(frame.image_size, factor, settings.images.input_scaling, origin)
        if not len(which):
            return geometry, None
        return geometry, runner.start_crops(fitted, which, first, self.settings.stream.crop_batch_size)

    def _decode(self, work: Work) -> list[Outputs]:
        candidates = work.pending() if work.pending else None
        if self._is_fused:
            assert candidates is not None
            return self.runners[0].postprocess_results(candidates, work.geometry)
        return self._assemble(work, candidates)

    def _assemble(self, work: Work, candidates: Candidates | None) -> list[Outputs]:
        """Outputs of frames from their centroids and the candidates of all crops, if there are any."""
        assert work.centroids is not None
        assert work.crops is not None
        n_crops = [len(found) for found in work.centroids]
        poses = [] if candidates is None else self.runners[-1].postprocess_results(candidates, work.crops)
        ends = np.cumsum(n_crops)
        return [
            self._combine(found, poses[end - count : end])
            for found, end, count in zip(work.centroids, ends, n_crops, strict=True)
        ]

    def _combine(self, centroids: Outputs, poses: list[Outputs]) -> Outputs:
        """Outputs of one frame from its centroids and the poses of its crops."""
        spec, returned = self.runners[-1].spec, self.settings.returned
        combined = attrs.evolve(
            centroids,
            skeleton=spec.skeleton,
            pred_keypoints=_stack([pose.pred_keypoints for pose in poses], (1, spec.n_nodes, 2)),
            pred_raw_keypoints=_stack([pose.pred_raw_keypoints for pose in poses], (1, spec.n_nodes, 2)),
            pred_peak_values=_stack([pose.pred_peak_values for pose in poses], (1, spec.n_nodes)),
            pred_confmaps=None,
        )
        if returned.return_confmaps and poses:
            combined = attrs.evolve(combined, pred_confmaps=np.stack([np.asarray(p.pred_confmaps) for p in poses]))
        return combined


class CenteredInstancePredictor(CroppingPredictor):
    """Poses of animals whose places a label file knows."""

    kind: ClassVar[PipelineKind | None] = "centered_instance"


class TopDownPredictor(CroppingPredictor):
    """Centroids first, then the pose of the animal around each."""

    kind: ClassVar[PipelineKind | None] = "topdown"


class MultiClassTopDownPredictor(CroppingPredictor):
    """Centroids first, then pose and class (identity) of the animal around each; no class twice in a frame."""

    kind: ClassVar[PipelineKind | None] = "multi_class_topdown"

    def _assemble(self, work: Work, candidates: Candidates | None) -> list[Outputs]:
        found = super()._assemble(work, candidates)
        if candidates is None:
            probabilities = np.zeros((0, len(self.runners[-1].spec.classes)), np.float32)
        else:
            probabilities = candidates["class_probs"]
        ends = np.cumsum([len(outputs) for outputs in found])
        classed = []
        for outputs, end in zip(found, ends, strict=True):
            classes, certainty = assign_crop_classes(probabilities[end - len(outputs) : end])
            classed.append(attrs.evolve(outputs, pred_classes=classes, instance_tracking_scores=certainty))
        return classed


def anchor_points(points: Floats, anchor: int | None) -> Floats:
    """Where the crops of known instances are centred: on the anchor node, or else on the mean of the visible nodes.

    Args:
        points: (I, N, 2), NaN where a node is not visible.
        anchor: index of the anchor node.

    Returns:
        (I, 2) of those instances that have a visible node.

    >>> anchor_points(np.array([[[1, 2], [3, 4]], [[np.nan, np.nan], [5, 6]]], np.float32), 0).tolist()
    [[1.0, 2.0], [5.0, 6.0]]
    """
    points = points[~np.isnan(points[..., 0]).all(axis=1)]
    mean = np.nanmean(points, axis=1) if len(points) else np.zeros((0, 2), np.float32)
    if anchor is None:
        return mean.astype(np.float32)
    chosen: Floats = np.where(np.isnan(points[:, anchor]), mean, points[:, anchor]).astype(np.float32)
    return chosen


def _stack(parts: list[Any], shape: tuple[int, ...]) -> Floats:
    """Rows of all parts; none at all give an array of that shape without rows."""
    return np.concatenate(parts) if parts else np.zeros((0, *shape[1:]), np.float32)
