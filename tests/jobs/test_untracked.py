"""Analysis HDF5 of several animals without tracks: its tracks are none, and a warning says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jobs import models_of, task_in

from sleap_infer import Outputs
from sleap_infer.choices import OutputFormat
from sleap_infer.jobs import JobOptions, run_job
from sleap_infer.jobs.events import Note
from sleap_infer.jobs.store.columns import to_columns


@pytest.mark.parametrize(
    ("kind", "video", "formats", "is_warned"),
    [
        ("bottomup", "two_flies", ("analysis_h5",), True),
        ("bottomup", "two_flies", ("slp", "csv", "analysis_h5"), True),
        ("bottomup", "two_flies", ("slp", "csv"), False),
        ("bottomup", "one_fly", ("analysis_h5",), False),
        ("single_instance", "one_fly", ("analysis_h5",), False),
        ("multi_class_bottomup", "two_flies", ("analysis_h5",), False),
    ],
)
def test_a_warning_once_where_tracks_are_positions(
    kind: str,
    video: str,
    formats: tuple[OutputFormat, ...],
    is_warned: bool,
    models: Path,
    videos: Path,
    tmp_path: Path,
) -> None:
    said: list[str] = []
    task = task_in(tmp_path, videos / f"{video}.mp4", at_most=3)
    run_job(
        models_of(models, kind),
        [task],
        JobOptions(formats=formats),
        lambda event: said.append(event.text) if isinstance(event, Note) and event.is_warning else None,
        n_workers=0,
    )
    found = [text for text in said if "positions in the list" in text]
    assert len(found) == is_warned
    if is_warned:
        assert "in 3 of 3 frames" in found[0]


def test_frames_with_several_instances_without_a_class() -> None:
    def frame(*classes: int) -> Outputs:
        n = len(classes)
        return Outputs(
            pred_keypoints=np.ones((n, 1, 2), np.float32),
            pred_peak_values=np.ones((n, 1), np.float32),
            instance_scores=np.ones(n, np.float32),
            pred_classes=np.array(classes, int),
        )

    columns = to_columns([frame(), frame(-1), frame(-1, -1), frame(0, 1), frame(0, -1), frame(-1, 0, -1)], 1)
    assert columns.count_untracked() == 2
    assert to_columns([], 1).count_untracked() == 0
