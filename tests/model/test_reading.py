"""Configurations are read with bounded memory, and files that cannot be read are named with the reason."""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import tiny_config, write_model

from sleap_infer.errors import ModelError, SourceFormatError
from sleap_infer.jobs.plan.manifest import read_manifest
from sleap_infer.model import find_model_files, load_network, read_spec
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.model.readers.texts import LARGEST_TREE, parse_json, parse_yaml

GIB = 1 << 30


def bomb(levels: int, merge: bool) -> str:
    """Aliases of aliases: 9**levels values in 60 bytes per level."""
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x]"]
    for level in range(1, levels):
        below = ",".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{below}]}}" if merge else f"[{below}]"))
    return "\n".join([*lines, f"model_config: *a{levels - 1}", ""])


BOMBS = {
    "aliases": bomb(12, merge=False),
    "merges": bomb(12, merge=True),
    "cycle": "a: &a [*a]",
    "cycle of merges": "a: &a\n  <<: *a\n",
    "number in base 60": f"a: 1{':59' * 100_000}",
    "long number": f"a: {'9' * 1_000_000}",
    "long text": "a: '" + "x" * (5 << 20) + "'",
    "deep": "[" * 100_000,
}


READ_ALL = """
import sys
from pathlib import Path
from sleap_infer.errors import SleapInferError
from sleap_infer.jobs.plan.manifest import read_manifest
from sleap_infer.model import read_spec
for folder in sorted(Path('.').iterdir()):
    for read, path in ((read_spec, folder), (read_manifest, folder / 'videos.yaml')):
        try:
            read(path)
        except SleapInferError as error:
            print(folder.name, type(error).__name__, len(str(error)) < 600)
"""


def test_small_texts_that_would_take_the_machine(tmp_path: Path) -> None:
    """All in one process that may take 1 GiB; a bomb of aliases alone would take far more."""
    for name, text in BOMBS.items():
        write_model(tmp_path / name, tiny_config())
        for file in ("training_config.yaml", "videos.yaml"):
            (tmp_path / name / file).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB)),
        check=False,
    )
    expected = [f"{name} {error} True" for name in sorted(BOMBS) for error in ("ModelConfigError", "SourceFormatError")]
    assert done.stdout.splitlines() == expected, done.stderr


def test_aliases_that_a_person_writes() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nlist: [*base, *base]\n"
    assert parse_yaml(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 3},
        "list": [{"a": 1, "b": 2}, {"a": 1, "b": 2}],
    }


@pytest.mark.parametrize("n_values", [LARGEST_TREE - 10, LARGEST_TREE + 10])
def test_expanded_size_is_counted(n_values: int) -> None:
    """A list of 1000 values, repeated by alias: 1000 + 1 values each time."""
    times = n_values // 1001
    ones, aliases, rest = ",".join("1" * 1000), ",".join(["*a"] * (times - 1)), ",".join("1" * (n_values % 1001))
    text = f"a: &a [{ones}]\nb: [{aliases}]\nc: [{rest}]"
    if n_values < LARGEST_TREE:
        assert len(parse_yaml(text)["b"]) == times - 1
    else:
        with pytest.raises(ValueError, match="aliases"):
            parse_yaml(text)


def without(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way to open files of this name fail, in Python; permissions do not hold for a superuser."""
    opened: dict[str, Callable[..., Any]] = {"builtins": builtins.open, "os": os.open}

    def failing(way: str) -> Callable[..., Any]:
        def open_others(file: Any, *args: Any, **options: Any) -> Any:
            if isinstance(file, (str, bytes, os.PathLike)) and os.path.basename(os.fsdecode(file)) == name:
                raise OSError(number, os.strerror(number), os.fsdecode(file))
            return opened[way](file, *args, **options)

        return open_others

    monkeypatch.setattr(builtins, "open", failing("builtins"))
    monkeypatch.setattr(io, "open", failing("builtins"))
    monkeypatch.setattr(os, "open", failing("os"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A directory with the files of an exported model; its graph is never opened."""
    place = tmp_path_factory.mktemp("exported")
    source = Path(__file__).parents[1] / "foreign" / "exports" / "bottomup"
    shutil.copytree(source, place / "model")
    return place / "model"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EISDIR, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize(
    "name", ["training_config.yaml", "best.ckpt", "export_metadata.json", "model.onnx", "videos.yaml", "hashed"]
)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    model = tmp_path / "model"
    write_model(model, tiny_config())
    for extra in ("videos.yaml", "hashed"):
        (tmp_path / extra).write_text("- a.mp4\n", encoding="utf-8")
    readers: dict[str, Callable[[], object]] = {
        "training_config.yaml": lambda: read_spec(model),
        "best.ckpt": lambda: load_network(model),
        "export_metadata.json": lambda: read_spec(exported),
        "model.onnx": lambda: read_spec(exported),
        "videos.yaml": lambda: read_manifest(tmp_path / "videos.yaml"),
        "hashed": lambda: hash_file(tmp_path / "hashed"),
    }
    without(name, number, monkeypatch)
    with pytest.raises((ModelError, SourceFormatError)) as caught:
        readers[name]()
    message = str(caught.value)
    assert name in message
    assert os.strerror(number) in message
    assert "\n" not in message
    assert len(message.split(os.strerror(number))[1]) > 20, "no hint"


@pytest.mark.parametrize("name", ["training_config.yaml", "best.ckpt"])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, tiny_config())
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_network(tmp_path)


def test_a_directory_that_may_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, **_options: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ModelError, match="Permission denied"):
        find_model_files(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "scale: 0.5\na: 1\nscale: 1.0",
        "a:\n  b:\n    scale: 1\n    scale: 1",
        "- {scale: 1, 'scale': 2}",
        "scale: {}\nscale: {a: 1}",
    ],
)
def test_a_name_that_stands_twice_is_refused(text: str) -> None:
    """One of its values would be used, and nobody sees which."""
    with pytest.raises(ValueError, match="'scale' is given twice"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ['{"scale": 0.5, "scale": 1}', '[{"a": {"scale": 1, "b": 2, "scale": 1}}]'])
def test_a_name_that_stands_twice_is_refused_in_json(text: str) -> None:
    with pytest.raises(ValueError, match="'scale' is given twice"):
        parse_json(text)


@pytest.mark.parametrize("text", ["x: &x {a: 1}\ny: {<<: *x, a: 2}", "x: {a: 1}\ny: {a: 1}", "a: 1\nA: 2"])
def test_equal_names_of_different_mappings_are_read(text: str) -> None:
    assert parse_yaml(text)
