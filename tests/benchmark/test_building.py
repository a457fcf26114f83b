"""Which frames an export sees, and what is told of one that came out otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from sleap_infer.benchmark.build_exports import calibration_frames, notes_of
from sleap_infer.benchmark.measure import read_images


def test_frames_are_those_that_are_named(models: Path, videos: Path) -> None:
    video = str(videos / "two_flies.mp4")
    found = calibration_frames([str(models / "bottomup")], video, (3, 50))
    assert found.shape == (2, 192, 192, 1)
    assert np.array_equal(found[1], read_images(video, (50,))[0])
    assert not np.array_equal(found[0], found[1])


def test_a_model_that_looks_at_crops_alone_needs_the_labels(models: Path) -> None:
    assert calibration_frames([str(models / "centered_instance")], "labels.slp", (1, 2)) == "labels.slp"


def test_without_frames_the_export_chooses(models: Path) -> None:
    assert calibration_frames([str(models / "bottomup")], "video.mp4", ()) is None


def test_of_several_sizes_the_first_is_taken(models: Path, tmp_path: Path) -> None:
    for number, side in enumerate((32, 48, 32)):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((side, side), 10 * number, np.uint8))
    found = calibration_frames([str(models / "bottomup")], str(tmp_path), (0, 1, 2))
    assert found.shape[:3] == (2, 32, 32)
    assert found[1].max() == 20


def result(precision: str, kept: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        spec=SimpleNamespace(kind="bottomup", exported=SimpleNamespace(precision=precision, kept=kept))
    )


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result("fp32")], ()),
        ([result("fp32", ("heads",))], ("bottomup has blocks in fp32: heads",)),
    ],
)
def test_notes_of_what_came_out_as_asked(results: list[Any], expected: tuple[str, ...]) -> None:
    assert notes_of(results, "fp32") == expected


def test_a_precision_that_was_not_kept_is_told() -> None:
    assert notes_of([result("int8", ("a", "b")), result("fp32", ("c",))], "int8") == (
        "bottomup has blocks in fp32: a, b",
        "bottomup was exported in fp32: poses in int8 differed",
    )
