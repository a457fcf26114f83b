"""Options of sources are there wherever a command opens one: `predict`, `export`, `validate` and `benchmark`."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io as sio
from typer.testing import CliRunner

from sleap_infer.benchmark.plan import BenchmarkOptions
from sleap_infer.benchmark.protocol import Predict
from sleap_infer.benchmark.target import read_video
from sleap_infer.cli.app import app
from sleap_infer.config.options import SourceOptions, SourceSpec
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.errors import OptionError, SourceFormatError
from sleap_infer.frames import open_source


@pytest.fixture
def two_datasets(videos: Path, tmp_path: Path) -> Path:
    """A file in which only the dataset `flies` shows what the model knows."""
    images = sio.load_video(str(videos / "two_flies.mp4"))[0:4]
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        file["flies"] = images[..., :1]
        file["black"] = np.zeros((3, *images.shape[1:3], 1), np.uint8)
    return path


def run(words: list[str], **names: object) -> object:
    result = CliRunner().invoke(app, [word.format(**names) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_source_with_options_is_a_source(two_datasets: Path) -> None:
    with pytest.raises(SourceFormatError):
        open_source(str(two_datasets))
    spec = SourceSpec(str(two_datasets), SourceOptions(dataset="black"))
    with open_source(spec) as source:
        assert source.n_frames == 3
    with open_source(spec, [0, 2]) as source:
        assert source.n_frames == 2
    assert read_video(spec).n_frames == 3


def test_validate_compares_on_the_dataset(two_datasets: Path, models: Path) -> None:
    export = models.parent / "doctor"
    words = ["validate", "{export}", "-m", "{model}", "--frames", "{source}", "--n-frames", "2", "--json"]
    names = {"export": export, "model": models / "bottomup", "source": two_datasets}
    result = run([*words, "--dataset", "flies"], **names)
    report = json.loads(result.output)  # type: ignore[attr-defined]
    assert report["verdict"] == "PASS"
    assert report["poses"]["n_points"] > 0
    with pytest.raises(SourceFormatError):
        run(words, **names)


@pytest.mark.parametrize("command", ["validate", "export"])
def test_options_of_sources_without_a_source_are_errors(command: str, models: Path, tmp_path: Path) -> None:
    model = models / "bottomup"
    words = [command, str(model), *(["-m", str(model)] if command == "validate" else ["-o", str(tmp_path / "out")])]
    with pytest.raises(OptionError, match="--dataset, --channels-first and --replace-path have no effect without"):
        run([*words, "--dataset", "flies"])


def test_workers_of_a_benchmark_get_the_options(two_datasets: Path) -> None:
    options = BenchmarkOptions(models=(), video=str(two_datasets), reading=SourceOptions("flies", False, (("a", "b"),)))
    spec = SourceSpec(str(two_datasets), options.reading)
    from sleap_infer.benchmark.protocol import Setup

    setup = Setup(("a",), "onnx", "fp32", "cpu", 1)
    task = Predict(setup, spec, (0, 1), "out.npz")
    assert from_plain(Predict, json.loads(json.dumps(to_plain(task)))).video == spec


@pytest.mark.parametrize("command", ["predict", "export", "validate", "benchmark"])
def test_the_help_lists_them(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(flag in text for flag in ("--dataset", "--channels-first", "--channels-last", "--replace-path"))
