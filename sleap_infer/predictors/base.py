"""Predictors: runners and a pipeline of threads, from a source to `Outputs` or `sleap_io.Labels`."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, Unpack, final, overload

from sleap_infer.choices import PrecisionChoice
from sleap_infer.config.kinds import KINDS
from sleap_infer.config.option_types import OpeningOptions
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import ModelCombinationError
from sleap_infer.frames import open_source
from sleap_infer.frames.opening import FrameSelection
from sleap_infer.model.settings import PipelineSettings
from sleap_infer.poses.labels import LabelsBuilder, instance_skeleton, make_skeleton
from sleap_infer.poses.outputs import NOT_FINITE, Outputs
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.auto.select import open_on_best
from sleap_infer.predictors.batches import BatchPredictor
from sleap_infer.predictors.factory import (
    Plan,
    Runtime,
    check_runners,
    open_runners,
    read_plan,
    refuse_options_of_opening,
    reverted_blocks,
)
from sleap_infer.predictors.live.latency import LatencyReport
from sleap_infer.predictors.live.session import LiveSession
from sleap_infer.predictors.pipeline import run_stages
from sleap_infer.reports import Fallback, OnProgress, Reports, reporting_to
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.profile import Profile

if TYPE_CHECKING:
    import sleap_io as sio

Backend: TypeAlias = str | type[BaseInferenceRunner] | BaseInferenceRunner | Sequence[BaseInferenceRunner]
"""A name, a runner class, an opened runner, or one for each model."""

logger = logging.getLogger(__name__)


class Predictor(BatchPredictor):
    """Predicts the poses of whole videos.

    `Predictor.from_model_paths` makes one, of the subclass for the given models. Reading, preprocessing, networks and
    grouping run at the same time, each in its own thread. A context manager: leaving it releases the memory of the
    networks.

    Args:
        runners: runners of the models, in the order in which they run.
        settings: resolved settings of these models.
        batch_size: frames per call of the (first) network.

    Attributes:
        choice: how the backend was chosen; `None` if it was given.
        profile: busy time of each stage in the last run.
        stopwatch: counts these times.
        reports: fallbacks and progress.
    """

    kind: ClassVar[str | None] = None
    """Kind of pipeline that a subclass runs; `None` for an incomplete class."""

    uses_crops: ClassVar[bool | None] = None
    """For a subclass of any kind: whether it is for models on crops."""

    _by_kind: ClassVar[dict[str, type[Predictor]]] = {}
    _general: ClassVar[dict[bool, type[Predictor]]] = {}

    def __init_subclass__(cls) -> None:
        """Enter a subclass into the tables of `class_for`."""
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
        super().__init__(runners, settings, batch_size)
        self.profile: Profile | None = None
        self._session: LiveSession | None = None

    @classmethod
    @final
    def from_model_paths(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        backend: Backend | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        precision: PrecisionChoice | None = None,
        backend_options: Mapping[str, Any] | None = None,
        clip: Any = None,
        **options: Unpack[OpeningOptions],
    ) -> Self:
        """Open trained models and find what they make together.

        Args:
            paths: one model directory, or two in any order (a centroid model and one that runs on crops).
            backend: what runs the networks: a name (`sleap_infer.runners.registry` lists them), a runner class, or
                opened runners, one per model in the order in which they run. The predictor closes these. The default,
                `"auto"`, is the fastest backend whose poses are those of PyTorch, as measured on `clip` now or earlier
                on this machine. If nothing was measured, it is torch, or onnx for exported models. A backend that runs
                graphs gets a trained model as an export, which is made once and cached.
            device: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
            batch_size: frames per call of the network. Default: the fastest as measured, else 4.
            precision: `"fp32"`, `"fp16"` or `"bf16"`, if backend and device compute in it, or `"auto"` for the fastest.
                Default: fp32, and for exported models the precision of the export.
            backend_options: options of the runtime, see the runner's class. If no backend is given, they are for the
                default one.
            clip: calibration clip for `"auto"`, a source as in `predict` or a `Clip`; best the one to predict.
                Measuring takes some seconds, once for these models, this machine and this size of frames.
            **options: any of `sleap_infer.config.options` that apply, by name; and `on_progress`, which takes lines
                such as "compiling ...", in any thread (also INFO of the logger `sleap_infer.progress`).

        Returns:
            A predictor of the subclass for these models.

        Raises:
            ModelError: a model cannot be read, or the models do not make a pipeline, or not one of this class.
            OptionError: an unknown option, a wrong value, or an option without effect.
            BackendError: the backend or the device is not available.
        """
        on_progress = options.pop("on_progress", None)
        plan = read_plan(paths, options)
        chosen = Predictor.class_for(plan.kind)
        if not issubclass(chosen, cls):
            raise ModelCombinationError(
                f"These models make a {plan.kind} pipeline, which {cls.__name__} does not run. "
                f"Use {chosen.__name__}.from_model_paths, or Predictor.from_model_paths for any kind."
            )

        if backend is not None and not isinstance(backend, (str, type)):
            refuse_options_of_opening(device=device, precision=precision, backend_options=backend_options, clip=clip)
            size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
            made = chosen(check_runners(plan, backend), plan.settings, size)
            made.reports = Reports(on_progress)
            return made
        request = Request(backend or "auto", device, precision, batch_size, backend_options or {})
        found = chosen._open(plan, request, clip, on_progress)
        assert isinstance(found, cls)
        return found

    @classmethod
    def _open(cls, plan: Plan, request: Request, clip: Any, on_progress: OnProgress | None) -> Predictor:
        """Open runners on the best backend; each candidate has reports of its own."""

        def make(runtime: Runtime) -> Predictor:
            own = Reports(on_progress)
            with reporting_to(own):
                opened = cls(open_runners(plan, runtime), plan.settings, runtime.batch_size)
            opened.reports = own
            return opened

        choosing = Reports(on_progress)
        with reporting_to(choosing):
            made, choice = open_on_best(plan, request, make, clip)
        made.choice = choice
        made.reports.include(choosing)
        return made

    @overload
    def predict(self, source: Any, as_labels: Literal[True] = True, frames: FrameSelection = None) -> sio.Labels: ...
    @overload
    def predict(self, source: Any, as_labels: Literal[False], frames: FrameSelection = None) -> list[Outputs]: ...

    @final
    def predict(self, source: Any, as_labels: bool = True, frames: FrameSelection = None) -> sio.Labels | list[Outputs]:
        """Predict all or some frames of a source.

        Args:
            source: a path of a video, an image, a folder of images, a glob or a `.slp` file; a `sleap_io.Video` or
                `sleap_io.Labels`; an array (N, H, W) or (N, H, W, C); or a list of videos.
            as_labels: whether to return `sleap_io.Labels`; if not, a list of `Outputs`.
            frames: indices of frames in each video; for a label file, positions in its list of labelled frames, which
                are all predicted by default; `"all"` stands for every frame of its videos.

        Returns:
            Labels with one labelled frame per frame, also if it has no instances; or one `Outputs` per frame, in order.

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
                logger.warning("%s: %s in %d frames (Outputs.failure)", opened.name, NOT_FINITE, n_damaged)
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
        """Predict one frame with low latency, in the calling thread. Open the predictor with `aim="latency"`.

        Args:
            frame: (H, W) or (H, W, C), C being 1 or 3, uint8 or float.

        Returns:
            Its poses, as from `predict`; `frame_idx` counts the calls.

        Raises:
            ImageError: this is not one image.
        """
        return self._live()(frame)

    @final
    def live_report(self) -> LatencyReport:
        """Return the latencies of the calls of `live`."""
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

    @property
    @final
    def fallbacks(self) -> tuple[Fallback, ...]:
        """Return the deviations from what was requested so far, each with `what`, `asked`, `used` and `why`.

        Decoding on the CPU, for example, is known only after a video was opened.
        """
        return (*self.reports.fallbacks, *(found for runner in self.runners for found in reverted_blocks(runner.spec)))

    def __repr__(self) -> str:
        """Return the kind of pipeline, backend, device, precision and batch size."""
        facts = self.describe()
        names = ("backend", "device", "precision", "batch_size")
        shown = {"kind": self.settings.kind, **{name: facts[name] for name in names}}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @final
    def close(self) -> None:
        """Release the memory of the runners."""
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
