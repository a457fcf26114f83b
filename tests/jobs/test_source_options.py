"""How sources are opened goes with a task: to workers, into its journal, into its identity, from the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io as sio
from typer.testing import CliRunner

from sleap_infer.cli.app import app
from sleap_infer.config.options import SourceOptions
from sleap_infer.frames import open_source
from sleap_infer.jobs import Outputs, find_tasks
from sleap_infer.jobs.plan.identity import identify_videos
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.write.merge import task_of

N_FRAMES = 3


@pytest.fixture
def frames(videos: Path) -> np.ndarray:
    """(N, 1, H, W) of a fly."""
    return np.concatenate([batch.images for batch in open_source(videos / "two_flies.mp4", range(N_FRAMES)).batches(8)])


@pytest.fixture
def file(tmp_path: Path, frames: np.ndarray) -> Path:
    """Two datasets; one has a shape that can be read in two ways."""
    with h5py.File(tmp_path / "video.h5", "w") as opened:
        opened["a"] = np.zeros_like(frames)
        opened["b"] = frames
    return tmp_path / "video.h5"


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, words), "-r", "torch", "-d", "cpu", "--progress", "json"])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize("workers", [0, 1])
def test_options_of_a_source_reach_the_workers(workers: int, file: Path, models: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    words = [file, "-m", models / "centroid", "-o", tmp_path / "a.slp", "--workers", workers]
    assert run(*words, "--dataset", "b", "--channels-first")[0] == 0
    labels = sio.load_slp(tmp_path / "a.slp")
    assert [len(frame) for frame in labels] == [2] * N_FRAMES
    assert labels.videos[0].backend_metadata["dataset"] == "b"
    code, text = run(*words, "--dataset", "a", "--channels-first")
    assert code
    assert "made by something else" in text


def test_without_them_the_file_is_an_error_that_names_them(file: Path, models: Path, tmp_path: Path) -> None:
    code, text = run(file, "-m", models / "centroid", "-o", tmp_path / "a.slp")
    assert code
    assert "--dataset" in text
    assert not (tmp_path / "a.slp").exists()


def test_roots_are_replaced_on_the_command_line(videos: Path, models: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    video = sio.Video(filename="D:\\lab\\two_flies.mp4", open_backend=False)
    sio.Labels(videos=[video]).save(str(tmp_path / "labels.slp"), embed=False, verbose=False)
    words = [tmp_path / "labels.slp", "-m", models / "centroid", "-o", tmp_path / "a.slp", "--frames", "all", "-n", 2]
    code, text = run(*words)
    assert code
    assert "two_flies.mp4" in text
    assert "--replace-path" in text
    assert run(*words, "--replace-path", rf"d:\LAB={videos}")[0] == 0
    assert sio.load_slp(tmp_path / "a.slp", open_videos=False).videos[0].filename == str(videos / "two_flies.mp4")


def test_they_are_part_of_the_identity_and_of_the_journal(file: Path, tmp_path: Path) -> None:
    identities = []
    for options in (SourceOptions("a", True), SourceOptions("b", True)):
        (task,) = find_tasks([str(file)], Outputs(str(tmp_path / "a.slp")), reading=options)
        with task.open() as source:
            identities.append(identify_videos(source))
    assert identities[0] != identities[1]
    options = SourceOptions("b", True, (("C:\\x", "/y"),))
    (task,) = find_tasks([str(file)], Outputs(str(tmp_path / "a.slp")), (1, 2), reading=options)
    import attrs

    journal = Journal.create(tmp_path / "a.journal", {"task": attrs.asdict(task), "n_nodes": 1, "parts": []})
    back = task_of(journal)
    assert (back.reading, back.frames) == (options, task.frames)


@pytest.mark.parametrize("text", ["a", "=b", "a=", "=", " = "])
def test_a_root_without_a_new_one_is_an_error(text: str, file: Path, models: Path) -> None:
    code, output = run(file, "-m", models / "centroid", "--replace-path", text)
    assert code
    assert "OLD=NEW" in output
