"""`merge` writes the file that the job was asked for, under any name that `predict` takes, and finds it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import onnx
from typer.testing import CliRunner

from sleap_infer.cli.app import app
from sleap_infer.jobs import JobOptions, Outputs, find_tasks, read_frames, run_job


@pytest.mark.parametrize("name", ["x.h5", "x.analysis.h5", "x.H5", "x.csv", "x.ledger.csv", "x.slp", "x"])
def test_the_requested_name_stays(name: str, graph: Path, videos: Path, tmp_path: Path) -> None:
    (task,) = find_tasks([str(videos / "two_flies.mp4")], Outputs(str(tmp_path / name)), read_frames("0-3"))
    expected = name if "." in name else f"{name}.slp"
    run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(0, 1)), n_workers=0)
    for _ in range(2):
        result = CliRunner().invoke(app, ["merge", str(task.journal), "--progress", "none"])
        assert result.exit_code == 0, result.output
        assert outputs_in(tmp_path) == {expected}
    assert "0 failed" not in result.output
    assert CliRunner().invoke(app, ["merge", str(tmp_path), "--progress", "none"]).exit_code == 0
    assert outputs_in(tmp_path) == {expected}


def test_formats_that_are_given_count(graph: Path, videos: Path, tmp_path: Path) -> None:
    (task,) = find_tasks([str(videos / "two_flies.mp4")], Outputs(str(tmp_path / "x.h5")), read_frames("0-3"))
    run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(0, 1)), n_workers=0)
    arguments = ["merge", str(task.journal), "-f", "slp", "-f", "analysis_h5", "--progress", "none"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert outputs_in(tmp_path) == {"x.slp", "x.h5"}


def test_a_journal_that_was_renamed_names_the_output(graph: Path, videos: Path, tmp_path: Path) -> None:
    (task,) = find_tasks([str(videos / "two_flies.mp4")], Outputs(str(tmp_path / "x.h5")), read_frames("0-3"))
    run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(0, 1)), n_workers=0)
    moved = task.journal.rename(tmp_path / "y.journal")
    assert CliRunner().invoke(app, ["merge", str(moved), "--progress", "none"]).exit_code == 0
    assert outputs_in(tmp_path) == {"y.analysis.h5"}


def outputs_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
