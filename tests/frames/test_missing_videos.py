"""Label files whose videos lie elsewhere now."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import OptionError, SourceNotFoundError
from sleap_infer.frames import open_source
from sleap_infer.frames.replaced_paths import replaced

SKELETON = sio.Skeleton(["a"])


@pytest.fixture
def lab(tmp_path, videos):
    """Where the videos are now."""
    for folder, name in (("day1", "one_fly.mp4"), ("day2", "two_flies.mp4")):
        (tmp_path / "lab" / folder).mkdir(parents=True)
        shutil.copy(videos / name, tmp_path / "lab" / folder / name)
    return tmp_path / "lab"


def write(path: Path, *names: str | list[str]) -> Path:
    """Labels with a labelled frame of each video, whatever is there."""
    found = [
        sio.load_video(name) if isinstance(name, list) else sio.Video(filename=name, open_backend=False)
        for name in names
    ]
    frames = [
        sio.LabeledFrame(video=video, frame_idx=3, instances=[sio.Instance.from_numpy(np.ones((1, 2)), SKELETON)])
        for video in found
    ]
    sio.Labels(frames, found, [SKELETON]).save(str(path), embed=False, verbose=False)
    return path


ROOTS = {
    "posix": ("/old/data", "/old/data", "/old/data/"),
    "windows": (r"D:\Lab Data\videos", r"d:\lab data\videos", "D:/Lab Data/videos", "D:\\Lab Data\\videos\\"),
    "unc": (r"\\server\share\videos", r"\\SERVER\share\videos", "//server/share/videos"),
    "drive": ("E:", "e:", "E:\\"),
}


@pytest.mark.parametrize("selection", [None, "all"])
@pytest.mark.parametrize("root", ROOTS)
def test_roots_are_replaced(root, selection, lab, tmp_path, read, monkeypatch):
    old, *spellings = ROOTS[root]
    join = "/" if root == "posix" else "\\"
    labels = write(
        tmp_path / "a.slp",
        *(join.join([old, *parts]) for parts in (("day1", "one_fly.mp4"), ("day2", "two_flies.mp4"))),
    )
    for spelling in (old, *spellings):
        source = open_source(labels, selection, replace_paths={spelling: str(lab)})
        assert [Path(video.filename) for video in source.videos().values()] == sorted(lab.rglob("*.mp4"))
        assert all(ref.failure is None for ref, _ in read(source))
    monkeypatch.chdir(tmp_path)
    source = open_source("a.slp", selection, replace_paths=[(old, "lab")])
    assert [video.filename for video in source.videos().values()] == [str(path) for path in sorted(lab.rglob("*.mp4"))]


@pytest.mark.parametrize("selection", [None, "all"])
def test_all_missing_videos_are_named(selection, lab, tmp_path):
    names = [f"D:/data/{folder}/x{number}.mp4" for number, folder in enumerate("abcde")]
    images = [str(tmp_path / "images" / name) for name in ("1.png", "2.png")]
    (tmp_path / "images").mkdir()
    for image in images:
        cv2.imwrite(image, np.zeros((8, 8), np.uint8))
    labels = write(tmp_path / "a.slp", *names, str(lab / "day1" / "one_fly.mp4"), images)
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(labels, selection)
    message = str(caught.value)
    assert all(name in message for name in (*names, "images/1.png and 1 more"))
    assert "one_fly" not in message
    assert "6 videos" in message
    assert "\n" not in message


@pytest.mark.parametrize(("name", "root"), [(r"D:\data\a.mp4", r"D:\data"), ("/data/day 1/a.mp4", "/data/day 1")])
def test_the_option_that_the_message_names_helps(name, root, lab, tmp_path, read):
    labels = write(tmp_path / "a.slp", name)
    shutil.copy(lab / "day1" / "one_fly.mp4", lab / "a.mp4")
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(labels)
    assert f"--replace-path '{root}=NEW'" in str(caught.value)
    assert len(read(open_source(labels, replace_paths={root: str(lab)}))) == 1


def test_a_windows_path_is_found_beside_the_labels_too(lab, tmp_path, read):
    labels = write(tmp_path / "lab" / "day1" / "a.slp", r"D:\data\one_fly.mp4")
    assert len(read(open_source(labels))) == 1


@pytest.mark.parametrize(
    ("name", "old", "expected"),
    [
        ("/data2/a.mp4", "/data", None),
        ("/data/a.mp4", "/data/a.mp4", "/new"),
        ("/Data/a.mp4", "/data", None),
        (r"C:\data2\a.mp4", r"C:\data", None),
        (r"C:\data\a.mp4", r"D:\data", None),
        ("a.mp4", "/data", None),
        ("videos/a.mp4", "videos", "/new/a.mp4"),
        ("/data/x=y/a.mp4", "/data/x=y", "/new/a.mp4"),
        ("/data/a\\b.mp4", "/data", "/new/a\\b.mp4"),
    ],
)
def test_only_whole_parts_of_paths_are_replaced(name, old, expected):
    assert replaced(name, [(old, "/new")]) == expected


def test_the_first_root_that_fits_counts():
    pairs = [("/data/day1", "/first"), ("/data", "/second")]
    assert replaced("/data/day1/a.mp4", pairs) == "/first/a.mp4"
    assert replaced("/data/day2/a.mp4", pairs) == "/second/day2/a.mp4"


def test_roots_without_effect_are_errors(lab, tmp_path, videos):
    labels = write(tmp_path / "a.slp", str(lab / "day1" / "one_fly.mp4"))
    with pytest.raises(OptionError, match=r"no effect: no video of .* lies in /elsewhere.*one_fly.mp4"):
        open_source(labels, replace_paths={"/elsewhere": "/new"})
    for source in (videos / "one_fly.mp4", np.zeros((2, 8, 8), np.uint8), sio.load_slp(labels)):
        with pytest.raises(OptionError, match="no effect"):
            open_source(source, replace_paths={"/elsewhere": "/new"})
    for pair in ({"": "/new"}, {"/old": ""}):
        with pytest.raises(OptionError, match="expected OLD=NEW"):
            open_source(labels, replace_paths=pair)
