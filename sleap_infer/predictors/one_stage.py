"""Predictors with one network on whole frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sleap_infer.frames import FrameBatch
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.preprocess import preprocess
from sleap_infer.predictors.base import Predictor
from sleap_infer.predictors.steps import Step, Work


class OneStagePredictor(Predictor):
    """Runs one network on whole frames."""

    uses_crops: ClassVar[bool | None] = False

    def _preprocess(self, batch: FrameBatch) -> Work:
        return Work(batch, *preprocess(batch.images, self.runners[0].settings.images))

    def steps(self) -> Sequence[Step]:
        """Return the function that starts the network."""
        return (self._start,)

    def _decode(self, work: Work) -> list[Outputs]:
        assert work.pending is not None
        return self.runners[0].postprocess_results(work.pending(), work.geometry)


class SingleInstancePredictor(OneStagePredictor):
    """One animal per frame."""

    kind: ClassVar[str | None] = "single_instance"


class CentroidPredictor(OneStagePredictor):
    """Centroids of animals, without poses."""

    kind: ClassVar[str | None] = "centroid"


class BottomUpPredictor(OneStagePredictor):
    """Points of all animals, grouped along part affinity fields."""

    kind: ClassVar[str | None] = "bottomup"


class MultiClassBottomUpPredictor(OneStagePredictor):
    """Points of all animals, assigned to classes (identities)."""

    kind: ClassVar[str | None] = "multi_class_bottomup"
