"""Jobs in this process: going on, other jobs, what was done before, the ledger, formats, many videos."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io as sio
from jobs import assert_same, models_of, task_in

from sleap_infer.errors import (
    JobBusyError,
    JobDiffersError,
    SourceError,
    TooManyFailuresError,
)
from sleap_infer.frames import FrameBatch
from sleap_infer.jobs import JobOptions, Task, run_job
from sleap_infer.jobs.events import Begun, Event, Note, Progress
from sleap_infer.jobs.run.scheduler import Job
from sleap_infer.jobs.run.worker_handle import InThisProcess
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.locks import hold_lock

SMALL = JobOptions(chunk=8)


class Stop(Exception):
    """What ends a job in a test."""


def run_until(n_frames: int, models: Path, task: Task, options: JobOptions = SMALL, **given: object) -> None:
    """Run a job that is ended once so many frames are in its journal."""
    done = 0

    def listen(event: Event) -> None:
        nonlocal done
        if isinstance(event, Progress):
            done += event.n_frames
            if done >= n_frames:
                raise Stop

    with pytest.raises(Stop):
        run_job(models_of(models, **given), [task], options, listen, n_workers=0)  # type: ignore[arg-type]


def test_it_goes_on_where_it_was_ended(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4")
    run_until(24, models, task)
    assert not task.output.exists()
    events: list[Event] = []
    (report,) = run_job(models_of(models), [task], SMALL, events.append, n_workers=0)
    assert [event.n_done for event in events if isinstance(event, Begun)] == [24]
    assert sum(event.n_frames for event in events if isinstance(event, Progress)) == 76
    assert (report.n_frames, report.n_resumed, report.outcome) == (100, 24, "written")
    assert not task.journal.exists()
    other = task_in(tmp_path, videos / "two_flies.mp4", "whole")
    run_job(models_of(models), [other], SMALL, n_workers=0)
    assert_same(task.output, other.output)


def test_auto_goes_on_with_what_it_began_with(models: Path, videos: Path, tmp_path: Path) -> None:
    import attrs

    task = task_in(tmp_path, videos / "two_flies.mp4")
    run_until(8, models, task, batch_size=2)
    events: list[Event] = []
    asked = attrs.evolve(models_of(models), backend="auto", batch_size=None)
    run_job(asked, [task], SMALL, events.append, n_workers=0)
    assert any("batch size 2" in event.text for event in events if isinstance(event, Note))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ("centroid",)}, "its models are others"),
        ({"peak_threshold": 0.4}, "peak_threshold is 0.2 there and 0.4 here"),
        ({"batch_size": 2}, "batch_size is 4 there and 2 here"),
    ],
)
def test_the_journal_of_another_job_is_left_alone(
    given: dict[str, object], message: str, models: Path, videos: Path, tmp_path: Path
) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4")
    run_until(8, models, task)
    kinds = given.pop("kinds", ())
    other = models_of(models, *kinds, **given)  # type: ignore[arg-type, misc]
    with pytest.raises(JobDiffersError, match=message):
        run_job(other, [task], SMALL, n_workers=0)
    assert Journal.open(task.journal).missing()
    (report,) = run_job(other, [task], JobOptions(overwrite=True), n_workers=0)
    assert (report.n_frames, report.n_resumed) == (100, 0)


def test_other_frames_or_another_video_are_another_job(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4")
    run_until(8, models, task)
    with pytest.raises(JobDiffersError, match="frames"):
        run_job(models_of(models), [Task(task.sources, task.output, (1, 2))], SMALL, n_workers=0)
    Path(task.sources[0]).write_bytes((videos / "one_fly.mp4").read_bytes())
    with pytest.raises(JobDiffersError, match="content"):
        run_job(models_of(models), [task], SMALL, n_workers=0)


def test_what_is_done_is_kept(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=(0, 1))
    run_job(models_of(models), [task], SMALL, n_workers=0)
    before = task.output.stat().st_mtime_ns
    (report,) = run_job(models_of(models), [task], SMALL, n_workers=0)
    assert report.outcome == "skipped"
    assert task.output.stat().st_mtime_ns == before
    with pytest.raises(JobDiffersError, match="made by something else"):
        run_job(models_of(models, peak_threshold=0.5), [task], SMALL, n_workers=0)
    (report,) = run_job(models_of(models, peak_threshold=0.5), [task], JobOptions(overwrite=True), n_workers=0)
    assert report.outcome == "written"


def test_a_file_of_somebody_else_is_left_alone(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=(0,))
    task.output.write_text("mine")
    with pytest.raises(JobDiffersError, match="is there already"):
        run_job(models_of(models), [task], SMALL, n_workers=0)
    assert task.output.read_text() == "mine"


def test_the_second_of_two_jobs_on_one_output_is_refused(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=(0,))
    with hold_lock(task.journal / "lock", "it"), pytest.raises(JobBusyError, match="Another process works on"):
        run_job(models_of(models), [task], SMALL, n_workers=0)
    (report,) = run_job(models_of(models), [task], SMALL, n_workers=0)
    assert report.outcome == "written"


def test_a_network_that_fails_at_the_end_invents_no_frame(
    models: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batch has one frame, where there is room for three."""
    from sleap_infer.predictors.base import Predictor

    prepare = Predictor.prepare

    def fail(self: Predictor, batch: FrameBatch) -> object:
        if any(frame.frame_idx == 99 for frame in batch.frames):
            raise ValueError("this one")
        return prepare(self, batch)

    monkeypatch.setattr(Predictor, "prepare", fail)
    task = task_in(tmp_path, videos / "two_flies.mp4")
    (report,) = run_job(models_of(models, batch_size=3), [task], SMALL, n_workers=0)
    assert (report.n_frames, report.counts["predict_failed"], report.n_failed) == (100, 1, 1)


def test_a_table_alone_is_known_to_be_done(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=(0, 1))
    options = JobOptions(("csv",))
    run_job(models_of(models), [task], options, n_workers=0)
    (again,) = run_job(models_of(models), [task], options, n_workers=0)
    assert again.outcome == "skipped"
    with task.target("csv").open("a") as file:
        file.write("mine\n")
    with pytest.raises(JobDiffersError, match="something else"):
        run_job(models_of(models), [task], options, n_workers=0)


def test_formats_hold_the_same(models: Path, videos: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    task = task_in(tmp_path, videos / "two_flies.mp4", frames=tuple(range(10)))
    options = JobOptions(("slp", "analysis_h5", "csv", "parquet", "ledger"), chunk=8)
    (report,) = run_job(models_of(models, "multi_class_bottomup"), [task], options, n_workers=0)
    names = ["clip.slp", "clip.analysis.h5", "clip.csv", "clip.parquet", "clip.ledger.csv"]
    assert [path.name for path in report.files] == names
    labels = sio.load_slp(str(report.files[0]))
    expected = [
        (
            frame.frame_idx,
            number,
            instance.track.name,
            node.name,
            *instance.numpy()[k],
            float(instance.points["score"][k]),
        )
        for frame in labels
        for number, instance in enumerate(frame.instances)
        for k, node in enumerate(labels.skeleton.nodes)
        if not np.isnan(instance.numpy()[k, 0])
    ]
    with report.files[2].open() as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(report.files[3]).to_pylist()
    assert len(rows) == len(table) == len(expected)
    for row, other, wanted in zip(rows, table, expected, strict=True):
        assert (int(row["frame"]), int(row["instance"]), row["track"], row["node"]) == wanted[:4]
        assert (other["frame"], other["instance"], other["track"], other["node"]) == wanted[:4]
        for name, value in zip(("x", "y", "score"), wanted[4:], strict=True):
            assert np.float32(row[name]) == np.float32(value) == np.float32(other[name])
    with h5py.File(report.files[1]) as file:
        dense = file["tracks"][()]
        assert sorted(name.decode() for name in file["track_names"][()]) == sorted(t.name for t in labels.tracks)
    assert np.count_nonzero(~np.isnan(dense[:, 0])) == len(expected)
    with report.files[4].open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["frame"]) for line in lines] == list(range(10))
    assert float(lines[5]["time_s"]) == pytest.approx(
        5 * (float(lines[1]["time_s"]) - float(lines[0]["time_s"])), abs=1e-3
    )
    (again,) = run_job(models_of(models, "multi_class_bottomup"), [task], JobOptions(("parquet",)), n_workers=0)
    assert again.outcome == "skipped"


def broken_video(source: Path, target: Path, stretches: list[tuple[float, float]]) -> None:
    """Overwrite stretches of a video's data, given as shares of it."""
    data = bytearray(source.read_bytes())
    begin = data.index(b"mdat") + 8
    dice = np.random.default_rng(0)
    for first, last in stretches:
        a, b = (begin + int(share * (len(data) - begin)) for share in (first, last))
        data[a:b] = dice.integers(0, 256, b - a, np.uint8).tobytes()
    target.write_bytes(bytes(data))


def test_corrupt_stretches_shift_nothing(models: Path, corpus: Path, tmp_path: Path) -> None:
    video = corpus / "datasets" / "centered_pair_small.mp4"
    video = video if video.exists() else next(corpus.rglob("centered_pair_small.mp4"))
    good = task_in(tmp_path, video, "good", at_most=240)
    bad_path = tmp_path / "bad.mp4"
    broken_video(video, bad_path, [(0.03, 0.031), (0.08, 0.0805), (0.15, 0.151)])
    bad = Task((str(bad_path),), tmp_path / "bad.slp", at_most=240)
    options = JobOptions(("slp", "ledger"), chunk=32)
    run_job(models_of(models), [good], options, n_workers=0)
    (report,) = run_job(models_of(models), [bad], options, n_workers=0)
    assert report.n_frames == 240 == sum(report.counts.values())
    with bad.target("ledger").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(240)), "each has its place"
    lost = [int(row["frame"]) for row in rows if row["status"] == "decode_failed"]
    assert report.counts["decode_failed"] == len(lost) > 0
    assert report.n_failed == len(lost)
    one, two = (sio.load_slp(str(task.output)) for task in (good, bad))
    from sleap_infer import open_source

    def pixels(path: str) -> dict[int, np.ndarray]:  # type: ignore[type-arg]
        part = open_source(path).parts[0]
        return {index: np.asarray(image) for index, image in part.some(0, 240).read() if isinstance(image, np.ndarray)}

    sound, damaged = pixels(good.sources[0]), pixels(bad.sources[0])
    same = [index for index, image in damaged.items() if np.array_equal(image, sound[index])]
    assert len(same) > 100, "most pictures are as they were"
    for index in same:
        found, expected = ([instance.numpy() for instance in labels[index].instances] for labels in (two, one))
        np.testing.assert_array_equal(found, expected)


def test_a_truncated_video(models: Path, videos: Path, tmp_path: Path) -> None:
    import av

    source = tmp_path / "long.mkv"
    with av.open(str(videos / "two_flies.mp4")) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    task = Task((str(source),), tmp_path / "long.slp")
    (report,) = run_job(models_of(models), [task], SMALL, n_workers=0)
    assert report.outcome == "written"
    assert 20 < report.counts["ok"] + report.counts["empty"] < 100
    assert report.n_frames == sum(report.counts.values()) == len(sio.load_slp(str(task.output)))
    whole = task_in(tmp_path, videos / "two_flies.mp4")
    data = Path(whole.sources[0]).read_bytes()
    Path(whole.sources[0]).write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"cannot be opened|incomplete|without"):
        run_job(models_of(models), [whole], SMALL, n_workers=0)


def test_giving_up(models: Path, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        if number % 2:
            (folder / f"{number}.png").write_bytes(b"torn")
        else:
            cv2.imwrite(str(folder / f"{number}.png"), np.zeros((64, 64), np.uint8))
    task = Task((str(folder),), tmp_path / "images.slp")
    with pytest.raises(TooManyFailuresError, match="8 frames failed, more than the 5"):
        run_job(models_of(models), [task], JobOptions(chunk=16, max_failed=5), n_workers=0)
    (report,) = run_job(models_of(models), [task], JobOptions(chunk=16), n_workers=0)
    assert (report.n_resumed, report.counts["decode_failed"], report.n_frames) == (16, 10, 20)
    assert report.files[1].name == "images.ledger.csv"


def test_many_videos_with_a_broken_one_among_them(models: Path, videos: Path, tmp_path: Path) -> None:
    tasks = [task_in(tmp_path, videos / "two_flies.mp4", f"v{number}", at_most=2) for number in range(6)]
    Path(tasks[3].sources[0]).write_bytes(b"no video")
    reports = run_job(models_of(models), tasks, SMALL, n_workers=0)
    assert [report.outcome for report in reports] == ["written"] * 3 + ["failed"] + ["written"] * 2
    assert "v3.mp4" in reports[3].error
    again = run_job(models_of(models), tasks, SMALL, n_workers=0)
    assert [report.outcome for report in again] == ["skipped"] * 3 + ["failed"] + ["skipped"] * 2


def test_everything_in_one_output(models: Path, videos: Path, tmp_path: Path) -> None:
    one, two = (task_in(tmp_path, videos / "two_flies.mp4", name) for name in "ab")
    task = Task((*one.sources, *two.sources), tmp_path / "all.slp", at_most=65)
    (report,) = run_job(models_of(models), [task], SMALL, n_workers=0)
    labels = sio.load_slp(str(task.output))
    assert report.n_frames == len(labels) == 130
    assert [Path(video.filename).name for video in labels.videos] == ["a.mp4", "b.mp4"]
    assert [frame.frame_idx for frame in labels] == [*range(65), *range(65)]


def test_warnings_when_results_change(models: Path, tmp_path: Path) -> None:
    from sleap_infer.jobs.run.drift import DriftCheck, Window

    check = DriftCheck()
    usual = Window(500, 1000, 900.0, 1000, 1100)
    assert [text for _ in range(4) for text in check.watch(usual)] == []
    nobody = Window(1000, 10, 3.0, 10, 20)
    found = list(check.watch(nobody))
    assert [text.split(" went")[0] for text in found] == [
        "instances per frame",
        "the mean score of points",
        "the share of missing points",
    ]


def test_warnings_when_frames_are_unlike_those_of_training() -> None:
    from sleap_infer.jobs.run.drift import unlike_training

    assert list(unlike_training((384, 384, 1), 1, (384, 384), 160)) == []
    (gray,) = unlike_training((384, 384, 1), 3, (None, None), None)
    assert "--" not in gray  # no option makes colour of gray
    (small,) = unlike_training((1024, 1280, 1), 1, (384, 384), 160)
    assert "reduced by a factor of 3.3" in small
    (crops,) = unlike_training((100, 80, 1), 1, (None, None), 160)
    assert "--crop-size" in crops


def test_the_provenance_says_what_was_done(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=tuple(range(9)))
    run_job(models_of(models), [task], SMALL, n_workers=0)
    provenance = sio.load_slp(str(task.output)).provenance
    assert provenance["ledger"]["ok"] + provenance["ledger"]["empty"] == 9
    assert provenance["frame_selection"] == {"frames_processed": 9, "frames_failed": 0}
    assert provenance["profile"]["wall_seconds"] > 0
    assert json.dumps(provenance)


def test_a_job_without_work_loads_no_model(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=(0,))
    run_job(models_of(models), [task], SMALL, n_workers=0)

    class Nobody(InThisProcess):
        def ask(self, request: object, tell: object) -> None:  # type: ignore[override]
            raise AssertionError("nothing is to be done")

    (report,) = Job(models_of(models), [task], SMALL).run([Nobody()])
    assert report.outcome == "skipped"
