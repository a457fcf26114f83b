"""Small SLEAP models and what SLEAP 1.4.1 finds: `golden/legacy.npz`, made by `training/make_legacy_golden.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden" / "legacy.npz"


def cases() -> list[str]:
    """Names of all cases."""
    return list(dict.fromkeys(name.split("/")[0] for name in np.load(GOLDEN).files))


def write_models(folder: Path, case: str) -> list[Path]:
    """Write the models of a case as SLEAP does, but for what nobody reads."""
    stored = np.load(GOLDEN)
    paths: list[Path] = []
    for name in stored.files:
        if name.startswith(f"{case}/") and name.endswith("/config"):
            kind = name.split("/")[1]
            paths.append(folder / kind)
            paths[-1].mkdir()
            (paths[-1] / "training_config.json").write_text(str(stored[name]))
            begin = f"{case}/{kind}/weights/"
            write_weights(paths[-1], {key.removeprefix(begin): stored[key] for key in stored.files if begin in key})
    return paths


def write_weights(folder: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write weights, by `"<layer>/kernel:0"`, as Keras does."""
    with h5py.File(folder / "best_model.h5", "w") as file:
        for name, values in weights.items():
            layer, _, which = name.partition("/")
            file[f"model_weights/{layer}/{layer}/{which}"] = values.astype(np.float32)


def write_constant_model(folder: Path, value: float, offsets: NDArray[Any]) -> Path:
    """Write a single-instance model of three nodes and stride 2 whose maps hold the same numbers everywhere.

    Args:
        folder: of the model, made here.
        value: of all confidence maps.
        offsets: (3, 2) of the offset head, as (x, y) in cells.
    """
    stored, begin = np.load(GOLDEN), "single_scaled/single_instance/"
    names = [name for name in stored.files if name.startswith(f"{begin}weights/")]
    weights = {name.removeprefix(f"{begin}weights/"): np.zeros_like(stored[name]) for name in names}
    weights["SingleInstanceConfmapsHead/bias:0"][:] = value
    weights["OffsetRefinementHead/bias:0"][:] = offsets.reshape(-1)
    config = json.loads(str(stored[f"{begin}config"]))
    config["data"]["preprocessing"] |= {"input_scaling": 1.0, "resize_and_pad_to_target": False}
    folder.mkdir()
    (folder / "training_config.json").write_text(json.dumps(config))
    write_weights(folder, weights)
    return folder


def frames_of(case: str) -> NDArray[np.uint8]:
    """Frames of a case, (B, H, W, C)."""
    frames: NDArray[np.uint8] = np.load(GOLDEN)[f"{case}/frames"]
    return frames


def found_by_sleap(case: str) -> dict[str, NDArray[np.float32]]:
    """What SLEAP found, by name, filled up with NaN."""
    stored = np.load(GOLDEN)
    begin = f"{case}/found/"
    return {name.removeprefix(begin): stored[name] for name in stored.files if name.startswith(begin)}
