"""What a job says while it runs: bars on a terminal, a line now and then elsewhere, or JSON; and a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter
from typing import Any, TypeAlias

from attrs import define, field
from rich.progress import TaskID
from rich.table import Table

from sleap_infer.choices import ProgressForm
from sleap_infer.cli.output.progress import SECONDS_BETWEEN_EVENTS, SECONDS_BETWEEN_LINES, emit
from sleap_infer.cli.output.terminal import Terminal, Words, progress_bar, say
from sleap_infer.jobs import events
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.store.columns import STATUSES
from sleap_infer.jobs.write.frame_status import summary

FAILURES_SHOWN = 5
MEBIBYTE = 2**20

MOVES = (events.Progress, events.Predicted)
"""Events after which a job is farther, or after a crash not as far."""

Show: TypeAlias = Callable[[events.Event], None]


@define
class Count:
    """How far a job is.

    Attributes:
        n_total: frames of the tasks that have begun, as far as they say.
        n_saved: of these, in journals.
        n_failed: of those.
        n_new: that this run saved.
        rss_bytes: most memory that a process held.
        ahead: frames that are predicted and not saved yet, by task.
        saved: frames that are saved, by task.
    """

    n_tasks: int
    n_total: int = 0
    n_saved: int = 0
    n_failed: int = 0
    n_new: int = 0
    n_finished: int = 0
    rss_bytes: int = 0
    begun: float = field(factory=perf_counter)
    ahead: dict[Task, int] = field(factory=dict)
    saved: dict[Task, int] = field(factory=dict)

    def hear(self, event: events.Event) -> None:
        """Count an event."""
        if isinstance(event, events.Begun):
            self.n_total += event.n_total or 0
            self.n_saved += event.n_done
            self.saved[event.task] = event.n_done
            if self.n_new + self.n_ahead == 0:
                self.begun = perf_counter()
        elif isinstance(event, events.Progress):
            self.n_saved += event.n_frames
            self.saved[event.task] = self.saved.get(event.task, 0) + event.n_frames
            self.ahead[event.task] = event.n_ahead
            self.n_new += event.n_frames
            self.n_failed += event.n_failed
            self.rss_bytes = max(self.rss_bytes, event.rss_bytes)
        elif isinstance(event, events.Predicted):
            self.ahead[event.task] = event.n_ahead
            self.rss_bytes = max(self.rss_bytes, event.rss_bytes)
        elif isinstance(event, events.TaskReport):
            self.ahead.pop(event.task, None)
            self.n_finished += 1

    def done_of(self, task: Task) -> int:
        """Frames of a task that are predicted."""
        return self.saved.get(task, 0) + self.ahead.get(task, 0)

    @property
    def n_ahead(self) -> int:
        """Frames that are predicted and not saved yet."""
        return sum(self.ahead.values())

    @property
    def n_done(self) -> int:
        """Frames that are predicted."""
        return self.n_saved + self.n_ahead

    @property
    def rate(self) -> float:
        """Frames per second of this run."""
        return (self.n_new + self.n_ahead) / max(perf_counter() - self.begun, 1e-9)

    def line(self) -> str:
        """All of it in one line."""
        of_total = f" of {self.n_total}" if self.n_total else ""
        left = "" if self.eta is None else f", {timedelta(seconds=round(self.eta))} left"
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        return f"{self.n_done}{of_total} frames, {self.rate:.1f} frames/s{left}{failed}"

    @property
    def eta(self) -> float | None:
        """Seconds to the end of the tasks that have begun."""
        return (self.n_total - self.n_done) / self.rate if self.rate and self.n_total >= self.n_done else None


@contextmanager
def show_job(tasks: Sequence[Task], form: ProgressForm) -> Iterator[Show]:
    """What shows a job's events; afterwards, what became of each task.

    Args:
        tasks: of the job.
        form: how.
    """
    console = Terminal(stderr=True)
    chosen = ("bar" if console.is_terminal else "lines") if form == "auto" else form
    count, reports = Count(len(tasks)), []
    with SHOWN[chosen](console, count) as show:

        def hear(event: events.Event) -> None:
            count.hear(event)
            if isinstance(event, events.TaskReport):
                reports.append(event)
            show(event)

        yield hear
    for report in reports:
        for line in lines_of(report):
            if chosen != "json" or not line.startswith(" "):
                say(line, err=line.startswith(" "))
    if len(reports) > 1:
        Terminal().print(table_of(reports))
        say(total_of(reports))


@contextmanager
def _as_bars(console: Terminal, count: Count) -> Iterator[Show]:
    with progress_bar(console, Words("{task.fields[note]}")) as progress:
        videos = progress.add_task("outputs", total=count.n_tasks, note="", visible=count.n_tasks > 1)
        bars: dict[Task, TaskID] = {}

        def show(event: events.Event) -> None:
            if isinstance(event, events.Begun):
                bars[event.task] = progress.add_task(
                    event.task.name, total=event.n_total, completed=event.n_done, note=""
                )
            elif isinstance(event, MOVES):
                note = f"{count.rate:.1f} frames/s" + (f", {count.n_failed} failed" if count.n_failed else "")
                progress.update(bars[event.task], completed=count.done_of(event.task), note=note)
            elif isinstance(event, events.TaskReport):
                progress.update(videos, advance=1)
                if event.task in bars and count.n_tasks > 1:
                    progress.remove_task(bars.pop(event.task))
            else:
                _say(console, event)

        yield show


@contextmanager
def _as_lines(console: Terminal, count: Count) -> Iterator[Show]:
    last = [perf_counter()]

    def show(event: events.Event) -> None:
        if isinstance(event, events.Note):
            _say(console, event)
        elif isinstance(event, events.Begun) and event.n_done:
            line = f"{event.task.name}: going on after {event.n_done} frames that are in its journal"
            console.say(line)
        elif isinstance(event, MOVES) and perf_counter() - last[0] > SECONDS_BETWEEN_LINES:
            last[0] = perf_counter()
            console.say(f"{event.task.name}: {count.line()}")

    yield show


@contextmanager
def _as_json(_console: Terminal, count: Count) -> Iterator[Show]:
    last = [0.0]

    def say(task: Task) -> None:
        emit(
            "progress",
            stage="predict",
            name=task.name,
            output=str(task.output),
            n_processed=count.n_done,
            n_total=count.n_total or None,
            n_failed=count.n_failed,
            rate=count.rate,
            eta=count.eta,
            memory_mb=round(count.rss_bytes / MEBIBYTE, 1),
            n_outputs=count.n_tasks,
            n_outputs_finished=count.n_finished,
        )

    def show(event: events.Event) -> None:
        if isinstance(event, events.Begun):
            emit("begin", name=event.task.name, n_total=event.n_total, n_processed=event.n_done)
        elif isinstance(event, events.Note):
            emit("warning" if event.is_warning else "info", message=event.text)
        elif isinstance(event, MOVES):
            if perf_counter() - last[0] > SECONDS_BETWEEN_EVENTS:
                last[0] = perf_counter()
                say(event.task)
        else:
            say(event.task)
            emit("summary", **as_dict(event))

    yield show


@contextmanager
def _not_at_all(console: Terminal, _count: Count) -> Iterator[Show]:
    yield lambda event: _say(console, event) if isinstance(event, events.Note) else None


def _say(console: Terminal, note: events.Note) -> None:
    console.say(f"WARNING: {note.text}" if note.is_warning else note.text)


SHOWN: dict[str, Any] = {"bar": _as_bars, "lines": _as_lines, "json": _as_json, "none": _not_at_all}


def lines_of(report: events.TaskReport) -> Iterator[str]:
    """What became of a task, for people; what is indented goes to stderr."""
    name = report.task.name
    if report.outcome == "skipped":
        yield f"{name}: done before, nothing to do -> {report.task.output}"
    elif report.outcome == "shared":
        yield f"{name}: this share is done; sleap-infer merge writes the output -> {report.task.output}"
    elif report.outcome == "failed":
        yield f"{name}: failed"
        yield f"  {report.error}"
    else:
        n_new = report.n_frames - report.n_resumed
        resumed = f" ({report.n_resumed} of them before)" if report.n_resumed else ""
        yield (
            f"{name}: {report.n_frames} frames{resumed}, {report.n_instances} instances, {report.n_failed} failed, "
            f"{report.seconds:.1f} s, {n_new / max(report.seconds, 1e-9):.1f} frames/s -> "
            f"{', '.join(map(str, report.files))}"
        )
        yield f"  {summary(report.counts)}"
        if report.n_capped:
            yield f"  in {report.n_capped} frames all places for peaks were full: some may be missing"
        if report.profile is not None:
            yield f"  {report.profile.verdict} [{report.profile.line()}]"
        for note in report.notes[:FAILURES_SHOWN]:
            yield f"  failed: {note}"
        if report.n_failed > FAILURES_SHOWN:
            yield f"  and {report.n_failed - FAILURES_SHOWN} more, see the ledger"


def table_of(reports: Sequence[events.TaskReport]) -> Table:
    """One row for each task."""
    table = Table("source", "outcome", "frames", "failed", "instances", "seconds", "frames/s", box=None)
    for report in reports:
        rate = (report.n_frames - report.n_resumed) / max(report.seconds, 1e-9)
        numbers = (report.n_frames, report.n_failed, report.n_instances, f"{report.seconds:.1f}", f"{rate:.1f}")
        table.add_row(report.task.name, report.outcome, *map(str, numbers))
    return table


def total_of(reports: Sequence[events.TaskReport]) -> str:
    """All tasks in one line."""
    counts = {status: sum(report.counts.get(status, 0) for report in reports) for status in STATUSES}
    outcomes = [report.outcome for report in reports]
    listed = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
    return f"{len(reports)} outputs ({listed}); {summary(counts)}"


def as_dict(report: events.TaskReport) -> dict[str, Any]:
    """A report for JSON."""
    return {
        "source": report.task.name,
        "output": str(report.files[0] if report.files else report.task.output),
        "files": [str(path) for path in report.files],
        "outcome": report.outcome,
        "n_processed": report.n_frames,
        "n_resumed": report.n_resumed,
        "n_instances": report.n_instances,
        "n_failed": report.n_failed,
        "ledger": dict(report.counts),
        "seconds": round(report.seconds, 3),
        "rate": round((report.n_frames - report.n_resumed) / max(report.seconds, 1e-9), 2),
        "warnings": list(report.warnings),
        "error": report.error or None,
        "profile": None if report.profile is None else report.profile.as_dict(),
    }
