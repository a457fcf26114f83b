"""Find the datasets of an HDF5 file that can hold frames, and their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sleap_infer.errors import EmptySourceError, OptionError, SourceFormatError
from sleap_infer.frames.pixels.conversion import CHANNELS

MIN_SIDE = 16
"""Pixels of a side. Smaller floats, and smaller arrays without channels, are read only where they are named."""

LISTED = 12
"""Datasets that a message lists."""

AXES_OPTIONS = "--channels-first or --channels-last (channels_first=True or False)"


def possible_axes(shape: Sequence[int]) -> list[str]:
    """Return what the axes of a video can be: N frames, C channels, H rows and W columns.

    >>> possible_axes((6, 384, 384, 1)), possible_axes((6, 1, 384, 384)), possible_axes((6, 384, 384))
    (['NHWC'], ['NCHW'], ['NHW'])
    >>> possible_axes((6, 3, 384, 3)), possible_axes((6, 384, 384, 2)), possible_axes((384, 384, 3))
    (['NHWC', 'NCHW'], [], ['HWC'])
    """
    if len(shape) == 3:
        return ["HWC" if shape[2] in CHANNELS else "NHW"] if 0 not in shape[1:] else []
    if len(shape) != 4 or 0 in shape[1:]:
        return []
    return [axes for axes, place in (("NHWC", 3), ("NCHW", 1)) if shape[place] in CHANNELS]


def choose_dataset(datasets: Mapping[str, h5py.Dataset], path: Path) -> str:
    """Return the name of the only dataset that can hold the frames of a video.

    Args:
        datasets: all of the file, by name.
        path: of the file, for errors.

    Raises:
        SourceFormatError: there is none, or several.
        EmptySourceError: it has no frame.
    """
    found = [name for name, dataset in datasets.items() if _looks_like_frames(dataset)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SourceFormatError(
            f"{path} has {len(found)} datasets that can hold the frames of a video: "
            f"{_listing({name: datasets[name] for name in found})}. Name one with --dataset (dataset=...)."
        )
    raise SourceFormatError(
        f"{path} has no dataset that can hold the frames of a video, which are (N, H, W), (N, H, W, C) or (N, C, H, W) "
        f"with 1, 3 or 4 channels, as uint8 or floats. Found: {_listing(datasets) or 'no dataset'}."
    )


def choose_axes(dataset: h5py.Dataset, channels_first: bool | None, where: str) -> str:
    """Return the axes of a dataset, as in `possible_axes`.

    Args:
        dataset: to be read as a video.
        channels_first: what the user says of it.
        where: name of file and dataset, for errors.

    Raises:
        SourceFormatError: it cannot hold frames, or its shape can be read in two ways.
        EmptySourceError: it has no frame.
        OptionError: the user says what cannot be.
    """
    shape = tuple(dataset.shape or ())
    if not _is_numeric(dataset):
        raise SourceFormatError(
            f"{where} holds {dataset.dtype} values. Expected uint8 (0 to 255), or floats from 0 to 1 or 0 to 255: "
            "convert it to 8 bits per channel."
        )
    axes = possible_axes(shape)
    if not axes:
        raise SourceFormatError(
            f"{where} has the shape {shape}. Expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 (gray), 3 "
            "(RGB) or 4 (RGB and alpha) channels."
        )
    if shape[0] == 0:
        raise EmptySourceError(f"{where} has the shape {shape}: not a single frame.")
    if channels_first is None:
        if len(axes) > 1:
            raise SourceFormatError(
                f"{where} has the shape {shape}: its channels may be the second axis or the last. Give {AXES_OPTIONS}."
            )
        return axes[0]
    wanted = "NCHW" if channels_first else "NHWC"
    if wanted in axes:
        return wanted
    if len(shape) == 3:
        raise OptionError(f"--channels-first and --channels-last have no effect on {where}, which has three axes.")
    number, place = (shape[1], "second") if channels_first else (shape[3], "last")
    raise OptionError(f"{where} has the shape {shape}: its {place} axis holds {number} values, not 1, 3 or 4 channels.")


def check_axes(dataset: h5py.Dataset, axes: object, where: str) -> None:
    """Check that a dataset has the axes that a description gives it.

    Raises:
        SourceFormatError: it has not.
    """
    shape = tuple(dataset.shape or ())
    is_known = isinstance(axes, str) and axes in ("NHWC", "NCHW", "NCWH", "NHW", "HWC") and len(axes) == len(shape)
    if not is_known or ("C" in str(axes) and shape[str(axes).index("C")] not in CHANNELS) or not _is_numeric(dataset):
        raise SourceFormatError(
            f"{where} has the shape {shape} and holds {dataset.dtype} values. It is described as {axes}, with 1, 3 or "
            "4 channels of uint8 or floats. Describe it again."
        )


def _looks_like_frames(dataset: h5py.Dataset) -> bool:
    shape = tuple(dataset.shape or ())
    if not _is_numeric(dataset) or not possible_axes(shape):
        return False
    sides = [shape[axes.index("H")] for axes in possible_axes(shape)]
    sides += [shape[axes.index("W")] for axes in possible_axes(shape)]
    is_sure = len(shape) == 4 and dataset.dtype == np.uint8
    return is_sure or min(sides) >= MIN_SIDE


def _is_numeric(dataset: Any) -> bool:
    return bool(dataset.dtype == np.uint8 or np.issubdtype(dataset.dtype, np.floating))


def _listing(datasets: Mapping[str, h5py.Dataset]) -> str:
    shown = [f"{name} {tuple(dataset.shape or ())} {dataset.dtype}" for name, dataset in datasets.items()]
    return ", ".join(shown[:LISTED]) + (f", ... ({len(shown)} in all)" if len(shown) > LISTED else "")
