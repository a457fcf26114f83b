"""Predictors: runners and a pipeline of threads, from a source to `Outputs` or `sleap_io.Labels`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, final, overload

from sleap_infer.choices import PrecisionChoice, StageName
from sleap_infer.config.kinds import KINDS
from sleap_infer.config.option_types import OptionValues
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import FrameReadError, ModelCombinationError
from sleap_infer.frames import FrameBatch, Source, open_source
from sleap_infer.frames.opening import FrameSelection
from sleap_infer.model.settings import PipelineSettings
from sleap_infer.poses.labels import LabelsBuilder, instance_skeleton, make_skeleton
from sleap_infer.poses.outputs import NOT_FINITE, Outputs
from sleap_infer.poses.postprocess import filter_instances
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.auto.select import open_on_best
from sleap_infer.predictors.factory import Runtime, check_batch_size, open_runners, read_plan
from sleap_infer.predictors.live.latency import LatencyReport
from sleap_infer.predictors.live.session import LiveSession
from sleap_infer.predictors.pipeline import run_stages
from sleap_infer.predictors.steps import Step, Work, place
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.profile import Profile, Stopwatch

if TYPE_CHECKING:
    import sleap_io as sio

RGB = 3
"""Channels of a model that is trained on colour."""

logger = logging.getLogger(__name__)


class Predictor(ABC):
    """Poses of whole videos.

    Made by `Predictor.from_model_paths`, which finds the subclass for the given models. Reading, preprocessing, the
    networks and the grouping run at the same time, each in its own thread. A context manager; leaving it gives the
    networks' memory back.

    Args:
        runners: of its models, in the order in which they run.
        settings: resolved for these models.
        batch_size: frames that go through the (first) network at once.

    Attributes:
        choice: how the backend was chosen, where that was left open.
        profile: where the time of the last run went.
        stopwatch: counts it.
    """

    kind: ClassVar[str | None] = None
    """The pipeline that a subclass runs; `None` for those that are not complete."""

    uses_crops: ClassVar[bool | None] = None
    """Of a subclass for any kind: whether it is for those that look at crops."""

    _by_kind: ClassVar[dict[str, type[Predictor]]] = {}
    _general: ClassVar[dict[bool, type[Predictor]]] = {}

    def __init_subclass__(cls) -> None:
        """Enter a subclass into the tables that `class_for` looks into."""
        if cls.kind is not None:
            Predictor._by_kind[cls.kind] = cls
        elif cls.uses_crops is not None:
            Predictor._general.setdefault(cls.uses_crops, cls)

    @staticmethod
    def class_for(kind: str) -> type[Predictor]:
        """Return the class of a kind of pipeline, see `sleap_infer.config.kinds`."""
        return Predictor._by_kind.get(kind) or Predictor._general[KINDS[kind].uses_crops]

    def __init__(
        self, runners: Sequence[BaseInferenceRunner], settings: PipelineSettings, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        check_batch_size(batch_size)
        self.runners = tuple(runners)
        self.settings = settings
        self.batch_size = batch_size
        self.choice: Choice | None = None
        self.profile: Profile | None = None
        self.stopwatch = Stopwatch()
        self._session: LiveSession | None = None
        for runner in self.runners:
            runner.count_with(self.stopwatch)

    @classmethod
    @final
    def from_model_paths(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        backend: str | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        precision: PrecisionChoice | None = None,
        backend_options: Mapping[str, Any] | None = None,
        clip: Any = None,
        **options: Unpack[OptionValues],
    ) -> Self:
        """Open trained models and find what they make together.

        Args:
            paths: one model directory, or two in any order (a centroid model and one that looks at crops).
            backend: what runs the networks, one of `choices.Backend`. By default, `"auto"`, the fastest whose poses
                are those of PyTorch, as it was measured on a clip: this one, or an earlier one of these models on this
                machine. Where nothing was ever measured it is torch, and onnx for exported models. A trained model on
                onnx or openvino is exported first, once, to a cache (`graphs.cache`).
            device: where they run: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
            batch_size: frames that go through the network at once; by default what was measured to be fastest, else 4.
            precision: that the networks compute in: `"fp32"`, `"fp16"` or `"bf16"`, as far as backend and device have
                it, or `"auto"` for the fastest of them. By default 32-bit floats, and for exported models what they
                were made in.
            backend_options: handed through to the runtime, in its own words; see the runner's class. Where no
                backend is named, they are for the default one.
            clip: what `"auto"` measures on, a source as in `predict` or a `Clip` of one: best the one that will be
                predicted. It takes some seconds, once for these models, this machine and this size of frames.
            **options: by name, any of those in `sleap_infer.config.options` that apply.

        Returns:
            A predictor of the subclass for these models.

        Raises:
            ModelError: a model cannot be read, or they do not go together, or not with this class.
            OptionError: an unknown option, a wrong value, or an option without effect on these models.
            BackendError: the backend or the device is not there.
        """
        plan = read_plan(paths, options)
        chosen = Predictor.class_for(plan.kind)
        if not issubclass(chosen, cls):
            raise ModelCombinationError(
                f"These models make a {plan.kind} pipeline, which {cls.__name__} does not run. "
                f"Use {chosen.__name__}.from_model_paths, or Predictor.from_model_paths for any kind."
            )

        def make(runtime: Runtime) -> Predictor:
            return chosen(open_runners(plan, runtime), plan.settings, runtime.batch_size)

        request = Request(backend or "auto", device, precision, batch_size, backend_options or {})
        made, choice = open_on_best(plan, request, make, clip)
        assert isinstance(made, cls)
        made.choice = choice
        return made

    @overload
    def predict(self, source: Any, as_labels: Literal[True] = True, frames: FrameSelection = None) -> sio.Labels: ...
    @overload
    def predict(self, source: Any, as_labels: Literal[False], frames: FrameSelection = None) -> list[Outputs]: ...

    @final
    def predict(self, source: Any, as_labels: bool = True, frames: FrameSelection = None) -> sio.Labels | list[Outputs]:
        """Predict all frames of a source, or some of them.

        Args:
            source: a path of a video, an image, a folder of images, a glob or a `.slp` file; a `sleap_io.Video` or
                `sleap_io.Labels`; an array (N, H, W) or (N, H, W, C); or a list of videos.
            as_labels: whether to make `sleap_io.Labels`, or to give everything as a list of `Outputs`.
            frames: indices of frames in each video; for a label file, positions in its list of labelled frames, which
                are all predicted by default; `"all"` stands for every frame of its videos.

        Returns:
            Labels with one frame per frame, also where nothing was found; or one `Outputs` per frame, in order.

        Raises:
            SourceError: the source cannot be read.
        """
        with open_source(source, frames) as opened:
            builder = LabelsBuilder(self.runners[-1].spec, self.settings, self.describe())
            everything = []
            n_damaged = 0
            for outputs in self.stream(opened):
                n_damaged += outputs.failure == NOT_FINITE
                if as_labels:
                    builder.add(outputs)
                else:
                    everything.append(outputs)
            if n_damaged:
                logger.warning("%s: %s in %d frames: their failure says so", opened.name, NOT_FINITE, n_damaged)
            return builder.build(opened) if as_labels else everything

    @final
    def stream(self, source: Any, frames: FrameSelection = None) -> Generator[Outputs, None, None]:
        """Predict a source frame by frame, with bounded memory.

        Args:
            source: as in `predict`, or an opened one, which stays open.
            frames: as in `predict`.

        Yields:
            One `Outputs` per frame, in order. Leaving the loop early ends all threads.

        Raises:
            SourceError: the source cannot be read.
        """
        opened = open_source(source, frames)
        self.check_source(opened)
        before, begin = self.stopwatch.read(), perf_counter()
        try:
            batches = self.stopwatch.each("decode", self._decoded(opened).batches(self.batch_size))
            with run_stages(batches, self._stages(), self._queue_size()) as results:
                for found in results:
                    yield from found
        finally:
            self.profile = self._profile(before, perf_counter() - begin)
            if opened is not source:
                opened.close()

    @final
    def live(self, frame: Any) -> Outputs:
        """Predict one frame with the least latency, in the calling thread; open with `aim="latency"` for it.

        Args:
            frame: (H, W) or (H, W, C), C being 1 or 3, uint8 or float.

        Returns:
            Its poses, as `predict` gives them; `frame_idx` counts the calls.

        Raises:
            ImageError: this is not one image.
        """
        return self._live()(frame)

    @final
    def live_report(self) -> LatencyReport:
        """How long the calls of `live` took."""
        return self._live().report()

    def _live(self) -> LiveSession:
        if self._session is None:
            self._session = LiveSession(self)
        return self._session

    @property
    @final
    def node_names(self) -> list[str]:
        """Return the names of the nodes, in the order of the axis N of `Outputs.pred_keypoints`."""
        return list(instance_skeleton(self.runners[-1].spec).nodes)

    @property
    @final
    def skeleton(self) -> sio.Skeleton:
        """Return the skeleton of the predicted instances, as in the labels of `predict`.

        Each call makes a new object, so that changing it does not change the predictor.
        """
        return make_skeleton(instance_skeleton(self.runners[-1].spec))

    def __repr__(self) -> str:
        """Return the kind of pipeline, backend, device, precision and batch size."""
        facts = self.describe()
        names = ("backend", "device", "precision", "batch_size")
        shown = {"kind": self.settings.kind, **{name: facts[name] for name in names}}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def describe(self) -> dict[str, Any]:
        """What runs, for provenance and reports."""
        return {
            "backend": self.runners[0].backend or type(self.runners[0]).__name__,
            "device": self.runners[0].device,
            "precision": self.runners[0].precision,
            "batch_size": self.batch_size,
            **({} if self.choice is None else {"chosen": self.choice.why}),
            "model_paths": [str(runner.spec.path.resolve()) for runner in self.runners],
        }

    @final
    def close(self) -> None:
        """Give back what the runners hold."""
        if self._session is not None:
            self._session.close()
        for runner in self.runners:
            runner.close()

    def __enter__(self) -> Self:
        """Enter the lifetime of the predictor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def check_source(self, source: Source) -> None:  # noqa: B027 - most pipelines take any source
        """Refuse a source that this pipeline cannot work on."""

    @property
    def reads_colour(self) -> bool:
        """Whether frames are read with three channels, whatever they look like."""
        return self.settings.frames.ensure_rgb or any(
            runner.spec.backbone.in_channels == RGB for runner in self.runners
        )

    def _decoded(self, source: Source) -> Source:
        """The source as its frames are read: in colour for models that need it, and its videos decoded where the
        networks run, if that is asked for and they take such images.
        """
        source = source.in_colour() if self.reads_colour else source
        if self.settings.stream.decoder == "cpu":
            return source
        from sleap_infer.frames.nvdec.decoder import decode_on_device, warn

        runs_on = self.describe()
        if not all(runner.takes_device_images for runner in self.runners):
            reason = f"frames cannot stay on {runs_on['device']} for backend {runs_on['backend']!r}"
            warn(source.name, f"{reason}. Use backend='torch' and one GPU, device='cuda'")
            return source
        return decode_on_device(source, self.runners[0].device)

    def _stages(self) -> list[Callable[[Any], Any]]:
        """What works at the same time. Networks that run beside the host get a thread each; on the host, where they
        would only fight for its cores, they share one.
        """
        steps = self.steps()
        if any(runner.runs_beside for runner in self.runners):
            return [self.prepare, *steps, self.finish]

        def infer(work: Work) -> Work:
            return reduce(lambda so_far, step: step(so_far), steps, work)

        return [self.prepare, infer, self.finish]

    def _queue_size(self) -> int:
        """Batches that wait behind each stage: enough for every device to have its own."""
        return self.settings.stream.queue_size * max(runner.n_batches for runner in self.runners)

    def _start(self, work: Work) -> Work:
        """Begin to run the first network on whole frames."""
        if work.batch.readable:
            work.pending = self.runners[0].start(work.inputs)
        return work

    def _profile(self, before: Mapping[StageName, float], wall: float) -> Profile:
        """Where the time went since the stopwatch was read."""
        spent = {stage: seconds - before[stage] for stage, seconds in self.stopwatch.read().items()}
        facts = self.describe()
        on_host = str(facts["device"]).startswith("cpu")
        n_lanes = max(runner.n_lanes for runner in self.runners) if on_host else 1
        return Profile(spent, wall, n_lanes, facts["precision"], facts["device"])

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
            kept = [filter_instances(outputs, self.settings.filters) for outputs in found]
            return place(work, kept, self.settings.returned)

    @abstractmethod
    def _preprocess(self, batch: FrameBatch) -> Work:
        """First step: frames to the first network's input."""

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """Then: one function per network, each of which begins to run it."""

    @abstractmethod
    def _decode(self, work: Work) -> list[Outputs]:
        """Last step: wait for the networks, and make one `Outputs` per readable frame."""
