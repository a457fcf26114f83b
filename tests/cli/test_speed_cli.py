"""The command line chooses a backend, says so, and remembers it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sleap_io as sio
from typer.testing import CliRunner, Result

from sleap_infer.choices import StageName
from sleap_infer.cli.app import app
from sleap_infer.errors import OptionError
from sleap_infer.system.cache_directory import CACHE_VARIABLE, KINDS, cache_directory, cached


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_choice_is_told_and_remembered(place: Path, models: Path, videos: Path, tmp_path: Path) -> None:
    words = ("predict", videos / "two_flies.mp4", "-m", models / "bottomup", "-o", tmp_path / "poses.slp", "-n", 8)
    first = run(*words, "--progress", "none")
    assert first.exit_code == 0, first.output
    assert "chose torch (cpu, fp32)" in first.output
    assert "onnx fp32: not tried: its setup takes about 15 s" in first.output
    assert "bound by" in first.output
    again = run(*words, "--overwrite", "--progress", "none")
    assert "(measured before)" in again.output
    anew = run(*words, "--overwrite", "--progress", "none", "--no-cache")
    assert "(measured before)" not in anew.output


def test_progress_as_json(models: Path, videos: Path, tmp_path: Path) -> None:
    target = tmp_path / "poses.slp"
    found = run(
        *("predict", videos / "two_flies.mp4", "-m", models / "bottomup", "-o", target, "-n", 12, "-r", "torch"),
        *("--progress", "json"),
    )
    assert found.exit_code == 0, found.output
    lines = events(found.output)
    assert {line["version"] for line in lines} == {1}
    last, summary = lines[-2], lines[-1]
    assert (last["event"], last["n_processed"], last["n_total"], last["eta"]) == ("progress", 12, 12, 0.0)
    assert (summary["event"], summary["n_processed"], summary["n_failed"]) == ("summary", 12, 0)
    shares = summary["profile"]["shares"]
    assert set(shares) == set(StageName.__args__)  # type: ignore[attr-defined]
    assert shares["network"] > 0
    profile = sio.load_slp(str(target)).provenance["profile"]
    assert profile["verdict"].startswith("bound by")
    assert profile["seconds"]["writing"] > 0


def test_the_cache_is_shown_and_cleared(place: Path) -> None:
    (cache_directory("graphs") / "bottomup-1").mkdir(parents=True)
    (cache_directory("graphs") / "bottomup-1" / "model.onnx").write_bytes(bytes(2_000_000))
    cache_directory("choices").mkdir()
    (cache_directory("choices") / "x.json").write_text("{}")
    shown = run("cache")
    assert str(place) in shown.output
    assert "2.0 MB" in shown.output
    assert {kind: len(entries) for kind, entries in cached().items()} == {
        "choices": 1,
        "graphs": 1,
        "mnn": 0,
        "engines": 0,
        "compiled": 0,
    }
    assert run("cache", "--clear", "graphs").exit_code == 0
    assert [len(entries) for entries in cached().values()] == [1, 0, 0, 0, 0]
    run("cache", "--clear", "all")
    assert not any(cached().values())


def test_only_what_is_known_is_cleared(place: Path) -> None:
    found = run("cache", "--clear", "everything")
    assert isinstance(found.exception, OptionError)
    assert all(kind in str(found.exception) for kind in KINDS)


def test_int8_of_a_trained_model(place: Path, models: Path, videos: Path, tmp_path: Path) -> None:
    words = ("predict", videos / "two_flies.mp4", "-m", models / "centroid", "-n", 8, "-p", "int8", "-r", "onnx")
    found = run(*words, "-o", tmp_path / "a.slp")
    assert found.exit_code == 0, found.output
    (entry,) = cached()["graphs"]
    assert entry.name.startswith("int8-")
    made = (entry / "model.onnx").stat().st_mtime_ns
    assert run(*words, "-o", tmp_path / "b.slp").exit_code == 0
    assert (entry / "model.onnx").stat().st_mtime_ns == made
    centroids = [len(frame.instances) for frame in sio.load_slp(str(tmp_path / "b.slp"))]
    assert centroids == [2] * 8
