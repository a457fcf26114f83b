"""A full disk, missing rights, a quota: one line that says so, the journal stays, and the same command finishes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import assert_same, onnx, task_in

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import OutputError
from sleap_infer.jobs import JobOptions, run_job
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.write import results as finishing

CODES = {
    errno.ENOSPC: "No space left on device.*Free some space",
    errno.EDQUOT: "quota.*Free some space",
    errno.EACCES: "Permission denied.*rights",
    errno.EROFS: "Read-only file system.*Choose a folder",
    errno.EIO: "Input/output error.*disk",
}
FORMATS: tuple[OutputFormat, ...] = ("slp", "csv", "parquet", "ledger", "analysis_h5")


def failing(real: Callable[..., Any], code: int, is_meant: Callable[..., bool]) -> Callable[..., Any]:
    def fail(*given: Any, **named: Any) -> Any:
        if is_meant(*given):
            raise OSError(code, os.strerror(code), str(given[0]))
        return real(*given, **named)

    return fail


def _making_the_folder(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Path, "mkdir", failing(Path.mkdir, code, lambda path, *_: path.suffix == ".journal"))


def _beginning_the_journal(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Path, "replace", failing(Path.replace, code, lambda _, target: target.name == "job.json"))


def _reading_the_folder(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Path, "iterdir", failing(Path.iterdir, code, lambda path: path.suffix == ".journal"))


def _putting_the_output(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Path, "replace", failing(Path.replace, code, lambda _, target: target.name == "clip.slp"))


STEPS = (_making_the_folder, _beginning_the_journal, _reading_the_folder, _putting_the_output)


@pytest.mark.parametrize("code", CODES)
def test_each_step(code: int, graph: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=8)
    for step in STEPS:
        with pytest.MonkeyPatch.context() as patch:
            step(patch, code)
            with pytest.raises(OutputError, match=CODES[code]) as caught:
                run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
        assert "\n" not in str(caught.value)
        assert not task.output.exists()
    assert Journal.open(task.journal).n_frames() == 8
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert (report.outcome, report.n_resumed) == ("written", 8)


@pytest.mark.parametrize("form", FORMATS)
def test_each_format(
    form: OutputFormat, graph: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of the file."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=8)
    writer = {"analysis_h5": "write_analysis", "ledger": "write_frame_status"}.get(form, f"write_{form}")
    real = getattr(finishing, writer)

    def half(path: Path, *given: Any) -> None:
        real(path, *given)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(finishing, writer, half)
        with pytest.raises(OutputError, match="No space left on device"):
            run_job(onnx(graph), [task], JobOptions(chunk=4, formats=(form,)), n_workers=0)
    target = task.target(form)
    assert not target.exists()
    assert not list(tmp_path.glob(".partial-*"))
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4, formats=(form,)), n_workers=0)
    assert report.n_resumed == 8
    assert target.exists()


def test_a_journal_that_cannot_be_deleted(
    graph: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The output is written: that is no error."""
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=8)
    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing(Path.unlink, errno.EACCES, lambda path, *_: path.is_file()))
        (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert report.outcome == "written"
    assert "cannot be deleted" in caplog.text
    assert task.output.exists()
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert report.outcome in ("written", "skipped")
    assert not task.journal.exists()


LIMITED = """
import resource, signal, sys
sys.dont_write_bytecode = True  # the limit would cut these files off
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["sleap-infer", *sys.argv[2:]]
from sleap_infer.cli.app import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits as on POSIX")
@pytest.mark.parametrize("limit", [20_000, 60_000])
def test_the_command(limit: int, graph: Path, videos: Path, tmp_path: Path) -> None:
    """A quota that the system enforces: exit code 2, one line, and the same command finishes."""
    video = tmp_path / "clip.mp4"
    shutil.copy(videos / "two_flies.mp4", video)
    arguments = [str(video), "-m", str(graph), "-r", "onnx", "-b", "4", "-o", str(tmp_path / "clip.slp")]
    command = [sys.executable, "-c", LIMITED, str(limit), "predict", *arguments, "--progress", "none", "--workers", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be written" in line
    assert not (tmp_path / "clip.slp").exists()
    other = task_in(tmp_path, videos / "two_flies.mp4", "other")
    command[3] = str(2**40)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    run_job(onnx(graph), [other], n_workers=0)
    assert_same(tmp_path / "clip.slp", other.output)
