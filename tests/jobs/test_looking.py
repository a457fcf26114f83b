"""The process that leads a job opens no video itself: a decoder may end the process that it runs in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sleap_io as sio
from jobs import onnx, task_in

from sleap_infer.errors import SourceFormatError
from sleap_infer.jobs import JobOptions, Task, run_job
from sleap_infer.jobs.run.scheduler import Job
from sleap_infer.jobs.run.worker_handle import WorkerProcess

BREAK = """
import os
from sleap_infer.frames.readers import av as video_file
from sleap_infer.jobs.run import worker_main as worker

real = video_file.VideoFileReader.__init__

def init(self, path, *given):
    if "broken" in str(path):
        os.abort()
    real(self, path, *given)

video_file.VideoFileReader.__init__ = init
worker.main()
"""

SOURCES = ("clip.mp4", "images", "some.pkg.slp", "labels.slp")


@pytest.fixture
def place(tmp_path: Path, videos: Path) -> Path:
    """Sources of several kinds."""
    shutil.copy(videos / "one_fly.mp4", tmp_path / "clip.mp4")
    (tmp_path / "images").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((192, 192), 40, np.uint8))
    full = sio.load_slp(str(videos / "one_fly.truth.slp"))
    full.extract([3, 7]).save(str(tmp_path / "some.pkg.slp"), embed=True, verbose=False)
    video = sio.Video(filename="clip.mp4", backend_metadata={"type": "MediaVideo"}, open_backend=False)
    sio.Labels([sio.LabeledFrame(video, 1)], videos=[video]).save(str(tmp_path / "labels.slp"), verbose=False)
    return tmp_path


def forbid_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """No video and no image can be opened in this process."""
    import av
    from sleap_io.io import video_reading

    def refuse(*given: Any, **facts: Any) -> None:
        raise AssertionError(f"opened in the process that leads the job: {given}")

    for module, names in ((av, ["open"]), (cv2, ["imread", "imreadmulti", "imdecode", "imcount", "VideoCapture"])):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(video_reading.VideoBackend, "from_filename", refuse)


@pytest.mark.skipif(sys.platform == "win32", reason="names as on POSIX")
def test_no_decoder_in_the_leading_process(graph: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [Task((str(place / name),), place / f"poses{number}", at_most=2) for number, name in enumerate(SOURCES)]
    bad = os.fsdecode(bytes(place) + b"/\xff.mp4")
    shutil.copy(place / "clip.mp4", bad)
    with monkeypatch.context() as patch:
        forbid_decoders(patch)
        options = JobOptions(("slp", "csv", "ledger"), chunk=8)
        reports = run_job(onnx(graph), [Task((bad,), place / "x"), *tasks], options, n_workers=1)
    assert [report.outcome for report in reports] == ["failed", *["written"] * 4]
    assert "UTF-8" in reports[0].error
    for task in tasks:
        labels = sio.load_slp(str(task.target("slp")))
        assert labels.video.exists()
        assert tuple(labels.video.shape[1:3]) == (192, 192)
    lines = tasks[0].target("ledger").read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["0.000000", "0.066667"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_a_video_that_ends_the_process_fails_in_its_row(graph: Path, videos: Path, tmp_path: Path) -> None:
    tasks = [task_in(tmp_path, videos / "one_fly.mp4", name, at_most=2) for name in ("a", "broken", "c")]
    worker = WorkerProcess((sys.executable, "-c", BREAK))
    reports = Job(onnx(graph), tasks, JobOptions(chunk=8)).run([worker])
    assert [report.outcome for report in reports] == ["written", "failed", "written"]
    assert "SIGABRT" in reports[1].error
    with pytest.raises(SourceFormatError, match="SIGABRT"):
        Job(onnx(graph), tasks[1:2], JobOptions(chunk=8)).run([WorkerProcess((sys.executable, "-c", BREAK))])
