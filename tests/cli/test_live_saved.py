"""What is left of a live session, however it ends: killed processes, full disks, folders without rights."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import av
import numpy as np
import pytest
import sleap_io as sio

from sleap_infer import Outputs
from sleap_infer.errors import JobBusyError, JobDiffersError, OutputError, OutputExistsError
from sleap_infer.export import ExportResult
from sleap_infer.jobs.live_journal import Recording
from sleap_infer.jobs.store.journal import Journal

shell = importlib.import_module("sleap_infer.cli.app")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")

N_ROUNDS = 30
"""How often a video is repeated, so that it plays until the session is ended."""


@pytest.fixture(scope="module")
def long_video(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(videos / "two_flies.mp4")) as source:
        frames = [frame.reformat(format="yuv420p") for frame in source.decode(video=0)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for frame in frames * N_ROUNDS:
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def centroid(exports: Mapping[str, ExportResult]) -> tuple[object, ...]:
    """Words that name a model; as an exported one it starts without PyTorch, in a fifth of the time."""
    return "-m", exports["centroid"].directory, "-r", "onnx", "-d", "cpu"


def start(*arguments: object, code: str = "") -> subprocess.Popen[str]:
    script = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in the background
    script += f"\n{code}\nfrom sleap_infer.cli import main\nmain()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], str]:
    """Frames on stdout, and all of stderr, without a traceback."""
    out, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")], errors


def wait_for_frames(journal: Path, process: subprocess.Popen[str]) -> None:
    """Wait until frames are saved."""
    while not has_frames(journal):
        assert process.poll() is None, process.communicate()
        sleep(0.05)


def has_frames(journal: Path) -> bool:
    return Journal.is_at(journal) and (journal / "0.sqlite").exists() and Journal.open(journal).n_frames() > 0


def assert_poses(output: Path, frames: list[dict[str, Any]]) -> None:
    """Check that a file has the poses that were printed, of the first frames."""
    labels = sio.load_slp(str(output))
    assert 0 < len(labels) <= len(frames)
    for labelled, printed in zip(labels, frames, strict=False):
        assert labelled.frame_idx == printed["frame"]
        points = [instance["points"]["centroid"] for instance in printed["instances"]]
        found = [pose.numpy()[0] for pose in labelled.instances]
        np.testing.assert_allclose(np.array(found).reshape(-1, 2), np.array(points).reshape(-1, 2), atol=1e-3)


def test_kill_9_and_a_command_that_writes_the_file(
    long_video: Path, centroid: tuple[object, ...], tmp_path: Path
) -> None:
    output, journal = tmp_path / "session.slp", tmp_path / "session.journal"
    arguments = ("live", long_video, *centroid, "--json", "-o", output)
    process = start(*arguments)
    wait_for_frames(journal, process)
    process.kill()
    frames, _ = end(process)
    assert not output.exists()
    n_saved = Journal.open(journal).n_frames()
    again = start(*arguments)
    _, errors = end(again)
    assert again.returncode == 2
    assert f"sleap-infer merge {journal}" in errors
    assert f"the poses of {n_saved} frames" in errors
    merged = start("merge", journal)
    _, errors = end(merged)
    assert merged.returncode == 0, errors
    assert_poses(output, frames)
    labels = sio.load_slp(str(output))
    assert len(labels) == n_saved
    assert labels.videos[0].filename == str(long_video)
    assert labels.provenance["live"]["broken_off"]
    assert not journal.exists()


def test_a_closed_terminal_ends_it_as_ctrl_c_does(
    long_video: Path, centroid: tuple[object, ...], tmp_path: Path
) -> None:
    output = tmp_path / "session.slp"
    process = start("live", long_video, *centroid, "--json", "-o", output)
    wait_for_frames(tmp_path / "session.journal", process)
    process.send_signal(signal.SIGHUP)
    frames, errors = end(process)
    assert process.returncode == 0, errors
    assert_poses(output, frames)
    assert len(sio.load_slp(str(output))) == len(frames)
    assert list(tmp_path.iterdir()) == [output]


QUOTA = """
import resource, sys
sys.dont_write_bytecode = True  # the limit would cut these files off
resource.setrlimit(resource.RLIMIT_FSIZE, (110_000, 110_000))
"""


def test_a_file_that_may_not_grow(long_video: Path, centroid: tuple[object, ...], tmp_path: Path) -> None:
    """The session goes on to its end, and what was saved before can be written elsewhere."""
    output, journal = tmp_path / "session.slp", tmp_path / "session.journal"
    arguments = ("live", long_video, *centroid, "--json", "-o", output)
    process = start(*arguments, code=QUOTA)
    assert process.stderr is not None
    line = ""
    while "cannot be written" not in line:
        line = process.stderr.readline()
        assert line or process.poll() is None
    process.send_signal(signal.SIGTERM)
    frames, errors = end(process)
    assert process.returncode == 2, errors
    assert f"sleap-infer merge {journal}" in errors
    assert errors.splitlines()[-1].startswith("error: ")
    assert not output.exists()
    merged = start("merge", journal)
    _, errors = end(merged)
    assert merged.returncode == 0, errors
    assert_poses(output, frames)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("/proc/sys/session.slp", "cannot be written"),
        ("FOLDER/file/session.slp", "no folder"),
        ("FOLDER/nowhere/session.slp", "no folder"),
        ("FOLDER/folder.slp", "is a folder"),
        ("FOLDER/session.csv", ".slp"),
        (f"FOLDER/{'x' * 300}.slp", "too long"),
    ],
)
def test_an_output_is_tried_before_the_source_is_opened(
    output: str,
    found: str,
    models: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["-m", str(models / "centroid")]
    (tmp_path / "file").touch()
    (tmp_path / "folder.slp").mkdir()
    place = output.replace("FOLDER", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["sleap-infer", "live", "tcp://127.0.0.1:1", *words, "-o", place, "--overwrite"])
    capfd.readouterr()
    assert shell._run() == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert found in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.slp"]


def test_nothing_is_left_where_the_source_cannot_be_opened(models: Path, tmp_path: Path) -> None:
    process = start("live", tmp_path / "nowhere.mp4", "-m", models / "centroid", "-o", tmp_path / "session.slp")
    _, errors = end(process)
    assert process.returncode == 2
    assert "No source at" in errors
    assert not list(tmp_path.iterdir())


def test_two_sessions_do_not_share_an_output(tmp_path: Path) -> None:
    output = tmp_path / "session.slp"
    code = "import sys\nfrom pathlib import Path\nfrom sleap_infer.jobs.live_journal import Recording\n"
    code += "with Recording(Path(sys.argv[1])):\n    print('ready', flush=True)\n    sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    with pytest.raises(JobBusyError), Recording(output):
        pass
    other.communicate()
    with Recording(output):
        pass
    output.touch()
    with pytest.raises(OutputExistsError), Recording(output):
        pass


class Disk:
    """Stands for the file of a journal on a disk that is full for a while."""

    def __init__(self, error: Exception) -> None:
        self.error, self.is_full = error, True
        self.saved: list[tuple[int, list[int]]] = []

    def add(self, part: int, start: int, columns: Any, batch_size: int) -> None:
        if self.is_full:
            raise self.error
        self.saved.append((start, columns.frame_inds.tolist()))


@pytest.mark.parametrize("error", [OutputError("no space"), ZeroDivisionError("x")])
def test_poses_wait_until_they_can_be_saved(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    disk = Disk(error)
    with Recording(tmp_path / "session.slp") as recording:
        recording._file = disk  # type: ignore[assignment]
        recording._journal = Journal(tmp_path, {"n_nodes": 1, "is_centroid": False})
        for index in (3, 5):
            recording.add(Outputs(frame_idx=index))
            recording._save()
        assert isinstance(recording._failure, OutputError)
        disk.is_full = False
        recording.add(Outputs(frame_idx=9))
        recording._save()
        assert disk.saved == [(0, [3, 5, 9])]
        assert recording._failure is None
        recording._journal = recording._file = None


def test_journals_of_other_jobs_are_not_taken_over(tmp_path: Path) -> None:
    facts = {"what": {}, "parts": [{"frames": None}], "n_nodes": 1, "how": {}, "chunk": 1, "is_centroid": False}
    journal = Journal.create(tmp_path / "session.journal", facts)
    with journal.result_file("0") as shard:
        from sleap_infer.jobs.store.columns import to_columns

        shard.add(0, 0, to_columns([Outputs(frame_idx=0)], 1), 1)
    with (
        pytest.raises(JobDiffersError, match=r"1 frames of an earlier run .* --overwrite"),
        Recording(tmp_path / "session.slp"),
    ):
        pass
    assert Journal.open(journal.path).n_frames() == 1
    with Recording(tmp_path / "session.slp", overwrite=True):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_predict_keeps_its_journal(number: int, long_video: Path, centroid: tuple[object, ...], tmp_path: Path) -> None:
    process = start("predict", long_video, *centroid, "-b", 4, "--workers", 0, "-o", tmp_path / "poses.slp")
    journal = tmp_path / "poses.journal"
    wait_for_frames(journal, process)
    process.send_signal(number)
    _, errors = end(process)
    assert process.returncode == 128 + number
    assert "interrupted: results are saved in the journal" in errors
    assert Journal.open(journal).n_frames() > 0
    assert not (tmp_path / "poses.slp").exists()


def test_nohup_is_respected(tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "from sleap_infer.cli.signals import interrupting, stop_requested\n"
    code += "with interrupting(), stop_requested() as told:\n"
    code += "    signal.raise_signal(signal.SIGHUP)\n    assert not told.is_set()"
    subprocess.run([sys.executable, "-c", code], check=True)


IN_A_TERMINAL = """
import fcntl, os, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
"""


@pytest.mark.parametrize("name", ["live", "predict"])
def test_a_terminal_that_is_gone(name: str, long_video: Path, centroid: tuple[object, ...], tmp_path: Path) -> None:
    """Not only the signal comes: each line that is written from then on is an error."""
    import pty

    outer, inner = pty.openpty()
    script = f"{IN_A_TERMINAL}\nfrom sleap_infer.cli import main\nmain()"
    words = [name, long_video, *centroid, "-o", tmp_path / "session.slp"]
    more = ["--workers", 0] if name == "predict" else []
    command = [sys.executable, "-c", script, *map(str, [*words, *more])]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    os.set_blocking(outer, False)
    while not has_frames(tmp_path / "session.journal"):
        assert process.poll() is None
        with suppress(OSError):
            os.read(outer, 1 << 16)
        sleep(0.05)
    os.close(outer)
    assert process.wait(120) == (0 if name == "live" else 129)
    assert (tmp_path / "session.slp").exists() == (name == "live")
