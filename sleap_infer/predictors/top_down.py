"""Predictors with crops around centroids, which another model finds or a label file gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import ModelCombinationError
from sleap_infer.frames import FrameBatch, Source
from sleap_infer.poses.candidates import Candidates, are_damaged
from sleap_infer.poses.geometry import Floats, Geometry
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.postprocess import Rows, assign_crop_classes, find_rows
from sleap_infer.poses.preprocess import frames_to_cut, place_crops, preprocess
from sleap_infer.predictors.base import Predictor
from sleap_infer.predictors.known_centroids import known_centroids
from sleap_infer.predictors.steps import Step, Work
from sleap_infer.runners.base import Pending

POSES: Mapping[str, int] = {"pred_keypoints": 3, "pred_raw_keypoints": 3, "pred_peak_values": 2}
"""Fields of `Outputs` that the second network fills, and their numbers of axes."""


class CroppingPredictor(Predictor):
    """Finds centroids, crops around them in all frames of a batch, and runs a second network on the crops.

    With one runner, the centroids are those of labelled instances, or both networks are in one graph.
    """

    uses_crops: ClassVar[bool | None] = True
    _node_names: tuple[str, ...] = ()

    @property
    def _is_fused(self) -> bool:
        return self.runners[0].spec.row.is_fused

    @property
    def _finds_centroids(self) -> bool:
        return len(self.runners) > 1 or self._is_fused

    def check_source(self, source: Source) -> None:
        """Raise an error if centroids are neither found by a model nor given by the source."""
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
            return Work(batch, *preprocess(batch.images, self.runners[0].settings.images))
        height, width = batch.images.shape[2:]
        return Work(batch, batch.images, Geometry((height, width)))

    def steps(self) -> Sequence[Step]:
        """Return the functions that start the networks: on whole frames, then on crops."""
        if self._is_fused:
            return (self._start,)
        return (self._start, self._start_second) if self._finds_centroids else (self._start_second,)

    def _start_second(self, work: Work) -> Work:
        """Start the second network on crops around the centroids of all frames."""
        if not work.batch.readable:
            return work
        work.wait()
        with self.stopwatch.timing("grouping"):
            work.centroids = self._found_centroids(work) if self._finds_centroids else self._known_centroids(work)
        with self.stopwatch.timing("preprocess"):
            crops = self.settings.stages[-1].images
            fitted, factor = frames_to_cut(work.batch.images, self.settings.frames, crops)
        points = [np.asarray(found.pred_centroids) * np.float32(factor) for found in work.centroids]
        which = np.repeat(np.arange(len(points)), [len(found) for found in points])
        work.crops, work.pending = self._start_crops(fitted, which, np.concatenate(points), work.geometry, factor)
        return work

    def _found_centroids(self, work: Work) -> list[Outputs]:
        assert work.pending is not None
        return self.runners[0].postprocess_results(work.pending(), work.geometry)

    def _known_centroids(self, work: Work) -> list[Outputs]:
        stage = self.settings.stages[0]
        anchor = stage.anchor_part
        index = None if anchor is None else self._node_names.index(anchor)
        spec = self.runners[0].spec
        found = []
        for frame in work.batch.readable:
            centroids = known_centroids(frame.known, index, stage.centroid_method)
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

    def _start_crops(
        self, fitted: Any, which: NDArray[np.int64], centroids: Floats, frame: Geometry, factor: float
    ) -> tuple[Geometry, Pending | None]:
        runner, settings = self.runners[-1], self.settings.stages[-1]
        assert settings.crop_size is not None
        images = settings.images
        origin, first = place_crops(centroids, settings.crop_size, images)
        geometry = Geometry(frame.image_size, factor, images.input_scaling, origin, images.half_pixel)
        if not len(which):
            return geometry, None
        return geometry, runner.start_crops(fitted, which, first, self.settings.stream.crop_batch_size)

    def _decode(self, work: Work) -> list[Outputs]:
        candidates = work.pending() if work.pending else None
        if self._is_fused:
            assert candidates is not None
            return self.runners[0].postprocess_results(candidates, work.geometry)
        combined = self._assemble(work, candidates)
        if candidates is None:
            return combined
        counts = [len(found) for found in work.centroids or ()]
        damaged = np.split(are_damaged(candidates), np.cumsum(counts)[:-1])
        return [found.as_damaged() if any(crops) else found for found, crops in zip(combined, damaged, strict=True)]

    def _assemble(self, work: Work, candidates: Candidates | None) -> list[Outputs]:
        """Return the outputs of frames from their centroids and the candidates of all crops, if any."""
        assert work.centroids is not None
        assert work.crops is not None
        spec = self.runners[-1].spec
        rows: Rows = {name: np.zeros((0, spec.n_nodes, 2)[:axes], np.float32) for name, axes in POSES.items()}
        if candidates is not None:
            _, rows = find_rows(candidates, work.crops, spec, self.runners[-1].settings)
        maps = candidates["confmaps"] if candidates is not None and self.settings.returned.return_confmaps else None
        ends = np.cumsum([len(found) for found in work.centroids]).tolist()
        combined = []
        for found, (begin, end) in zip(work.centroids, pairwise([0, *ends]), strict=True):
            poses: dict[str, Any] = {name: rows[name][begin:end] for name in POSES}
            poses["pred_confmaps"] = None if maps is None or begin == end else maps[begin:end]
            combined.append(attrs.evolve(found, skeleton=spec.skeleton, **poses))
        return combined


class CenteredInstancePredictor(CroppingPredictor):
    """Poses of animals whose positions a label file gives."""

    kind: ClassVar[str | None] = "centered_instance"


class TopDownPredictor(CroppingPredictor):
    """Centroids first, then the pose of the animal around each."""

    kind: ClassVar[str | None] = "topdown"


class MultiClassTopDownPredictor(CroppingPredictor):
    """Centroids first, then pose and class (identity) of the animal around each; no class twice in a frame."""

    kind: ClassVar[str | None] = "multi_class_topdown"

    def _assemble(self, work: Work, candidates: Candidates | None) -> list[Outputs]:
        found = super()._assemble(work, candidates)
        if candidates is None:
            probabilities = np.zeros((0, len(self.runners[-1].spec.classes)), np.float32)
        else:
            probabilities = candidates["class_probs"]
        ends = np.cumsum([len(outputs) for outputs in found])
        classed = []
        keeps_unsure = self.runners[-1].spec.conventions.unsure_classes
        for outputs, end in zip(found, ends, strict=True):
            classes, certainty = assign_crop_classes(probabilities[end - len(outputs) : end], keeps_unsure)
            named = attrs.evolve(outputs, pred_classes=classes, instance_tracking_scores=certainty)
            classed.append(named if keeps_unsure else named.select(classes >= 0))
        return classed
