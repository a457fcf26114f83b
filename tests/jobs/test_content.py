"""Results belong to the recording that they were made from, and to no other one under the same name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import sleap_io as sio
from jobs import models_of

from sleap_infer.errors import JobDiffersError
from sleap_infer.frames import open_source
from sleap_infer.jobs import JobOptions, Task, run_job
from sleap_infer.jobs.events import Event, Progress
from sleap_infer.jobs.plan import content as content_of
from sleap_infer.jobs.plan.content import BLOCK, SAMPLES, Contents, noted, samples
from sleap_infer.jobs.plan.identity import identify_videos
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.journal_files import CONTENT_FILE

SMALL = JobOptions(chunk=8)


class Stop(Exception):
    """What ends a job in a test."""


def stop_early(event: Event) -> None:
    if isinstance(event, Progress):
        raise Stop


def write_video(path: Path, marks: dict[int, int]) -> None:
    """Forty frames of noise that do not compress, of 200 kB each, the same ones but where a mark stands."""
    rng = np.random.default_rng(0)
    frames = [np.repeat(rng.integers(0, 255, (1, 96, 96, 1), np.uint8), 3, -1)[0] for _ in range(40)]
    for frame, mark in marks.items():
        frames[frame][40:50, 40:50] = mark
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for frame in frames:
        writer.write(frame)
    writer.release()


def write_pair(one: Path, other: Path) -> None:
    """Two files of one size that differ in a few bytes where no sample lies."""
    data = bytearray(os.urandom(SAMPLES * BLOCK * 3))
    one.write_bytes(data)
    data[BLOCK + 100] ^= 1
    other.write_bytes(data)
    assert samples([one]) == samples([other])


REPLACE: dict[str, Callable[[Path, Path], object]] = {
    "copied over": shutil.copyfile,
    "copied with its times": shutil.copy2,
    "renamed": os.replace,
    "in place, times set back": lambda new, old: (
        old.write_bytes(new.read_bytes()),
        os.utime(old, ns=(old.stat().st_atime_ns, new.stat().st_mtime_ns)),
    ),
}


@pytest.mark.parametrize("how", REPLACE)
def test_two_recordings_that_agree_in_all_samples(how: str, tmp_path: Path) -> None:
    video, other, journal = tmp_path / "a.avi", tmp_path / "b.avi", tmp_path / "j"
    write_pair(video, other)
    shutil.copystat(video, other)
    contents = Contents([[video]])
    contents.note(journal)
    assert contents.unlike(noted(journal)) is None
    REPLACE[how](other, video)
    assert "content" in (Contents([[video]]).unlike(noted(journal)) or "")


@pytest.mark.parametrize("large", [False, True])
def test_files_may_be_moved_copied_and_touched(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(content_of, "AT_ONCE", 1)
    video, journal = tmp_path / "a.avi", tmp_path / "j"
    video.write_bytes(os.urandom(BLOCK * 3))
    contents = Contents([[video]])
    contents.note(journal)
    contents.wait()
    os.utime(video)
    assert Contents([[video]]).unlike(noted(journal)) is None
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy2(video, tmp_path / "elsewhere" / "a.avi")
    moved = Contents([[Path(copy)]])
    assert moved.unlike(noted(journal)) is None
    moved.note(journal, noted(journal))
    video.unlink()
    monkeypatch.setattr(content_of, "full", lambda paths: pytest.fail("the stamp is the same"))
    assert Contents([[Path(copy)]]).unlike(noted(journal)) is None


def test_what_was_not_noted_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file that changes before all of it was looked at."""
    video, journal = tmp_path / "a.avi", tmp_path / "j"
    video.write_bytes(os.urandom(BLOCK))
    monkeypatch.setattr(content_of, "AT_ONCE", 1)
    monkeypatch.setattr(Contents, "_hash_all", lambda self, numbers, journal: None)
    Contents([[video]]).note(journal)
    assert Contents([[video]]).unlike(noted(journal)) is None
    os.utime(video)
    assert "changed or moved" in (Contents([[video]]).unlike(noted(journal)) or "")
    (journal / CONTENT_FILE).write_text("[1]")
    assert "earlier version" in (Contents([[video]]).unlike(noted(journal)) or "")


@pytest.mark.parametrize("at", [0.0, 0.13, 0.5, 0.77, 1.0])
def test_samples_are_spread_over_the_file(at: float, tmp_path: Path) -> None:
    """Two recordings that differ over a fiftieth of their length."""
    data = bytearray(os.urandom(SAMPLES * BLOCK * 3))
    (tmp_path / "a").write_bytes(data)
    start = int(at * len(data) * 49 / 50)
    data[start : start + len(data) // 50] = os.urandom(len(data) // 50)
    (tmp_path / "b").write_bytes(data)
    assert samples([tmp_path / "a"]) != samples([tmp_path / "b"])


@pytest.mark.parametrize("changed", [0, 7, 19])
def test_each_image_of_a_folder_counts(changed: int, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02d}.bmp" for number in range(20)]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    before = identify_videos(open_source(tmp_path))
    cv2.imwrite(str(paths[changed]), np.full((32, 32, 3), 9, np.uint8))
    assert identify_videos(open_source(tmp_path)) != before


def labels_of(folder: Path, videos: Path, change: Callable[[sio.Labels], object] = lambda labels: None) -> Path:
    """Hand-made labels of three frames."""
    labels = sio.load_slp(str(videos / "two_flies.truth.slp"), open_videos=False)
    instances = [
        sio.LabeledFrame(
            frame.video,
            frame.frame_idx,
            [sio.Instance.from_numpy(instance.numpy(), skeleton=labels.skeleton) for instance in frame.instances],
        )
        for frame in labels[:3]
    ]
    made = sio.Labels(instances, videos=labels.videos, skeletons=labels.skeletons)
    change(made)
    shutil.copy(videos / "two_flies.mp4", folder)
    path = folder / "labels.slp"
    made.save(str(path), verbose=False)
    return path


def move_a_point(labels: sio.Labels) -> None:
    labels[1].instances[0].points["xy"][0] += 3


CHANGES: dict[str, Callable[[sio.Labels], object]] = {
    "moved": move_a_point,
    "gone": lambda labels: labels[1].instances.pop(),
    "in another order": lambda labels: labels[1].instances.reverse(),
    "a node renamed": lambda labels: labels.skeleton.rename_nodes({"head": "front"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_instances_that_crops_are_cut_around(change: str, videos: Path, tmp_path: Path) -> None:
    one, other = (
        identify_videos(open_source(labels_of(tmp_path, videos, how)), with_known=True)
        for how in (lambda labels: None, CHANGES[change])
    )
    assert one != other
    assert [{**video, "known": 0} for video in one] == [{**video, "known": 0} for video in other]


def test_poses_of_other_labels_are_not_done_before(models: Path, videos: Path, tmp_path: Path) -> None:
    source = labels_of(tmp_path, videos)
    task, used = Task((str(source),), tmp_path / "poses.slp"), models_of(models, "centered_instance")
    assert [run_job(used, [task], SMALL, n_workers=0)[0].outcome for _ in range(2)] == ["written", "skipped"]
    labels_of(tmp_path, videos, move_a_point)
    with pytest.raises(JobDiffersError, match="something else"):
        run_job(used, [task], SMALL, n_workers=0)


@pytest.mark.parametrize("form", ["slp", "csv", "parquet", "analysis_h5"])
def test_a_replaced_video_is_not_done_before(form: str, models: Path, tmp_path: Path) -> None:
    video = tmp_path / "a.avi"
    write_video(video, {})
    task, options = Task((str(video),), tmp_path / "poses", at_most=2), attrs.evolve(SMALL, formats=(form,))
    outcomes = [run_job(models_of(models), [task], options, n_workers=0)[0].outcome for _ in range(2)]
    assert outcomes == ["written", "skipped"]
    size = video.stat().st_size
    content_before = video.read_bytes()
    changed = bytearray(content_before)
    changed[size // 2] ^= 1
    video.write_bytes(changed)
    with pytest.raises(JobDiffersError, match=r"content|something else"):
        run_job(models_of(models), [task], options, n_workers=0)
    video.write_bytes(content_before)
    assert run_job(models_of(models), [task], options, n_workers=0)[0].outcome == "skipped"


def test_a_resumed_job_does_not_mix_recordings(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleap_infer.jobs.plan.identity.samples", lambda paths: "the same")
    video = tmp_path / "a.avi"
    write_video(video, {})
    task = Task((str(video),), tmp_path / "poses.slp")
    with pytest.raises(Stop):
        run_job(models_of(models), [task], SMALL, stop_early, n_workers=0)
    write_video(tmp_path / "b.avi", {30: 200})
    shutil.copyfile(tmp_path / "b.avi", video)
    with pytest.raises(JobDiffersError, match=r"the content of .* differs"):
        run_job(models_of(models), [task], SMALL, n_workers=0)
    assert Journal.open(task.journal).missing()
    write_video(video, {})
    (report,) = run_job(models_of(models), [task], SMALL, n_workers=0)
    assert (report.outcome, report.n_frames, report.n_resumed) == ("written", 40, 8)


def test_a_moved_job_goes_on(models: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_video(tmp_path / "one" / "a.avi", {})
    task = Task((str(tmp_path / "one" / "a.avi"),), tmp_path / "one" / "poses.slp")
    with pytest.raises(Stop):
        run_job(models_of(models), [task], SMALL, stop_early, n_workers=0)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    moved = Task((str(tmp_path / "two" / "a.avi"),), tmp_path / "two" / "poses.slp")
    (report,) = run_job(models_of(models), [moved], SMALL, n_workers=0)
    assert (report.n_frames, report.n_resumed) == (40, 8)


def test_a_journal_of_an_earlier_version(models: Path, tmp_path: Path) -> None:
    video = tmp_path / "a.avi"
    write_video(video, {})
    task = Task((str(video),), tmp_path / "poses.slp")
    with pytest.raises(Stop):
        run_job(models_of(models), [task], SMALL, stop_early, n_workers=0)
    (task.journal / CONTENT_FILE).unlink()
    with pytest.raises(JobDiffersError, match="an earlier version of sleap_infer made it"):
        run_job(models_of(models), [task], SMALL, n_workers=0)
