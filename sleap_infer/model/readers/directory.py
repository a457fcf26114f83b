"""Find the configuration and the weights of a model, given any path of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from attrs import frozen

from sleap_infer.choices import ModelFormat
from sleap_infer.config.kinds import KINDS
from sleap_infer.errors import ModelNotFoundError, SleapInferError

METADATA_NAME = "export_metadata.json"

CONFIG_NAMES: tuple[tuple[str, ModelFormat], ...] = (
    (METADATA_NAME, "onnx"),
    ("training_config.yaml", "sleap-nn"),
    ("training_config.yml", "sleap-nn"),
    ("training_config.json", "sleap"),
)
FORMATS: dict[str, ModelFormat] = {".ckpt": "sleap-nn", ".h5": "sleap", ".onnx": "onnx"}
"""Who wrote a weights file, by its suffix."""

WEIGHTS_NAMES: dict[ModelFormat, str] = {"sleap-nn": "best.ckpt", "sleap": "best_model.h5", "onnx": "model.onnx"}


MOST_LOOKED_AT = 2000
"""Entries of a folder that are looked at for models."""

MOST_NAMED = 8


@frozen
class ModelFiles:
    """The files of one model directory."""

    directory: Path
    config: Path
    weights: Path
    format: ModelFormat


def find_files(path: str | Path, kind_of: Callable[[Path], str]) -> ModelFiles:
    """Find configuration and weights, given a model directory or one file in it.

    A checkpoint named outright is used as it is; otherwise the best one is taken. Where both a YAML and a JSON
    configuration lie in a directory, the YAML counts.

    Args:
        path: the directory or file.
        kind_of: reads the kind of a model, for the message about a folder that holds several models.

    Raises:
        ModelNotFoundError: nothing at `path`, or no model in it.
    """
    path = Path(os.path.expanduser(path))
    with _finding(path):
        return _find(path, kind_of)


@contextmanager
def _finding(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a `ModelNotFoundError`."""
    try:
        yield
    except ModelNotFoundError:
        raise
    except OSError as error:
        raise ModelNotFoundError(
            f"No model at {path}: {error.strerror}. Check the path, and that it may be read."
        ) from error


def _find(path: Path, kind_of: Callable[[Path], str]) -> ModelFiles:
    if not path.exists():
        raise ModelNotFoundError(f"No model at {path}: there is no such file or directory.")
    directory = path if path.is_dir() else path.parent
    if path.suffix == ".onnx" and path.is_file() and not (directory / METADATA_NAME).is_file():
        return ModelFiles(directory, path, path, "onnx")  # a bare graph, which carries its metadata inside
    config, model_format = _find_config(directory, path, kind_of)
    weights = path if path.is_file() and path.suffix in FORMATS else directory / WEIGHTS_NAMES[model_format]
    if not weights.is_file():
        raise ModelNotFoundError(
            f"{config} is there, but the weights {weights.name!r} are not beside it (found: {_listing(directory)}). "
            "Copy the whole training directory, or give the checkpoint file itself."
        )
    return ModelFiles(directory, config, weights, model_format)


def expand_model_path(path: str | Path) -> list[Path]:
    """Return the models at a path: itself, or, for a directory of several exported models, each of these.

    Raises:
        ModelNotFoundError: the directory cannot be read.
    """
    path = Path(path).expanduser() if str(path).startswith("~/") else Path(path)
    with _finding(path):
        if not path.is_dir() or any((path / name).is_file() for name, _ in CONFIG_NAMES):
            return [path]
        return sorted(item.parent for item in path.glob(f"*/{METADATA_NAME}")) or [path]


def is_model(path: str | Path) -> bool:
    """Return whether a path is a model, or a file of one (configuration, weights, or a directory with these)."""
    path = Path(path).expanduser()
    names = [name for name, _ in CONFIG_NAMES]
    try:
        if path.is_dir():
            return any((path / name).is_file() for name in names) or any(
                (item / name).is_file() for item in path.iterdir() if item.is_dir() for name in names
            )
        is_weights = path.suffix == ".onnx" or path.name in (*names, *WEIGHTS_NAMES.values()) or path.suffix == ".ckpt"
        return is_weights and path.is_file()
    except OSError:
        return False


def _find_config(directory: Path, given: Path, kind_of: Callable[[Path], str]) -> tuple[Path, ModelFormat]:
    for name, model_format in CONFIG_NAMES:
        fits = directory == given or given.name == name or FORMATS.get(given.suffix) == model_format
        if fits and (directory / name).is_file():
            return directory / name, model_format
    inside = models_inside(directory) if directory == given else []
    if inside:
        raise ModelNotFoundError(_did_you_mean(given, inside, kind_of))
    raise ModelNotFoundError(
        f"No model at {given}: expected training_config.yaml with best.ckpt (sleap-nn) or training_config.json with "
        f"best_model.h5 (SLEAP up to 1.4), or export_metadata.json with model.onnx (exported) in {directory}, found "
        f"{_listing(directory)}. Give the directory that training or exporting left."
    )


def models_inside(folder: Path) -> list[Path]:
    """Return the model directories in a folder, or, if there are none, in the folders in it. Links are not followed."""
    for pattern in ("*", "*/*"):
        folders = list(islice(folder.glob(pattern), MOST_LOOKED_AT))
        found = [inside for inside in folders if any((inside / name).is_file() for name, _ in CONFIG_NAMES)]
        if found:
            return sorted(found)
    return []


def _did_you_mean(given: Path, inside: Sequence[Path], kind_of: Callable[[Path], str]) -> str:
    """Return the message for a folder of models: what is in it, and the options that were meant."""
    kinds: dict[Path, str] = {}
    for path in inside[:MOST_NAMED]:
        try:
            kinds[path] = kind_of(path)
        except SleapInferError:
            kinds[path] = "cannot be read"
    listed = ", ".join(f"{path.name} ({kind})" for path, kind in kinds.items())
    more = f" and {len(inside) - MOST_NAMED} more" if len(inside) > MOST_NAMED else ""
    rows = {path: KINDS[kind] for path, kind in kinds.items() if kind in KINDS}
    centroid = next((path for path, row in rows.items() if row.finds_centroids and not row.is_fused), None)
    crops = next((path for path, row in rows.items() if row.on_crops), None)
    whole = next((path for path, kind in kinds.items() if kind != "cannot be read"), inside[0])
    meant = [centroid, crops] if centroid and crops else [whole]
    options = " ".join(f"-m {shlex.quote(str(path))}" for path in meant)
    return (
        f"No model at {given}: it is a folder of {len(inside)} models: {listed}{more}. Give the directory of one, "
        f"or of two for top-down. Did you mean: {options}"
    )


def _listing(directory: Path, at_most: int = 8) -> str:
    names = sorted(item.name for item in directory.iterdir())
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return (", ".join(names[:at_most]) or "nothing") + more
