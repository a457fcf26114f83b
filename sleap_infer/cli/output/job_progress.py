"""Progress of a job: bars on a terminal, lines elsewhere, or JSON; and a table at the end."""

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
from sleap_infer.cli.output.terminal import Terminal, Words, print_line, progress_bar
from sleap_infer.jobs import events
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.store.columns import STATUSES
from sleap_infer.jobs.write.frame_status import summary

FAILURES_SHOWN = 5
MEBIBYTE = 2**20

MOVES = (events.Progress, events.Predicted)
"""Events that change the number of predicted frames; after a crash it decreases."""

Show: TypeAlias = Callable[[events.Event], None]


@define
class Count:
    """Progress of a job in frames.

    Attributes:
        n_tasks: number of tasks.
        n_total: frames of started tasks, as far as known.
        n_saved: frames in journals.
        n_failed: saved frames that failed.
        n_new: frames that this run saved.
        n_finished: finished tasks.
        rss_bytes: peak memory of a process.
        begun: start time, as of `time.perf_counter`.
        ahead: predicted frames that are not saved yet, by task.
        saved: saved frames, by task.
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

    def add(self, event: events.Event) -> None:
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
        """Return the number of predicted frames of a task."""
        return self.saved.get(task, 0) + self.ahead.get(task, 0)

    @property
    def n_ahead(self) -> int:
        """Predicted frames that are not saved yet."""
        return sum(self.ahead.values())

    @property
    def n_done(self) -> int:
        """Predicted frames."""
        return self.n_saved + self.n_ahead

    @property
    def rate(self) -> float:
        """Frames per second of this run."""
        return (self.n_new + self.n_ahead) / max(perf_counter() - self.begun, 1e-9)

    def line(self) -> str:
        """Return the progress in one line."""
        of_total = f" of {self.n_total}" if self.n_total else ""
        left = "" if self.eta is None else f", {timedelta(seconds=round(self.eta))} left"
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        return f"{self.n_done}{of_total} frames, {self.rate:.1f} frames/s{left}{failed}"

    @property
    def eta(self) -> float | None:
        """Remaining seconds of the started tasks."""
        return (self.n_total - self.n_done) / self.rate if self.rate and self.n_total >= self.n_done else None


@contextmanager
def show_job(tasks: Sequence[Task], form: ProgressForm) -> Iterator[Show]:
    """Yield a function that shows events of a job; afterwards print the result of each task.

    Args:
        tasks: of the job.
        form: of the progress report.
    """
    console = Terminal(stderr=True)
    chosen = ("bar" if console.is_terminal else "lines") if form == "auto" else form
    count, reports = Count(len(tasks)), []
    with FORMS[chosen](console, count) as show:

        def receive(event: events.Event) -> None:
            count.add(event)
            if isinstance(event, events.TaskReport):
                reports.append(event)
            show(event)

        yield receive
    for report in reports:
        for line in lines_of(report):
            if chosen != "json" or not line.startswith(" "):
                print_line(line, err=line.startswith(" "))
    if len(reports) > 1:
        Terminal().print(table_of(reports))
        print_line(total_of(reports))


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
                _show_note(console, event)

        yield show


@contextmanager
def _as_lines(console: Terminal, count: Count) -> Iterator[Show]:
    last = [perf_counter()]

    def show(event: events.Event) -> None:
        if isinstance(event, events.Note):
            _show_note(console, event)
        elif isinstance(event, events.Begun) and event.n_done:
            line = f"{event.task.name}: resuming after {event.n_done} frames in its journal"
            console.print_line(line)
        elif isinstance(event, MOVES) and perf_counter() - last[0] > SECONDS_BETWEEN_LINES:
            last[0] = perf_counter()
            console.print_line(f"{event.task.name}: {count.line()}")

    yield show


@contextmanager
def _as_json(_console: Terminal, count: Count) -> Iterator[Show]:
    last = [0.0]

    def emit_progress(task: Task) -> None:
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
                emit_progress(event.task)
        else:
            emit_progress(event.task)
            emit("summary", **as_dict(event))

    yield show


@contextmanager
def _without_progress(console: Terminal, _count: Count) -> Iterator[Show]:
    yield lambda event: _show_note(console, event) if isinstance(event, events.Note) else None


def _show_note(console: Terminal, note: events.Note) -> None:
    console.print_line(f"WARNING: {note.text}" if note.is_warning else note.text)


FORMS: dict[str, Any] = {"bar": _as_bars, "lines": _as_lines, "json": _as_json, "none": _without_progress}


def lines_of(report: events.TaskReport) -> Iterator[str]:
    """Yield the result of a task in lines; indented lines belong on stderr."""
    name = report.task.name
    if report.outcome == "skipped":
        yield f"{name}: already complete -> {report.task.output}"
    elif report.outcome == "shared":
        yield f"{name}: shard complete; sleap-infer merge writes the output -> {report.task.output}"
    elif report.outcome == "failed":
        yield f"{name}: failed"
        yield f"  {report.error}"
    else:
        n_new = report.n_frames - report.n_resumed
        resumed = f" ({report.n_resumed} from an earlier run)" if report.n_resumed else ""
        yield (
            f"{name}: {report.n_frames} frames{resumed}, {report.n_instances} instances, {report.n_failed} failed, "
            f"{report.seconds:.1f} s, {n_new / max(report.seconds, 1e-9):.1f} frames/s -> "
            f"{', '.join(map(str, report.files))}"
        )
        yield f"  {summary(report.counts)}"
        if report.n_capped:
            yield f"  in {report.n_capped} frames the maximum number of peaks was reached: some may be missing"
        if report.profile is not None:
            yield f"  {report.profile.verdict} [{report.profile.line()}]"
        for note in report.notes[:FAILURES_SHOWN]:
            yield f"  failed: {note}"
        if report.n_failed > FAILURES_SHOWN:
            yield f"  and {report.n_failed - FAILURES_SHOWN} more; see the frame status table"


def table_of(reports: Sequence[events.TaskReport]) -> Table:
    """Return a table with one row for each task."""
    table = Table("source", "outcome", "frames", "failed", "instances", "seconds", "frames/s", box=None)
    for report in reports:
        rate = (report.n_frames - report.n_resumed) / max(report.seconds, 1e-9)
        values = (report.n_frames, report.n_failed, report.n_instances, f"{report.seconds:.1f}", f"{rate:.1f}")
        table.add_row(report.task.name, report.outcome, *map(str, values))
    return table


def total_of(reports: Sequence[events.TaskReport]) -> str:
    """Return a summary of all tasks in one line."""
    counts = {status: sum(report.counts.get(status, 0) for report in reports) for status in STATUSES}
    outcomes = [report.outcome for report in reports]
    listed = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
    return f"{len(reports)} outputs ({listed}); {summary(counts)}"


def as_dict(report: events.TaskReport) -> dict[str, Any]:
    """Return a report for JSON."""
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
