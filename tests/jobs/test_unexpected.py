"""Errors of a job that nothing foresaw: a frame, a part of a video or a task fails, and the rest is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from jobs import onnx, task_in

from sleap_infer.jobs import JobOptions, run_job
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.run.protocol import Failed
from sleap_infer.jobs.run.worker_handle import as_error
from sleap_infer.jobs.run.worker_session import Session
from sleap_infer.jobs.write.results import WRITERS


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("sleap_infer.system.unexpected_errors._written", {})
    return tmp_path / "state" / "sleap_infer"


def details(state: Path) -> str:
    (path,) = state.iterdir()
    return path.read_text(encoding="utf-8")


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a\n\x1b[31mb")


def test_a_frame_fails_with_a_reason_in_one_line(
    graph: Path, videos: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleap_infer.predictors.base import Predictor

    finish: Callable[..., Any] = Predictor.finish

    def sometimes(self: Predictor, work: Any) -> Any:
        outputs = finish(self, work)
        if any(found.frame_idx == 3 for found in outputs):
            fail()
        return outputs

    monkeypatch.setattr(Predictor, "finish", sometimes)
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=8)
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert report.counts["predict_failed"] == 1
    assert report.n_frames == 8
    (note,) = report.notes
    assert "ZeroDivisionError: a \x1b[31mb" in note
    assert "Traceback" in details(state)


@pytest.mark.parametrize("where", ["unit", "opening", "writing"])
def test_a_task_fails_and_the_others_are_done(
    where: str, graph: Path, videos: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [task_in(tmp_path, videos / "two_flies.mp4", name, at_most=4) for name in ("bad", "good")]

    def bad_only(function: Callable[..., Any], is_bad: Callable[..., bool]) -> Callable[..., Any]:
        return lambda *given, **more: fail() if is_bad(*given) else function(*given, **more)

    if where == "unit":
        monkeypatch.setattr(Session, "run", bad_only(Session.run, lambda _, request, tell: request.task is tasks[0]))
    elif where == "opening":
        monkeypatch.setattr(Task, "open", bad_only(Task.open, lambda task: task is tasks[0]))
    else:
        writers = {**WRITERS, "slp": bad_only(WRITERS["slp"], lambda results, target, profile: "bad" in target.name)}
        monkeypatch.setattr("sleap_infer.jobs.write.results.WRITERS", writers)
    bad, good = run_job(onnx(graph), tasks, JobOptions(chunk=4), n_workers=0)
    assert (bad.outcome, good.outcome) == ("failed", "written")
    assert bad.error.startswith("unexpected ZeroDivisionError: a \x1b[31mb (details in ")
    assert str(state) in bad.error
    assert "Traceback" in details(state)


WORKER = """
import sys
from sleap_infer.jobs.run import worker_main as worker
def fail(*_):
    raise ZeroDivisionError("a\\nb")
worker.Session = fail
worker.main()
"""


def test_a_worker_answers_in_one_line(state: Path) -> None:
    import subprocess

    from sleap_infer.jobs import Models
    from sleap_infer.jobs.run.protocol import Open, receive, send

    words: Sequence[str] = [sys.executable, "-c", WORKER]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, Open(Models(("m",))))
    answer = receive(process.stdout)
    _, errors = process.communicate()
    assert isinstance(answer, Failed)
    assert str(as_error(answer)).startswith("unexpected ZeroDivisionError: a b (details in ")
    assert b"Traceback" not in errors
    assert "Traceback" in details(state)
