"""Progress moves after each batch, however many frames an entry of the journal has, and goes back after a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import onnx, task_in

from sleap_infer.choices import ProgressForm
from sleap_infer.cli.output import job_progress
from sleap_infer.jobs import JobOptions, Task, run_job
from sleap_infer.jobs.events import Begun, Event, Predicted, Progress
from sleap_infer.jobs.run.protocol import Ahead, Answer, Done, Open, Opened, Request, Saved
from sleap_infer.jobs.run.range_runner import Shape
from sleap_infer.jobs.run.supervisor import AssignedRange, Attempt
from sleap_infer.jobs.run.worker_handle import Crash
from sleap_infer.jobs.store.ranges import Range

TASK = Task(("a.mp4",), Path("a.slp"))
KEYS = {
    *("version", "event", "stage", "name", "output", "n_processed", "n_total", "n_failed", "rate", "eta", "memory_mb"),
    *("n_outputs", "n_outputs_finished"),
}


@pytest.mark.parametrize("n_workers", [0, 1])
def test_after_each_batch(
    n_workers: int, graph: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sleap_infer.jobs.run.range_runner.SECONDS_BETWEEN_REPORTS", 0.0)
    events: list[Event] = []
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=20)
    run_job(onnx(graph), [task], JobOptions(chunk=12), events.append, n_workers)
    moves = [event for event in events if isinstance(event, (Predicted, Progress))]
    saved = 0
    seen = []
    for move in moves:
        saved += move.n_frames if isinstance(move, Progress) else 0
        seen.append((saved, saved + move.n_ahead))
    if n_workers == 0:  # another process reports five times a second
        assert seen == [(0, 4), (0, 8), (12, 12), (12, 16), (12, 20), (20, 20)]
    assert seen[0][0] == 0 < seen[0][1]
    assert seen[-1] == (20, 20)


class Crashing:
    """A worker that ends in the middle of its first range."""

    def __init__(self) -> None:
        self.n_runs = 0

    def ask(self, request: Request, tell: Callable[[Answer], None]) -> None:
        if isinstance(request, Open):
            tell(Opened({"batch_size": 4}, {}, (), {}, (), 1, False, 1))
            return
        self.n_runs += 1
        if self.n_runs == 1:
            tell(Ahead(8))
            raise Crash(-6, "")
        counts = {"ok": 20, "empty": 0}
        tell(Saved(0, Range(0, 20), counts, 0, None, 0))  # type: ignore[arg-type]
        tell(Done({}))

    def stop(self) -> None:
        """Nothing to end."""


def test_a_crash_takes_it_back() -> None:
    told: list[Answer] = []
    attempt = Attempt(Crashing(), lambda: Open(None), "0", told.append)  # type: ignore[arg-type]
    attempt.do(AssignedRange(TASK, 0, Range(0, 20), Shape(1, False, 32)))
    assert [answer.n_frames for answer in told if isinstance(answer, Ahead)] == [8, 0]


EVENTS = (
    Begun(TASK, 100, 10),
    Predicted(TASK, 4),
    Predicted(TASK, 8),
    Progress(TASK, 12, 12, 1, 0),
    Predicted(TASK, 4),
    Predicted(TASK, 0),
)
"""A job that goes on after 10 frames; at the end its worker crashes."""


def shown(form: ProgressForm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECONDS_BETWEEN_LINES", "SECONDS_BETWEEN_EVENTS"):
        monkeypatch.setattr(job_progress, name, -1.0)
    with job_progress.show_job([TASK], form) as show:
        for event in EVENTS:
            show(event)


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown("json", monkeypatch)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["event"] == "begin"
    assert [line["n_processed"] for line in lines[1:]] == [14, 18, 22, 26, 22]
    assert all(set(line) == KEYS and line["n_total"] == 100 and line["eta"] > 0 for line in lines[1:])


def test_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown("lines", monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["14", "18", "22", "26", "22"]
    assert all("of 100 frames" in line and "frames/s" in line and line.count("left") for line in lines[1:])
    assert "1 failed" in lines[-1]


def test_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    update = job_progress.progress_bar

    def progress_bar(*given: object) -> object:
        made = update(*given)  # type: ignore[arg-type]
        inner = made.update

        def spied(task: object, **facts: object) -> None:
            counts.append(facts.get("completed"))
            inner(task, **facts)  # type: ignore[arg-type]

        made.update = spied  # type: ignore[method-assign, assignment]
        return made

    monkeypatch.setattr(job_progress, "progress_bar", progress_bar)
    shown("bar", monkeypatch)
    assert counts == [14, 18, 22, 26, 22]
