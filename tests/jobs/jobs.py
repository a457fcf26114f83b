"""What tests of jobs share: tasks, and what is in the files that they write."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sleap_infer.jobs import Models, Task

FASTEST = "single_instance"
TABLES = ("frames", "instances", "pred_points", "points", "tracks_json", "videos_json")


def models_of(models: Path, *kinds: str, batch_size: int = 4, **options: Any) -> Models:
    """Models of the package on PyTorch."""
    return Models(tuple(str(models / kind) for kind in kinds or (FASTEST,)), options, "torch", "cpu", None, batch_size)


def onnx(graph: Path) -> Models:
    """An exported model on ONNX Runtime."""
    return Models((str(graph),), {}, "onnx", "cpu", None, 4)


def task_in(folder: Path, video: Path, name: str = "clip", **facts: Any) -> Task:
    """A task on a copy of a video."""
    copy = folder / f"{name}{video.suffix}"
    if not copy.exists():
        shutil.copy(video, copy)
    return Task((str(copy),), folder / f"{name}.slp", **facts)


def tables_of(path: Path) -> dict[str, Any]:
    """The tables of a `.slp` file."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in TABLES}


def assert_same(path: Path, other: Path) -> None:
    """That two `.slp` files hold the same frames, bit by bit."""
    found, expected = tables_of(path), tables_of(other)
    for name in TABLES:
        if name == "videos_json":
            continue
        assert found[name].dtype == expected[name].dtype, name
        assert len(found[name]) == len(expected[name]), name
        for field in found[name].dtype.names or (None,):
            one, two = (table[name] if field is None else table[name][field] for table in (found, expected))
            same = (
                one == two
                if one.dtype.kind == "O"
                else (one == two) | (np.isnan(one) & np.isnan(two) if one.dtype.kind == "f" else False)
            )
            assert np.all(same), f"{name} {field}"
