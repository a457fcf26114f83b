"""Opened models and the ranges that they predict: the work of a worker, in its own process or in that of the job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from sleap_infer.frames import Source
from sleap_infer.frames.pixels.colour import has_colour
from sleap_infer.jobs.plan.tasks import Models, Task
from sleap_infer.jobs.run.drift import summed, unlike_training
from sleap_infer.jobs.run.protocol import Ahead, Answer, At, Done, Open, Opened, Run, Saved
from sleap_infer.jobs.run.range_runner import RangeRunner
from sleap_infer.jobs.store.columns import Columns
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.model.settings import side_in_frame
from sleap_infer.poses.labels import instance_skeleton
from sleap_infer.predictors import Clip, Predictor, read_clip
from sleap_infer.predictors.describe import describe_stages
from sleap_infer.system.machine import resident_bytes, set_core_affinity

logger = logging.getLogger(__name__)


class Session:
    """Loaded models; a context manager.

    Args:
        request: which models, and how they run.
        on_answer: called with each answer.

    Raises:
        SleapInferError: they cannot be loaded.
    """

    def __init__(self, request: Open, on_answer: Callable[[Answer], None]) -> None:
        if request.cores is not None:
            set_core_affinity(request.cores)
        self.predictor = open_predictor(request.models, request.clip, request.n_tasks)
        self._batch_size = self.predictor.batch_size
        self._opened: tuple[Task, Source] | None = None
        spec = self.predictor.runners[-1].spec
        skeleton = instance_skeleton(spec)
        self.opened = Opened(
            self.predictor.describe(),
            attrs.asdict(self.predictor.settings),
            tuple(describe_stages(self.predictor)),
            attrs.asdict(skeleton),
            spec.classes,
            len(skeleton.nodes),
            not spec.row.finds_points,
            max(runner.n_streams for runner in self.predictor.runners),
        )
        on_answer(self.opened)

    def run(self, request: Run, on_answer: Callable[[Answer], None]) -> None:
        """Predict a range.

        Raises:
            SleapInferError: it cannot be done.
        """
        self.predictor.batch_size = request.batch_size or self._batch_size
        before = self.predictor.stopwatch.read()
        with Journal.open(request.task.journal).result_file(request.shard) as results:

            def saved(part: int, start: int, columns: Columns) -> None:
                places = Range(start, start + len(columns))
                on_answer(Saved(part, places, columns.count(), columns.n_instances, summed(columns), resident_bytes()))

            def ahead(n_frames: int) -> None:
                on_answer(Ahead(n_frames, resident_bytes()))

            runner = RangeRunner(
                self.predictor,
                self._source(request.task, not request.after_crash),
                results,
                request.shape,
                saved,
                ahead,
            )
            for places, note in request.marks:
                runner.mark(request.part, places, note)
            if request.singly:
                runner.run_singly(request.part, request.places, at=lambda place: on_answer(At(place)))
            else:
                runner.run(request.part, request.places)
        spent = {stage: now - before[stage] for stage, now in self.predictor.stopwatch.read().items()}
        on_answer(Done(spent))

    def close(self) -> None:
        """Give everything back."""
        if self._opened is not None:
            self._opened[1].close()
        self.predictor.close()

    def __enter__(self) -> Session:
        """Enter the lifetime of the models."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _source(self, task: Task, look: bool) -> Source:
        if self._opened is None or self._opened[0] != task:
            if self._opened is not None:
                self._opened[1].close()
            self._opened = task, task.open()
            for text in self._unlike_training(self._opened[1]) if look else ():
                logger.warning("%s: %s", task.name, text)
        return self._opened[1]

    def _unlike_training(self, source: Source) -> Iterator[str]:
        """Describe what is unusual about the frames: the size of the first one, and colour in any that is looked at."""
        settings, spec = self.predictor.settings, self.predictor.runners[0].spec
        with closing(source.batches(1)) as batches:  # type: ignore[type-var]
            first = next((batch.images for batch in batches if len(batch.images)), None)
        if first is not None:
            _, channels, height, width = first.shape
            n_channels = spec.backbone.in_channels
            if channels == 1 and n_channels > 1 and has_colour(source.parts[0].reader):
                channels = n_channels
            fit = settings.frames.max_height, settings.frames.max_width
            fixed = spec.exported.baked if spec.exported else ()
            crop_size = side_in_frame(settings.stages[-1])
            yield from unlike_training((height, width, channels), n_channels, fit, crop_size, fixed)


def open_predictor(models: Models, clip: Task | None, n_tasks: int = 1) -> Predictor:
    """Load models.

    Args:
        models: which.
        clip: what a backend is chosen on.
        n_tasks: that are like it.

    Raises:
        SleapInferError: they cannot be loaded.
    """
    paths: Sequence[str | Path] = models.paths
    precision = models.precision
    if precision == "int8" and clip is not None:
        from sleap_infer.export.cache import cached_int8

        paths, precision = cached_int8([Path(path) for path in paths], clip.sources[0], models.options), None
    return Predictor.from_model_paths(
        paths,
        backend=models.backend,
        device=models.device,
        batch_size=models.batch_size,
        precision=precision,  # type: ignore[arg-type]
        backend_options=models.backend_options,
        clip=_read_clip(clip, models.remember, n_tasks) if clip and "auto" in (models.backend, precision) else None,
        **models.options,
    )


def _read_clip(task: Task, remember: bool, n_tasks: int) -> Clip | None:
    with task.open() as opened:
        clip = read_clip(opened)
    if clip is None:
        return None
    n_frames = None if clip.n_frames is None else clip.n_frames * n_tasks
    return attrs.evolve(clip, remember=remember, n_frames=n_frames)
