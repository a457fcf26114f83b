"""Output of `sleap-infer predict --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from rich.table import Table

from sleap_infer.choices import OutputFormat
from sleap_infer.cli.output.terminal import Terminal, print_line, words
from sleap_infer.errors import SleapInferError
from sleap_infer.jobs import Models, Task
from sleap_infer.jobs.run.worker_session import open_predictor
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.predictors import read_clip
from sleap_infer.predictors.describe import describe_stages
from sleap_infer.system.machine import resident_bytes

SECONDS = 2.0
"""Maximum duration of the speed measurement."""

MEBIBYTE = 2**20


def show_plan(models: Models, tasks: Sequence[Task], formats: Sequence[OutputFormat]) -> None:
    """Print the plan of a job: settings, outputs, frames, memory and time. Write nothing.

    Raises:
        SleapInferError: the models or the first source cannot be opened.
    """
    with open_predictor(models, tasks[0], len(tasks)) as predictor:
        for line in describe_stages(predictor):
            print_line(line)
        rate = None
        with tasks[0].open() as source:
            clip = read_clip(source)
        if clip is not None:
            predictor.predict(clip.first(predictor.batch_size), as_labels=False)
            n_frames, begun = 0, perf_counter()
            while perf_counter() - begun < SECONDS:
                n_frames += len(predictor.predict(clip.source, as_labels=False))
            rate = n_frames / (perf_counter() - begun)
        memory = resident_bytes()
    n_known, n_left = _table(tasks, formats)
    print_line(f"{len(tasks)} outputs, {n_known} frames, {n_left} remaining")
    if memory:
        print_line(f"memory: about {memory / MEBIBYTE:.0f} MiB per worker, independent of the length of videos")
    if rate:
        duration = _duration(n_left / rate)
        print_line(f"about {rate:.1f} frames/s on the first frames of {tasks[0].name}; expected duration {duration}")


def _table(tasks: Sequence[Task], formats: Sequence[OutputFormat]) -> tuple[int, int]:
    """Print a row for each task; return the numbers of known and of remaining frames."""
    table = Table("source", "frames", "remaining", "outputs", box=None)
    n_known = n_left = 0
    for task in tasks:
        try:
            with task.open() as source:
                n_frames = source.n_frames
        except SleapInferError as error:
            table.add_row(task.name, "-", "-", words(error, "red"))
            continue
        n_done = Journal.open(task.journal).n_frames() if Journal.is_at(task.journal) else 0
        targets = list(task.targets(formats).values())
        if all(target.exists() for target in targets):
            n_done = n_frames or 0
        n_known += n_frames or 0
        n_left += max((n_frames or 0) - n_done, 0)
        shown = "unknown" if n_frames is None else str(n_frames)
        remaining = "unknown" if n_frames is None else str(max(n_frames - n_done, 0))
        table.add_row(task.name, shown, remaining, ", ".join(map(str, targets)))
    Terminal().print(table)
    return n_known, n_left


def _duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds.

    >>> _duration(3725)
    '1 h 2 min 5 s'
    """
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return " ".join(
        f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number or unit == "s"
    )
