"""`sleap-infer export` and `validate` as they are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleap_infer.cli.app import app
from sleap_infer.errors import ModelNotFoundError, OptionError, OutputExistsError
from sleap_infer.model import read_spec


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_export_then_validate(models: Path, videos: Path, tmp_path: Path) -> None:
    place, video = tmp_path / "out", videos / "two_flies.mp4"
    picture = tmp_path / "worst.png"
    form = ("-n", 5, "--input-size", "192x192", "--batch-size", 4)  # traced faster than an open form
    code, text = call("export", models / "centroid", "-o", place, *form, "--frames", video, "--draw", picture)
    assert code == 0
    assert "PASS: 32 frames" in text
    assert "capacity: 5 centroids" in text
    assert picture.is_file()
    spec = read_spec(place)
    assert spec.exported is not None
    assert spec.exported.n_places == 5
    code, text = call("validate", place, "--against", models / "centroid", "--frames", video, "--n-frames", 4)
    assert code == 0
    assert text.startswith("PASS: 4 frames")
    arguments = ("validate", place, "-m", models / "centroid", "--frames", video, "--json", "-r", "openvino")
    code, text = call(*arguments)
    data = json.loads(text)
    assert (code, data["verdict"], data["backend"], data["poses"]["n_frames"]) == (0, "PASS", "openvino", 32)
    code, text = call(*arguments, "--max-error-px", 1e-9)
    assert code == 1
    assert json.loads(text)["verdict"] == "FAIL"
    code, text = call("info", place)
    assert code == 0
    code, text = call(
        "predict", video, "-m", place, "-o", tmp_path / "p.slp", "-n", 3, "--backend-option", "intra_op_num_threads=1"
    )
    assert code == 0
    assert "3 frames, 6 instances" in text


@pytest.mark.parametrize("command", ["export", "validate"])
def test_a_picture_replaces_an_existing_file_only_with_overwrite(command: str, models: Path, tmp_path: Path) -> None:
    """It is refused before any work, as other outputs are."""
    picture = tmp_path / "worst.png"
    picture.write_bytes(b"mine")

    def run(model: Path, *options: str) -> BaseException | None:
        more = ("-o", tmp_path / "out") if command == "export" else ("--against", model)
        words = (command, model, *more, "--draw", picture, *options)
        return CliRunner().invoke(app, [str(word) for word in words]).exception

    assert isinstance(run(models / "centroid"), OutputExistsError)
    assert picture.read_bytes() == b"mine"
    assert not (tmp_path / "out").exists()
    assert isinstance(run(tmp_path / "nowhere", "--overwrite"), ModelNotFoundError)


def test_many_at_once(models: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(models / "centroid", runs / "good")
    shutil.copytree(models / "centroid", runs / "bad")
    (runs / "bad" / "best.ckpt").write_bytes(b"nonsense")
    code, text = call("export", "--pattern", runs / "*" / "best.ckpt", "-o", tmp_path / "out", "--no-validate")
    assert code == 1
    assert "1 exported, 1 failed" in text
    assert "FAILED" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good"]
    assert read_spec(tmp_path / "out" / "good").kind == "centroid"
    with pytest.raises(ModelNotFoundError, match="Quote the pattern"):
        call("export", "--pattern", runs / "*.nothing", "-o", tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x"], "either models or"),
        (["MODEL", "--pattern", "*", "-o", "x"], "either models or"),
        (["MODEL"], "-o DIR"),
        (["MODEL", "-o", "x", "--input-size", "384"], "HEIGHTxWIDTH"),
        (["MODEL", "-o", "x", "--input-size", "0x5"], "HEIGHTxWIDTH"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, models: Path) -> None:
    with pytest.raises(OptionError, match=words):
        call("export", *(str(models / "centroid") if item == "MODEL" else item for item in arguments))


def test_formats_that_are_not_written(models: Path, tmp_path: Path) -> None:
    code, text = call("export", models / "centroid", "-o", tmp_path / "x", "-f", "tensorflow")
    assert code == 2
    assert "onnx" in text


def test_an_export_that_fails_its_check(models: Path, videos: Path, tmp_path: Path) -> None:
    arguments = ("export", models / "centroid", "-o", tmp_path / "x", "--max-error-px", 1e-9)
    arguments = (*arguments, "--frames", videos / "two_flies.mp4", "--n-frames", 2)
    code, text = call(*arguments)
    assert code == 1
    assert "Nothing was written" in text
    assert not (tmp_path / "x").exists()
    code, text = call(*arguments, "--force")
    assert code == 1
    assert read_spec(tmp_path / "x").exported.verdict.startswith("FAIL")  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["novalue", "=3", "name="])
def test_options_for_the_runtime_are_pairs(text: str, models: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="NAME=VALUE"):
        call(
            "predict",
            videos / "two_flies.mp4",
            "-m",
            models / "centroid",
            "-o",
            tmp_path / "p.slp",
            "--backend-option",
            text,
        )
