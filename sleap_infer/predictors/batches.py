"""The way of one batch of frames through a predictor: preprocessing, networks, instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from sleap_infer.choices import StageName
from sleap_infer.errors import FrameReadError
from sleap_infer.frames import FrameBatch, Source
from sleap_infer.model.settings import PipelineSettings
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.postprocess import filter_instances
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.factory import check_batch_size
from sleap_infer.predictors.steps import Step, Work, place
from sleap_infer.reports import Reports
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.profile import Profile, Stopwatch

RGB = 3
"""Channels of a model trained on colour images."""


class BatchPredictor(ABC):
    """Take batches of frames through the networks.

    Subclasses implement `_preprocess`, `steps` and `_decode`; `Predictor` adds sources and threads.

    Args:
        runners: of the models, in the order in which they run.
        settings: resolved for these models.
        batch_size: frames that go through the (first) network at once.

    Raises:
        OptionError: the batch size is not a positive integer.
    """

    def __init__(self, runners: Sequence[BaseInferenceRunner], settings: PipelineSettings, batch_size: int) -> None:
        check_batch_size(batch_size)
        self.runners = tuple(runners)
        self.settings = settings
        self.batch_size = batch_size
        self.choice: Choice | None = None
        self.stopwatch = Stopwatch()
        self.reports = Reports()
        for runner in self.runners:
            runner.count_with(self.stopwatch)

    def describe(self) -> dict[str, Any]:
        """Return what runs: backend, device, precision, batch size, models."""
        return {
            "backend": self.runners[0].backend or type(self.runners[0]).__name__,
            "device": self.runners[0].device,
            "precision": self.runners[0].precision,
            "batch_size": self.batch_size,
            **({} if self.choice is None else {"chosen": self.choice.why}),
            "model_paths": [str(runner.spec.path.resolve()) for runner in self.runners],
        }

    def check_source(self, source: Source) -> None:  # noqa: B027 - most pipelines take any source
        """Raise an error if this pipeline cannot run on a source."""

    @property
    def reads_colour(self) -> bool:
        """Return whether frames are read with three channels."""
        return self.settings.frames.ensure_rgb or any(
            runner.spec.backbone.in_channels == RGB for runner in self.runners
        )

    def _decoded(self, source: Source) -> Source:
        """Return the source in colour if a model needs it, decoded on the networks' device if requested."""
        source = source.in_colour() if self.reads_colour else source
        if self.settings.stream.decoder == "cpu":
            return source
        from sleap_infer.frames.nvdec.decoder import decode_on_device, warn

        runs_on = self.describe()
        if not all(runner.takes_device_images for runner in self.runners):
            reason = f"frames cannot stay on {runs_on['device']} for backend {runs_on['backend']!r}"
            warn(self.reports, source.name, f"{reason}. Use backend='torch' and one GPU, device='cuda'")
            return source
        return decode_on_device(source, self.runners[0].device, self.reports)

    def _stages(self) -> list[Callable[[Any], Any]]:
        """Return the functions that run in threads of their own.

        Networks on a GPU get a thread each. On the CPU they share one, because they would compete for the same cores.
        """
        steps = self.steps()
        if any(runner.runs_beside for runner in self.runners):
            return [self.prepare, *steps, self.finish]

        def infer(work: Work) -> Work:
            return reduce(lambda so_far, step: step(so_far), steps, work)

        return [self.prepare, infer, self.finish]

    def _queue_size(self) -> int:
        """Return the number of batches that wait behind each stage."""
        return self.settings.stream.queue_size * max(runner.n_batches for runner in self.runners)

    def _start(self, work: Work) -> Work:
        """Start the first network on whole frames."""
        if work.batch.readable:
            work.pending = self.runners[0].start(work.inputs)
        return work

    def _profile(self, before: Mapping[StageName, float], wall: float) -> Profile:
        """Return the busy seconds of each stage since the stopwatch was read."""
        spent = {stage: seconds - before[stage] for stage, seconds in self.stopwatch.read().items()}
        facts = self.describe()
        on_host = str(facts["device"]).startswith("cpu")
        n_streams = max(runner.n_streams for runner in self.runners) if on_host else 1
        return Profile(spent, wall, n_streams, facts["precision"], facts["device"])

    def prepare(self, batch: FrameBatch) -> Work:
        """Convert frames to the input of the first network."""
        failure = next((frame.failure for frame in batch.frames if frame.failure), None)
        if failure is not None and self.settings.stream.on_frame_error == "raise":
            raise FrameReadError(failure)
        with self.stopwatch.timing("preprocess"):
            return self._preprocess(batch)

    def finish(self, work: Work) -> list[Outputs]:
        """Wait for the networks and return one `Outputs` per frame of the batch."""
        work.wait()
        with self.stopwatch.timing("grouping"):
            found = self._decode(work) if work.batch.readable else []
            filtered = [filter_instances(outputs, self.settings.filters) for outputs in found]
            return place(work, filtered, self.settings.returned)

    @abstractmethod
    def _preprocess(self, batch: FrameBatch) -> Work:
        """Convert frames to the input of the first network."""

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """Return one function per network, which starts it."""

    @abstractmethod
    def _decode(self, work: Work) -> list[Outputs]:
        """Wait for the networks and return one `Outputs` per readable frame."""
