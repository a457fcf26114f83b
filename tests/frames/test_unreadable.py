"""Files that are there and cannot be read, and names that are no text: one line that says why, for that source only."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import h5py
import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import SleapInferError
from sleap_infer.frames import open_source

SUFFIXES = (".mp4", ".avi", ".png", ".jpg", ".tif", ".h5", ".slp", ".nwb", ".seq")


def failure_of(source: object) -> str:
    """Why a source is not opened, or its only frame not read."""
    try:
        with open_source(source) as opened:
            failures = [frame.failure for batch in opened.batches(1) for frame in batch.frames]
    except SleapInferError as error:
        return str(error)
    assert len(failures) == 1
    return str(failures[0])


def input_output_error(path: Path) -> None:
    """Memory at address 0 can be opened, and reading it fails as a broken disk does."""
    path.symlink_to("/proc/self/mem")


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def connection(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    path.touch()


@pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")
@pytest.mark.parametrize("make", [input_output_error, loop, dangling, pipe, device, connection, folder, nothing])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_readable_file_is_one_line(suffix: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    make(path)
    found = failure_of(path)
    assert str(path) in found
    assert "\n" not in found
    assert len(found) < 600


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder, and a user who may read it but not everything."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="rights of Linux")
@pytest.mark.parametrize("suffix", [".mp4", ".png", ".h5", ".slp"])
@pytest.mark.parametrize("what", ["file", "folder", "folder above"])
def test_a_file_without_rights_names_them(suffix: str, what: str, as_nobody: Path) -> None:
    folder = as_nobody / "folder"
    folder.mkdir()
    path = folder / f"file{suffix}"
    path.write_bytes(b"anything")
    denied = path if what == "file" else folder
    denied.chmod(0)
    try:
        assert "Check your rights" in failure_of(folder if what == "folder" else path)
    finally:
        denied.chmod(0o777)


@pytest.mark.parametrize("make", [pipe, device, folder, dangling])
def test_one_of_many_images_fails_alone(make: Callable[[Path], None], tmp_path: Path, read: Callable) -> None:
    for number in (0, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8), 100, np.uint8))
    make(tmp_path / "1.png")
    failures = [ref.failure for ref, _ in read(open_source(tmp_path))]
    assert [failure is None for failure in failures] == [True, False, True]
    assert "1.png" in failures[1]


def write(path: Path, videos: Path) -> None:
    """A file that can be read, of the kind that its ending says."""
    if path.suffix == ".mp4":
        shutil.copy(videos / "one_fly.mp4", path)
    elif path.suffix in (".png", ".tif"):
        path.write_bytes(cv2.imencode(path.suffix, np.full((8, 8), 100, np.uint8))[1].tobytes())
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["images"] = np.full((1, 20, 20, 1), 100, np.uint8)
    else:
        video = sio.load_video(videos / "one_fly.mp4")
        instance = sio.Instance.from_numpy(np.ones((1, 2)), sio.Skeleton(["a"]))
        frame = sio.LabeledFrame(video=video, frame_idx=0, instances=[instance])
        sio.Labels([frame]).save(str(path), embed=False, verbose=False)


ODD = (
    "a\nb",
    "a\x1b[31mb",
    "a:b",
    "pipe:1",
    "a b",
    "a'b\"c",
    "%d%s",
    "{stem}",
    "-o",
    "é😀",
    "a#b?c&d",
    "[abc]",
    "a\\b",
)


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".tif", ".h5", ".slp"])
@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_read(
    name: str, suffix: str, tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / f"plain{suffix}", videos)
    os.rename(tmp_path / f"plain{suffix}", tmp_path / f"{name}{suffix}")
    monkeypatch.chdir(tmp_path)  # where a name may look like an address, or an option
    for path in (tmp_path / f"{name}{suffix}", Path(f"{name}{suffix}")):
        with open_source(path) as source:
            first = next(iter(source.batches(1)))
            assert [frame.failure for frame in first.frames] == [None]
            assert len(source.videos()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
@pytest.mark.parametrize("suffix", [".mp4", ".png", ".tif", ".h5", ".slp", ".nwb"])
@pytest.mark.parametrize("name", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"])
def test_a_name_that_is_no_text_is_refused(name: bytes, suffix: str, tmp_path: Path, videos: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + suffix.encode()))
    path.write_bytes(b"anything")
    found = failure_of(path)
    assert "is not UTF-8" in found
    found.encode()  # the message is text
    if suffix in (".png", ".mp4"):
        assert "is not UTF-8" in failure_of(f"{tmp_path}/*{suffix}")
    if suffix == ".png":
        assert "is not UTF-8" in failure_of(tmp_path)


@pytest.mark.parametrize("path", ["a\0b.mp4", "\ud800.mp4", "x" * 5000 + ".mp4", "~nobody-of-this-name/a.mp4", "", " "])
def test_what_cannot_be_a_name_is_one_line(path: str) -> None:
    found = failure_of(path)
    found.encode()
    assert "\n" not in found
    assert len(found) < 600
