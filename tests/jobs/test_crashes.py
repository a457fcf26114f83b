"""Real crashes of real processes: the job goes on, the failing frames are marked, all others are as they should be."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from jobs import onnx, tables_of, task_in

from sleap_infer.errors import WorkerError
from sleap_infer.jobs import JobOptions, TaskReport, run_job
from sleap_infer.jobs.run.bisect import Bisection
from sleap_infer.jobs.run.scheduler import Job
from sleap_infer.jobs.run.worker_handle import WorkerProcess
from sleap_infer.jobs.store.ranges import Range

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")

N_FRAMES = 24

BREAK = """
import os, signal, sys
from pathlib import Path
from sleap_infer.frames.readers import av as video_file
from sleap_infer.jobs.run import worker_main as worker

real = video_file.VideoFileReader._to_image
counter = Path({folder!r}) / "times"

def to_image(reader, frame):
    index = round(frame.time * {fps})
    if index in {frames!r} and (not {once!r} or not counter.exists()):
        counter.touch()
        {act}
    return real(reader, frame)

video_file.VideoFileReader._to_image = to_image
worker.main()
"""

DECODER = """
import os, sys
from sleap_infer.frames.readers import packets
from sleap_infer.frames.readers import av as video_file
from sleap_infer.jobs.run import worker_main as worker

real = packets._decode

def decode(packet):
    for frame in real(packet):
        if round(frame.time * {fps}) in {frames!r}:
            os.abort()
        yield frame

packets._decode = lambda packet: list(decode(packet))
worker.main()
"""


def worker(folder: Path, frames: tuple[int, ...], act: str, once: bool = False, fps: int = 25) -> WorkerProcess:
    code = BREAK.format(folder=str(folder), frames=frames, act=act, once=once, fps=fps)
    return WorkerProcess((sys.executable, "-c", code))


def fps_of(video: Path) -> int:
    import av

    with av.open(str(video)) as container:
        return round(container.streams.video[0].average_rate)


def ledger(path: Path) -> dict[int, tuple[str, str]]:
    with path.open() as file:
        return {int(row["frame"]): (row["status"], row["reason"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def whole(graph: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed job writes."""
    task = task_in(tmp_path_factory.mktemp("whole"), videos / "two_flies.mp4", frames=tuple(range(N_FRAMES)))
    run_job(onnx(graph), [task], JobOptions(chunk=8), n_workers=0)
    return task.output


def run_with(
    broken: WorkerProcess, graph: Path, videos: Path, folder: Path, n_frames: int = N_FRAMES
) -> tuple[TaskReport, list[str]]:
    task = task_in(folder, videos / "two_flies.mp4", frames=tuple(range(n_frames)))
    said: list[str] = []
    job = Job(onnx(graph), [task], JobOptions(chunk=8), lambda event: said.append(str(event)))
    (report,) = job.run([broken])
    return report, said


def frames_of(path: Path, left_out: set[int]) -> list[tuple[int, bytes]]:
    """Frames, and their points as they are stored."""
    tables = tables_of(path)
    found = []
    for row in tables["frames"]:
        rows = tables["instances"][row["instance_id_start"] : row["instance_id_end"]]
        points = b"".join(tables["pred_points"][r["point_id_start"] : r["point_id_end"]].tobytes() for r in rows)
        if int(row["frame_idx"]) not in left_out:
            found.append((int(row["frame_idx"]), points))
    return found


def places_of(path: Path) -> list[int]:
    return tables_of(path)["frames"]["frame_idx"].tolist()


@pytest.mark.parametrize(
    "act", ["os.abort()", "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGSEGV)"]
)
def test_a_crash_that_comes_once_costs_nothing(
    act: str, whole: Path, graph: Path, videos: Path, tmp_path: Path
) -> None:
    broken = worker(tmp_path, (13,), act, once=True, fps=fps_of(videos / "two_flies.mp4"))
    report, _ = run_with(broken, graph, videos, tmp_path)
    assert (report.outcome, report.n_frames, report.n_failed) == ("written", N_FRAMES, 0)
    own, expected = (frames_of(path, set()) for path in (report.files[0], whole))
    assert own == expected, "also where batches were halved, since memory may have run out"


def test_failing_frames_are_found_and_marked(whole: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    failing = (9, 20)
    broken = worker(tmp_path, failing, "os.abort()", fps=fps_of(videos / "two_flies.mp4"))
    report, _ = run_with(broken, graph, videos, tmp_path)
    assert report.counts["predict_failed"] == 2
    assert report.n_frames == N_FRAMES
    assert places_of(report.files[0]) == list(range(N_FRAMES)), "they keep their places"
    marks = ledger(report.files[1])
    assert {index for index, (status, _) in marks.items() if status == "predict_failed"} == set(failing)
    assert "SIGABRT" in marks[9][1]


def test_a_decoder_that_cannot_pass_a_place(graph: Path, videos: Path, tmp_path: Path) -> None:
    code = DECODER.format(frames=(11,), fps=fps_of(videos / "two_flies.mp4"))
    report, _ = run_with(WorkerProcess((sys.executable, "-c", code)), graph, videos, tmp_path, n_frames=14)
    assert report.n_frames == 14
    marks = ledger(report.files[1])
    assert all(marks[index][0] in ("ok", "empty") for index in range(9)), "what lies before is there"
    assert marks[11][0] == "predict_failed"


def test_memory_that_runs_out_halves_the_batch(graph: Path, videos: Path, tmp_path: Path) -> None:
    code = """
from sleap_infer.jobs.run import worker_main as worker
from sleap_infer.predictors import one_stage, base
real = base.Predictor.prepare
def prepare(self, batch):
    if len(batch.frames) > 1:
        bytearray(1 << 62)
    return real(self, batch)
base.Predictor.prepare = prepare
worker.main()
"""
    report, said = run_with(WorkerProcess((sys.executable, "-c", code)), graph, videos, tmp_path)
    assert (report.n_frames, report.n_failed) == (N_FRAMES, 0)
    assert any("batches of 1" in text for text in said)


def test_a_network_that_fails_on_a_frame(whole: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    code = """
from sleap_infer.jobs.run import worker_main as worker
from sleap_infer.predictors import base
real = base.Predictor.prepare
def prepare(self, batch):
    if any(frame.frame_idx == 6 for frame in batch.frames):
        raise ValueError("this one")
    return real(self, batch)
base.Predictor.prepare = prepare
worker.main()
"""
    report, _ = run_with(WorkerProcess((sys.executable, "-c", code)), graph, videos, tmp_path)
    assert report.counts["predict_failed"] == 1
    marks = ledger(report.files[1])
    assert marks[6] == ("predict_failed", "frame 6: ValueError: this one")
    assert frames_of(report.files[0], {6}) == frames_of(whole, {6})


def test_what_always_ends_is_an_error(graph: Path, videos: Path, tmp_path: Path) -> None:
    code = "import sys; print('no such library', file=sys.stderr); sys.exit(3)"
    with pytest.raises(WorkerError, match=r"cannot be loaded.*exit code 3 \(no such library\)"):
        run_with(WorkerProcess((sys.executable, "-c", code)), graph, videos, tmp_path)


def test_a_worker_ends_with_whoever_asked() -> None:
    with WorkerProcess() as process:
        process.start()
        child = process._child
        assert child is not None
        child.stdin.close()
        assert child.ending(30).code == 0


@pytest.mark.parametrize("bad", [set(), {0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5}, {2, 6}])
def test_bisection_finds_those_that_end_a_process_themselves(bad: set[int]) -> None:
    bisection, failing, done = Bisection.of(Range(0, 8)), set(), set()
    while (some := bisection.next) is not None:
        end = next((place for place in range(some.start, some.stop or 0) if place in bad), None)
        done |= set(range(some.start, some.stop or 0 if end is None else end))
        if end is None:
            bisection.done()
        else:
            found = bisection.crashed(end)
            failing |= set(range(found.start, found.stop or 0))
    assert done | failing == set(range(8))
    assert not done & failing
    assert bad <= failing
