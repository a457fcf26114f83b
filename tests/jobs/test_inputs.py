"""From what a user names to tasks and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleap_infer.errors import (
    EmptySourceError,
    FrameSelectionError,
    OptionError,
    OutputError,
    SourceFormatError,
    SourceNotFoundError,
)
from sleap_infer.jobs import Outputs, find_tasks


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of videos, one of images, and a label file."""
    for name in ("day1/a.mp4", "day1/b.mp4", "day2/a.mp4", "day2/notes.txt", "images/1.png", "images/2.png", "l.slp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(given: list[str], outputs: Outputs | None = None) -> dict[str, str]:
    return {" + ".join(task.sources): str(task.output) for task in find_tasks(given, outputs or Outputs())}


@pytest.mark.parametrize(
    ("given", "outputs", "expected"),
    [
        (["day1/a.mp4"], Outputs(), {"day1/a.mp4": "day1/a.predictions.slp"}),
        (["day1"], Outputs(), {"day1/a.mp4": "day1/a.predictions.slp", "day1/b.mp4": "day1/b.predictions.slp"}),
        (["images"], Outputs(), {"images": "images.predictions.slp"}),
        (["images/*.png"], Outputs(), {"images/*.png": "images/predictions.slp"}),
        (["day*/a.*"], Outputs(), {"day1/a.mp4": "day1/a.predictions.slp", "day2/a.mp4": "day2/a.predictions.slp"}),
        (["l.slp"], Outputs("x.slp"), {"l.slp": "x.slp"}),
        (["day1/a.mp4"], Outputs("x.slp", Path("out")), {"day1/a.mp4": "out/x.slp"}),
        (
            ["day1/a.mp4", "day2/a.mp4"],
            Outputs("{parent}_{stem}.slp", Path("out")),
            {"day1/a.mp4": "out/day1_a.slp", "day2/a.mp4": "out/day2_a.slp"},
        ),
        (["day1/a.mp4"], Outputs("{name}.slp"), {"day1/a.mp4": "day1/a.mp4.slp"}),
        (["day1", "day2"], Outputs("all.slp"), {"day1/a.mp4 + day1/b.mp4 + day2/a.mp4": "all.slp"}),
        (["day1", "day2"], Outputs(merge=True), {"day1/a.mp4 + day1/b.mp4 + day2/a.mp4": "day1/predictions.slp"}),
    ],
)
def test_outputs(given: list[str], outputs: Outputs, expected: dict[str, str], place: Path) -> None:
    assert names(given, outputs) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "video,output,frames\nday1/a.mp4,first.slp,0-2\nday2/a.mp4,,\n"),
        ("m.yaml", "videos:\n- {video: day1/a.mp4, output: first.slp, frames: 0-2}\n- day2/a.mp4\n"),
    ],
)
def test_manifests(name: str, text: str, place: Path) -> None:
    (place / name).write_text(text)
    first, second = find_tasks([name], Outputs(), frames=(7,))
    assert (first.sources, str(first.output)) == (("day1/a.mp4",), "first.slp")
    assert list(first.frames) == [0, 1, 2]
    assert (second.sources, str(second.output)) == (("day2/a.mp4",), "day2/a.predictions.slp")
    assert list(second.frames) == [7]


@pytest.mark.parametrize(
    ("given", "outputs", "error", "message"),
    [
        (["nowhere.mp4"], Outputs(), SourceNotFoundError, "No source"),
        (["*.avi"], Outputs(), SourceNotFoundError, "Nothing matches"),
        (["day1", "day2"], Outputs(folder=Path("out")), OutputError, "would both be written.*parent"),
        (["l.slp"], Outputs("l.slp"), OutputError, "is a source"),
        (["day1/a.mp4"], Outputs("{stam}.slp"), OptionError, "stam.*stem, name, parent"),
        (["day1/a.mp4"], Outputs("{stem.slp"), OptionError, "not understood"),
        (["day1/a.mp4"], Outputs("nowhere/x.slp"), OutputError, "no folder.*out-dir"),
        (["day1/a.mp4"], Outputs(folder=Path("l.slp/out")), OutputError, "cannot be made"),
    ],
)
def test_wrong_names(given: list[str], outputs: Outputs, error: type[Exception], message: str, place: Path) -> None:
    with pytest.raises(error, match=message):
        find_tasks(given, outputs)


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("m.csv", "file\na.mp4\n", SourceFormatError, "entry 1: expected a `video`"),
        ("m.csv", "video,frame\na.mp4,1\n", SourceFormatError, "'frame' is not understood"),
        ("m.csv", "video\n", EmptySourceError, "no video"),
        ("m.csv", "video,frames\nday1/a.mp4,3-1\n", FrameSelectionError, "entry 1: .*3-1"),
        ("m.yaml", "{", SourceFormatError, "cannot be read"),
        ("m.yaml", "a: 1", SourceFormatError, "expected a list"),
    ],
)
def test_wrong_manifests(name: str, text: str, error: type[Exception], message: str, place: Path) -> None:
    (place / name).write_text(text)
    with pytest.raises(error, match=message):
        find_tasks([name], Outputs())


def test_one_output_of_different_frames(place: Path) -> None:
    (place / "m.csv").write_text("video,frames\nday1/a.mp4,0\nday2/a.mp4,1\n")
    with pytest.raises(OptionError, match="different frames"):
        find_tasks(["m.csv"], Outputs(merge=True))
