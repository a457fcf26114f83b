"""Take all measurements of one predictor once, in a worker.

Every timed interval ends with results on the host or in a file. Peak memory is read before the networks are timed
alone, because that holds many frames in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import reduce
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sleap_infer.benchmark.memory import device_used_mb
from sleap_infer.benchmark.protocol import Measure, Measured, Predict, Predicted, Setup
from sleap_infer.choices import Aim, Precision
from sleap_infer.config.options import SourceSpec
from sleap_infer.system.machine import peak_memory_mb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sleap_infer.predictors import Predictor

Progress: TypeAlias = Callable[[str], None]

MAX_FORWARD = 64
"""Maximum number of frames on which the networks are timed alone; all are held in memory."""

MAX_SINGLE = 100
"""Maximum number of frames that are predicted one at a time."""

WARM_UP = 16
"""Minimum number of frames, besides four batches, that are predicted before timing."""


def open_predictor(setup: Setup, aim: Aim = "throughput") -> Predictor:
    """Open a predictor.

    Raises:
        SleapInferError: it cannot be opened.
    """
    from sleap_infer.predictors import Predictor

    return Predictor.from_model_paths(
        setup.models,
        backend=setup.backend,
        device=setup.device,
        batch_size=setup.batch_size,
        precision=cast(Precision | None, setup.precision),
        aim=aim,
        ignore_unknown_settings=setup.ignore_unknown_settings,
    )


def predict(task: Predict, progress: Progress) -> Predicted:
    """Predict frames and write their poses.

    Raises:
        SleapInferError: the model or the video cannot be used.
    """
    from sleap_infer.benchmark.pose_comparison import poses_of, write_poses

    progress(f"opening the model with {task.setup.backend}")
    with open_predictor(task.setup) as predictor:
        progress("predicting for the first time")
        marks = [perf_counter()]
        for _ in range(1 + task.builds):
            outputs = predictor.predict(task.video, as_labels=False, frames=task.frames)
            marks.append(perf_counter())
        write_poses(Path(task.poses), poses_of(outputs))
        seconds = [end - begin for begin, end in pairwise(marks)]
        build_s = max(seconds[0] - seconds[1], 0.0) if task.builds else None
        return Predicted(str(predictor.describe()["device"]), build_s)


def measure(task: Measure, python_s: float, progress: Progress) -> Measured:
    """Measure everything once.

    Args:
        task: what to measure.
        python_s: seconds from the start of this process until it ran code of this package.
        progress: called with a description of each step.

    Raises:
        SleapInferError: the model or the video cannot be used.
    """
    frames = range(task.n_frames)
    progress(f"importing {task.setup.backend}")
    marks = [perf_counter()]
    from sleap_infer.runners import find_runner

    import_module("sleap_infer.predictors")
    find_runner(task.setup.backend).require(task.setup.device)
    marks.append(perf_counter())
    progress(f"opening the model with {task.setup.backend}")
    with open_predictor(task.setup) as predictor:
        marks.append(perf_counter())
        progress("predicting for the first time")
        predictor.predict(task.video, as_labels=False, frames=frames[:1])
        marks.append(perf_counter())
        imports_s, opening_s, first_s = (end - begin for begin, end in pairwise(marks))

        progress("predicting a video")
        poses = Path(task.folder) / "poses.slp"
        predict_to_file(predictor, task.video, frames[: max(WARM_UP, 4 * task.setup.batch_size)], poses)
        end_to_end_s = predict_to_file(predictor, task.video, None if task.whole else frames, poses)
        progress("predicting single frames")
        singles = time_single_frames(predictor, task, frames[:MAX_SINGLE]) if task.one_by_one else []
        device = str(predictor.describe()["device"])
        host_mb, device_mb = peak_memory_mb(), device_used_mb(device)
        progress("running the networks alone")
        with ThreadPoolExecutor(1) as thread:  # networks of a predictor do not run in the main thread either
            forward_s, n_forward = thread.submit(time_networks, predictor, task.video, frames[:MAX_FORWARD]).result()
    return Measured(
        device=device,
        python_s=python_s,
        imports_s=imports_s,
        opening_s=opening_s,
        first_s=first_s,
        n_frames=task.n_frames,
        end_to_end_s=end_to_end_s,
        forward_s=forward_s,
        n_forward=n_forward,
        one_by_one_s=tuple(singles),
        host_mb=host_mb,
        device_used_mb=device_mb,
    )


def predict_to_file(predictor: Predictor, video: SourceSpec, frames: Sequence[int] | None, output: Path) -> float:
    """Predict a video, write a `.slp` file, and return the seconds that both took."""
    from sleap_infer.poses.labels import save_labels

    start = perf_counter()
    save_labels(predictor.predict(video, frames=frames), output, overwrite=True)
    return perf_counter() - start


def time_networks(predictor: Predictor, video: SourceSpec, frames: Sequence[int]) -> tuple[float, int]:
    """Time all networks of a pipeline, one batch after the other, after a warm-up with the first batch.

    Returns:
        Seconds from the input of the first network to the candidates of the last one, both on the host, summed over the
        batches; and the number of frames.
    """
    from sleap_infer.frames import open_source

    with open_source(video, frames) as source:
        batches = [batch for batch in source.batches(predictor.batch_size) if batch.readable]
    works = [predictor.prepare(batch) for batch in (batches[0], *batches)]
    steps = predictor.steps()

    def run(work: Any) -> None:
        done = reduce(lambda so_far, step: step(so_far), steps, work)
        if done.pending is not None:
            done.pending()

    run(works[0])
    start = perf_counter()
    for work in works[1:]:
        run(work)
    return perf_counter() - start, sum(len(batch.readable) for batch in batches)


def time_single_frames(predictor: Predictor, task: Measure, frames: Sequence[int]) -> list[float]:
    """Return the seconds of each frame, from an image in memory to its poses, as a `LiveSession` predicts it.

    If the predictor divides the cores among several images, another one with `aim="latency"` is measured.
    """
    from sleap_infer.predictors.live.session import LiveSession

    images = read_images(task.video, frames)
    with ExitStack() as stack:
        if any(runner.n_streams > 1 for runner in predictor.runners):
            predictor = stack.enter_context(open_predictor(task.setup, "latency"))
        session = stack.enter_context(LiveSession(predictor))
        session.warm_up(images[0])
        seconds = []
        for image in images:
            start = perf_counter()
            session(image)
            seconds.append(perf_counter() - start)
    return seconds


def read_images(video: SourceSpec, frames: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Return the readable ones of some frames of a video, (H, W, C) each."""
    import numpy as np

    from sleap_infer.frames import open_source

    with open_source(video, frames) as source:
        return [
            np.ascontiguousarray(np.asarray(image).transpose(1, 2, 0))
            for batch in source.batches(1)
            for image in batch.images
        ]
