"""Names from files on the terminal: whatever stands in them, they are shown literally, and act on nothing."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
import sleap_io as sio
import yaml
from attrs import frozen

shell = importlib.import_module("sleap_infer.cli.app")

EVIL = "\x1b[31mred\x1b]0;title\x07\r\x9b1mA\u202eB\u2028[red]m[/red][/][link=http://x]"
SHOWN = r"\x1b[31mred\x1b]0;title\x07\r\x9b1mA\u202eB\u2028[red]m[/red][/]"
"""How it is shown, without its end, which may be broken into lines in tables."""

EVIL_FILE = EVIL.replace("/", "|") + "\n"
"""The same as the name of a file; with a line feed."""


@frozen
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Command: TypeAlias = Callable[..., Ended]


@pytest.fixture
def command(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line in this process, where PyTorch is loaded once."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["sleap-infer", *map(str, arguments)])
        capfd.readouterr()
        code = shell._run()
        return Ended(code, *capfd.readouterr())

    return run


def assert_literal(ended: Ended, *shown: str) -> str:
    """Check that nothing in the output acts on a terminal, and that texts are in it; give all of it."""
    text = ended.stdout + ended.stderr
    assert all(character.isprintable() or character == "\n" for character in text), text
    assert "Traceback" not in text, text
    joined = " ".join(text.split())
    for part in shown:
        assert part in joined, text
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def model(folder: Path, models: Path) -> Path:
    """A bottom-up model whose directory, nodes, versions and strings of its configuration carry such names."""
    place = folder / f"model{EVIL_FILE}"
    shutil.copytree(models / "bottomup", place)
    path = place / "training_config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = json.dumps(config).replace('"head"', json.dumps(EVIL + "head"))  # JSON is YAML
    config = json.loads(text)
    config["sleap_nn_version"] = EVIL
    path.write_text(json.dumps(config), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def video(folder: Path, videos: Path) -> Path:
    place = folder / f"{EVIL_FILE}.mp4"
    shutil.copy(videos / "two_flies.mp4", place)
    return place


def test_info(command: Command, model: Path, folder: Path) -> None:
    assert_literal(command("info", model), f"{SHOWN}")


@pytest.mark.parametrize("progress", ["auto", "lines", "none", "json"])
def test_predict(command: Command, progress: str, model: Path, video: Path, folder: Path) -> None:
    common = ("-m", model, "-n", 2, "-r", "torch", "--progress", progress, "--overwrite", "-f", "csv", "-f", "slp")
    ended = command("predict", video, *common)
    assert ended.returncode == 0, ended.stderr
    text = assert_literal(ended, "2 frames")
    if progress == "json":
        events = [json.loads(line) for line in ended.stderr.splitlines()]
        assert {event["event"] for event in events} >= {"begin", "summary"}
        assert any(event.get("name") == str(video) for event in events)
    else:
        assert SHOWN.replace("/", "|") in text
    again = command("predict", video, *common[:-6])
    assert_literal(again)


def test_several_sources_and_a_plan(command: Command, model: Path, video: Path, folder: Path) -> None:
    other = folder / f"other{EVIL_FILE}.mp4"
    shutil.copy(video, other)
    damaged = folder / f"damaged{EVIL_FILE}.mp4"
    damaged.write_bytes(b"nothing")
    sources = (video, other, damaged)
    common = ("-m", model, "-n", 1, "-r", "torch")
    assert_literal(command("predict", *sources, *common, "--dry-run"))
    ended = command("predict", *sources, *common, "--out-dir", folder / f"out{EVIL_FILE}")
    assert_literal(ended)
    assert_literal(command("predict", *sources, *common, "--slurm", 2))


def test_a_script_for_slurm_names_the_files(command: Command, model: Path, video: Path, folder: Path) -> None:
    script = command("predict", video, "-m", model, "--slurm", 1).stdout
    line = next(line for line in script.splitlines() if line.startswith("exec "))
    words = line.removeprefix("exec ").partition(" --shard")[0]
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    assert read.split(b"\0")[2:-1] == [os.fsencode(video), b"-m", os.fsencode(model)]


def test_live(command: Command, model: Path, video: Path, folder: Path) -> None:
    output = folder / f"live{EVIL_FILE}.slp"
    ended = command("live", video, "-m", model, "-n", 2, "-o", output)
    assert ended.returncode == 0, ended.stderr
    assert_literal(ended, "2 predicted")
    ended = command("live", video, "-m", model, "-n", 1, "--json")
    (line,) = ended.stdout.splitlines()
    found = json.loads(line)
    assert EVIL + "head" in found["instances"][0]["points"]
    assert_literal(ended)


def test_labels_as_a_source(command: Command, model: Path, video: Path, folder: Path) -> None:
    labels = sio.Labels(videos=[sio.Video(str(folder / f"gone{EVIL_FILE}.mp4"), open_backend=False)])
    path = folder / f"labels{EVIL_FILE}.slp"
    labels.save(str(path), embed=False)
    ended = command("predict", path, "-m", model)
    assert ended.returncode == 2
    assert_literal(ended, "error:")


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "nowhere"],
        ["predict", "nowhere", "-m", "MODEL"],
        ["predict", "VIDEO", "-m", "nowhere"],
        ["predict", "VIDEO", "-m", "MODEL", "-o", "nowhere/x.slp"],
        ["predict", "VIDEO", "-m", "MODEL", "-f", "nowhere"],
        ["live", "nowhere", "-m", "MODEL"],
        ["live", "VIDEO", "-m", "MODEL", "-o", "nowhere/x.slp"],
        ["merge", "nowhere"],
        ["export", "nowhere", "-o", "out"],
        ["export", "--pattern", "nowhere", "-o", "out"],
        ["validate", "nowhere", "--against", "MODEL"],
        ["benchmark", "nowhere"],
        ["benchmark", "MODEL", "VIDEO", "-o", "nowhere/x.json"],
        ["benchmark", "MODEL", "VIDEO", "--baseline", "nowhere"],
        ["doctor", "--only", "nowhere"],
        ["cache", "--clear", "nowhere"],
        ["demo", "-o", "FILE/nowhere"],
        ["nowhere"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_errors(command: Command, arguments: Sequence[str], model: Path, video: Path, folder: Path) -> None:
    (folder / "file").touch()
    places = {"MODEL": str(model), "VIDEO": str(video), "FILE/nowhere": str(folder / "file" / EVIL_FILE)}
    given = [places.get(word, word.replace("nowhere", f"nowhere{EVIL_FILE}")) for word in arguments]
    ended = command(*given)
    assert ended.returncode == 2, ended.stderr
    assert_literal(ended, "error: ")
    assert len(ended.stderr.splitlines()) <= 3, "usage and help at most, and the error in one line"


def test_a_damaged_configuration(command: Command, folder: Path) -> None:
    place = folder / "damaged"
    place.mkdir()
    (place / "best.ckpt").touch()
    for text in (
        'a: "\\e[31m\\r\\a',
        f"a: [{EVIL}",
        "a: !x\u202e 1",
        "a:\n  b: 1\n c: 2",
        'data_config: "\\e[31m[red]"',
    ):
        (place / "training_config.yaml").write_text(text, encoding="utf-8")
        ended = command("info", place)
        assert ended.returncode == 2
        assert_literal(ended, "error: ")
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("progress", ["lines", "json"])
def test_names_that_cannot_be_decoded(command: Command, progress: str, model: Path) -> None:
    ended = command("predict", "nowhere\udcff\udcfe.mp4", "-m", model, "--progress", progress)
    assert ended.returncode == 2
    for line in assert_literal(ended, r"nowhere\xff\xfe.mp4").splitlines():
        if line.startswith("{"):
            json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")
