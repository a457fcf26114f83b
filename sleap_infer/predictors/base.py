"""Predictors: runners and a pipeline of threads, from a source to `Outputs` or `sleap_io.Labels`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, final, overload

from sleap_infer.choices import GRAPH_BACKENDS, PipelineKind, Precision
from sleap_infer.errors import FrameReadError, ModelCombinationError, OptionError
from sleap_infer.frames import FrameBatch, Source, open_source
from sleap_infer.frames.opening import FrameSelection
from sleap_infer.labels import LabelsBuilder
from sleap_infer.model import ModelSpec, expand_model_path, read_spec
from sleap_infer.options import DEFAULT_BATCH_SIZE
from sleap_infer.outputs import Outputs
from sleap_infer.pipeline import run_stages
from sleap_infer.postprocess import filter_instances
from sleap_infer.predictors.work import Work, place
from sleap_infer.runners import BaseInferenceRunner, Opening, find_runner, open_runner
from sleap_infer.runners.spread import split_devices
from sleap_infer.settings import (
    SECOND_STAGES,
    PipelineSettings,
    default_backend,
    in_order,
    pipeline_kind,
    read_options,
    resolve,
)

if TYPE_CHECKING:
    import sleap_io as sio

Step: TypeAlias = Callable[[Work], Work]


class Predictor(ABC):
    """Poses of whole videos.

    Made by `Predictor.from_model_paths`, which finds the subclass for the given models. Reading, preprocessing, the
    networks and the grouping run at the same time, each in its own thread. A context manager; leaving it gives the
    networks' memory back.

    Args:
        runners: of its models, in the order in which they run.
        settings: resolved for these models.
        batch_size: frames that go through the (first) network at once.
    """

    kind: ClassVar[PipelineKind | None] = None
    """The pipeline that a subclass runs; `None` for those that are not complete."""

    _by_kind: ClassVar[dict[PipelineKind, type[Predictor]]] = {}

    def __init_subclass__(cls) -> None:
        """Enter a complete pipeline into the table that `from_model_paths` looks into."""
        if cls.kind is not None:
            Predictor._by_kind[cls.kind] = cls

    def __init__(
        self, runners: Sequence[BaseInferenceRunner], settings: PipelineSettings, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"batch_size is a whole number from 1 up, found {batch_size!r}.")
        self.runners = tuple(runners)
        self.settings = settings
        self.batch_size = batch_size

    @classmethod
    @final
    def from_model_paths(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        backend: str | None = None,
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        precision: Precision | None = None,
        backend_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Open trained models and find what they make together.

        Args:
            paths: one model directory, or two in any order (a centroid model and one that looks at crops).
            backend: what runs the networks, one of `choices.Backend`; by default torch, and onnx for exported models. A
                trained model on onnx or openvino is exported first, once, to a cache (`graphs.cache`).
            device: where they run: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`; `"cuda:0,1"` takes turns.
            batch_size: frames that go through the network at once.
            precision: that the networks compute in: `"fp32"`, `"fp16"` or `"bf16"`, as far as backend and device have
                it. By default 32-bit floats, and for exported models what they were made in.
            backend_options: handed through to the runtime, in its own words; see the runner's class.
            **options: by name, any of those in `sleap_infer.options` that apply.

        Returns:
            A predictor of the subclass for these models.

        Raises:
            ModelError: a model cannot be read, or they do not go together, or not with this class.
            OptionError: an unknown option, a wrong value, or an option without effect on these models.
            BackendError: the backend or the device is not there.
        """
        given = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if not given:
            raise ModelCombinationError("No model is given. Give one model directory, or two for top-down.")
        found = [(path, read_spec(path)) for item in given for path in expand_model_path(item)]
        specs = in_order([spec for _, spec in found])
        ordered: Sequence[str | Path] = [next(path for path, spec in found if spec is wanted) for wanted in specs]
        kind = pipeline_kind(specs)
        chosen = Predictor._by_kind[kind]
        if not issubclass(chosen, cls):
            raise ModelCombinationError(
                f"These models make a {kind} pipeline, which {cls.__name__} does not run. "
                f"Use {chosen.__name__}.from_model_paths, or Predictor.from_model_paths for any kind."
            )
        settings = resolve(specs, read_options(specs, kind, options))
        runner = find_runner(backend or default_backend(specs))
        for name in split_devices(device):
            runner.require(name)
        if runner.backend in GRAPH_BACKENDS:
            ordered, specs = _as_graphs(ordered, specs, settings, options, precision)
        more = backend_options or {}
        opened = [
            open_runner(
                runner,
                Opening(
                    Path(path),
                    spec,
                    stage,
                    settings.returned,
                    device,
                    precision,
                    more,
                    settings.stream.crop_batch_size if spec.kind in SECOND_STAGES else batch_size,
                ),
            )
            for path, spec, stage in zip(ordered, specs, settings.stages, strict=True)
        ]
        return chosen(opened, settings, batch_size)

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
            for outputs in self.stream(opened):
                if as_labels:
                    builder.add(outputs)
                else:
                    everything.append(outputs)
            return builder.build(opened) if as_labels else everything

    @final
    def stream(self, source: Any, frames: FrameSelection = None) -> Iterator[Outputs]:
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
        self._check_source(opened)
        try:
            batches = self._decoded(opened).batches(self.batch_size)
            with run_stages(batches, self._stages(), self._queue_size()) as results:
                for found in results:
                    yield from found
        finally:
            if opened is not source:
                opened.close()

    def describe(self) -> dict[str, Any]:
        """What runs, for provenance and reports."""
        return {
            "backend": self.runners[0].backend or type(self.runners[0]).__name__,
            "device": self.runners[0].device,
            "precision": self.runners[0].precision,
            "batch_size": self.batch_size,
            "model_paths": [str(runner.spec.path.resolve()) for runner in self.runners],
        }

    @final
    def close(self) -> None:
        """Give back what the runners hold."""
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

    def _check_source(self, source: Source) -> None:  # noqa: B027 - most pipelines take any source
        """Refuse a source that this pipeline cannot work on."""

    def _decoded(self, source: Source) -> Source:
        """The source, its videos decoded where the networks run, if that is asked for and they take such images."""
        if self.settings.stream.decoder == "cpu":
            return source
        from sleap_infer.frames.nvdec import decode_on_device, warn

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
        steps = self._steps()
        if any(runner.runs_beside for runner in self.runners):
            return [self._prepare, *steps, self._finish]

        def infer(work: Work) -> Work:
            return reduce(lambda so_far, step: step(so_far), steps, work)

        return [self._prepare, infer, self._finish]

    def _queue_size(self) -> int:
        """Batches that wait behind each stage: enough for every device to have its own."""
        return self.settings.stream.queue_size * max(runner.n_devices for runner in self.runners)

    def _start(self, work: Work) -> Work:
        """Begin to run the first network on whole frames."""
        if work.batch.readable:
            work.pending = self.runners[0].start(work.inputs)
        return work

    def _prepare(self, batch: FrameBatch) -> Work:
        failure = next((frame.failure for frame in batch.frames if frame.failure), None)
        if failure is not None and self.settings.stream.on_frame_error == "raise":
            raise FrameReadError(failure)
        return self._preprocess(batch)

    def _finish(self, work: Work) -> list[Outputs]:
        found = self._decode(work) if work.batch.readable else []
        kept = [filter_instances(outputs, self.settings.filters) for outputs in found]
        return place(work, kept, self.settings.returned)

    @abstractmethod
    def _preprocess(self, batch: FrameBatch) -> Work:
        """First step: frames to the first network's input."""

    @abstractmethod
    def _steps(self) -> Sequence[Step]:
        """Then: one function per network, each of which begins to run it."""

    @abstractmethod
    def _decode(self, work: Work) -> list[Outputs]:
        """Last step: wait for the networks, and make one `Outputs` per readable frame."""


def _as_graphs(
    paths: Sequence[str | Path],
    specs: Sequence[ModelSpec],
    settings: PipelineSettings,
    options: Mapping[str, Any],
    precision: Precision | None,
) -> tuple[list[str | Path], list[ModelSpec]]:
    """Exported models as they are, trained ones as graphs from the cache."""
    if all(spec.exported for spec in specs):
        return list(paths), list(specs)
    from sleap_infer.graphs.cache import cached_graph
    from sleap_infer.graphs.making import Trained

    given = {name: value for name, value in options.items() if value is not None}
    graphs: list[str | Path] = [
        path if spec.exported else cached_graph(Trained(Path(path), spec, stage), settings.frames, given, precision)
        for path, spec, stage in zip(paths, specs, settings.stages, strict=True)
    ]
    return graphs, [read_spec(path) for path in graphs]
