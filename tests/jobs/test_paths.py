"""Results are found from any folder: they name files by absolute paths, and no file that is gone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from unittest import mock

import cv2
import h5py
import numpy as np
import pytest
import sleap_io as sio
from jobs import models_of

from sleap_infer import Predictor, open_source, save_labels
from sleap_infer.errors import OptionError
from sleap_infer.jobs import JobOptions, Outputs, Task, find_tasks, run_job
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.write.merge import merge_journals

FORMATS = ("slp", "analysis_h5", "csv", "ledger")


@pytest.fixture
def place(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of every kind, named by relative paths."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for name in ("a", "b"):
        shutil.copy(videos / "one_fly.mp4", data / f"{name}.mp4")
    for number in range(3):
        cv2.imwrite(str(data / "images" / f"{number}.png"), np.full((192, 192), 40 * number, np.uint8))
    cv2.imwritemulti(str(data / "stack.tif"), [np.full((192, 192), 9, np.uint8)] * 3)
    with h5py.File(data / "frames.h5", "w") as file:
        file["frames"] = np.zeros((3, 192, 192, 1), np.uint8)
    video = sio.Video(filename="a.mp4", backend_metadata={"type": "MediaVideo"}, open_backend=False)
    labels = sio.Labels([sio.LabeledFrame(video, index) for index in (1, 4)], videos=[video])
    labels.save(str(data / "labels.slp"), verbose=False)
    full = sio.load_slp(str(videos / "one_fly.truth.slp"))
    full.extract([3, 7]).save(str(data / "some.pkg.slp"), embed=True, verbose=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_in(path: Path) -> list[str]:
    """All paths of videos that a file names."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return sorted({row["video"] for row in csv.DictReader(file)})
    with h5py.File(path) as file:
        if "videos_json" in file:
            facts = [json.loads(text) for text in file["videos_json"][()]]
            provenance = json.loads(file["provenance_json"][()])
            named = [*(one["filename"] for one in facts), *(one["backend"]["filename"] for one in facts)]
            named += [name for one in facts for name in one["backend"].get("filenames", [])]
        else:
            provenance = json.loads(file["provenance"][()])
            named = [name.decode() for name in np.atleast_1d(file["video_path"][()]).tolist()]
            named += filter(None, [file["labels_path"][()].decode()])
    named = [name for item in named for name in (item if isinstance(item, list) else [item])]
    sources = provenance["source_file"]
    return [*named, *(sources if isinstance(sources, list) else [sources]), *filter(None, [provenance.get("filename")])]


SOURCES = ("a.mp4", "images", "stack.tif", "frames.h5", "labels.slp", "some.pkg.slp")


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_in_every_format(source: str, models: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task((f"data/../data/{source}",), Path("poses"), at_most=2)
    (report,) = run_job(models_of(models), [task], JobOptions(FORMATS, chunk=8), n_workers=0)
    files = [path.absolute() for path in report.files]
    monkeypatch.chdir("/")
    for path in files:
        for name in names_in(path):
            assert Path(name).is_absolute(), (path, name)
            assert Path(name).exists(), (path, name)
            assert ".." not in Path(name).parts
    labels = sio.load_slp(str(files[0]))
    assert all(video.exists() for video in labels.videos)
    assert labels.video.shape[1:3] == (192, 192)
    if source != "stack.tif":  # which sleap-io opens with tifffile only
        assert np.asarray(labels[0].image).shape[:2] == (192, 192)


@pytest.mark.parametrize("source", SOURCES[:4])
def test_an_analysis_file_alone_names_no_file_that_is_gone(source: str, models: Path, place: Path) -> None:
    task = Task((f"data/{source}",), Path("poses"), at_most=1)
    (report,) = run_job(models_of(models), [task], JobOptions(("analysis_h5",)), n_workers=0)
    assert all(Path(name).exists() for name in names_in(report.files[0]))
    with h5py.File(report.files[0]) as file:
        assert "journal" not in file["labels_path"][()].decode() + file["provenance"][()].decode()


def test_merged_outputs(models: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = find_tasks(["data/a.mp4", "data/b.mp4"], Outputs("all.slp"), at_most=1)
    (report,) = run_job(models_of(models), [task], n_workers=0)
    (shared,) = find_tasks(["data/a.mp4", "data/b.mp4"], Outputs("shared.slp"), at_most=1)
    run_job(models_of(models), [shared], JobOptions(shard=(0, 1)), n_workers=0)
    merge_journals([Journal.open(shared.journal)], ("slp",), False, False, False, lambda event: None)
    monkeypatch.chdir("/")
    for path in (place / report.files[0], place / "shared.slp"):
        assert [Path(name) for name in names_in(path)][:2] == [place / "data" / "a.mp4", place / "data" / "b.mp4"]
        assert all(Path(name).is_absolute() and Path(name).exists() for name in names_in(path))


def test_a_predictor_names_files_by_absolute_paths(models: Path, place: Path) -> None:
    with Predictor.from_model_paths(models / "single_instance", backend="torch", device="cpu") as predictor:
        save_labels(predictor.predict("data/a.mp4", frames=[0]), "one.slp")
    assert all(Path(name).is_absolute() for name in names_in(Path("one.slp")))


def test_packages_stay_the_videos_unless_sources_are_restored(models: Path, videos: Path, place: Path) -> None:
    package = str(place / "data" / "some.pkg.slp")
    kept, restored = Task((package,), Path("kept")), Task((package,), Path("restored"), restore_source_videos=True)
    run_job(models_of(models), [kept, restored], n_workers=0)
    labels = [sio.load_slp(str(task.target("slp"))) for task in (kept, restored)]
    assert [Path(found.video.filename).resolve() for found in labels] == [
        Path(package).resolve(),
        (videos / "one_fly.mp4").resolve(),
    ]
    for found in labels:
        assert [frame.frame_idx for frame in found] == [3, 7]
        assert np.abs(found[1].image.astype(int) - sio.load_video(str(videos / "one_fly.mp4"))[7]).max() <= 255
    with pytest.raises(OptionError, match="no effect on"):
        run_job(models_of(models), [Task(("data/a.mp4",), Path("x"), restore_source_videos=True)], n_workers=0)


def test_packages_whose_videos_are_numbered_with_gaps(models: Path, videos: Path, place: Path) -> None:
    """sleap-io calls embedded videos by their group's number, not by their place."""
    full = sio.load_slp(str(videos / "one_fly.truth.slp"))
    other = sio.Video(filename=str(videos / "two_flies.mp4"))
    both = sio.Labels(
        [sio.LabeledFrame(full.video, 2), sio.LabeledFrame(other, 5)],
        videos=[full.video, other],
        skeletons=full.skeletons,
    )
    both.save("both.pkg.slp", embed=[(full.video, 2), (other, 5)], verbose=False)
    for restore in (False, True):
        task = Task(("both.pkg.slp",), Path(f"found{restore}"), restore_source_videos=restore)
        run_job(models_of(models), [task], n_workers=0)
        labels = sio.load_slp(str(task.target("slp")))
        assert [(labels.videos.index(frame.video), frame.frame_idx) for frame in labels] == [(0, 2), (1, 5)]


@pytest.mark.parametrize("source", SOURCES)
def test_descriptions_open_nothing(source: str, place: Path) -> None:
    """sleap-io may use decoders that end the process; frames of packages are read from HDF5."""
    from sleap_io.io import video_reading

    opened = mock.Mock(side_effect=AssertionError("sleap-io opens a video"))
    with (
        mock.patch.object(video_reading.MediaVideo, "__attrs_post_init__", opened, create=True),
        mock.patch.object(video_reading.MediaVideo, "_read_frame", opened),
        mock.patch.object(video_reading.ImageVideo, "_read_frame", opened),
        open_source(f"data/{source}") as found,
    ):
        labels = sio.Labels(videos=list(found.videos().values()))
        labels.save(str(place / "out.slp"), restore_original_videos=False, verbose=False)
    shapes = [video.shape for video in found.videos().values()]
    assert all(shape is None or tuple(shape[1:3]) == (192, 192) for shape in shapes)
