"""Frames that are stored in a dataset of an HDF5 file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import FrameReadError, OptionError, SourceFormatError
from sleap_infer.frames.descriptions import absolute
from sleap_infer.frames.pixels.limits import MAX_CHUNK, too_large
from sleap_infer.frames.readers.hdf5_file import (
    COPY,
    EMBEDDED,
    chunk_bytes,
    datasets_of,
    external_link,
    external_links,
    opened,
    other_kind,
    stays_inside,
)
from sleap_infer.frames.readers.hdf5_layout import check_axes, choose_axes, choose_dataset
from sleap_infer.frames.readers.stored import StoredReader
from sleap_infer.model.readers.texts import explain

if TYPE_CHECKING:
    import sleap_io as sio

HDF5_SUFFIXES = (".h5", ".hdf5")

AXES = "axes"
"""Key of a description for the axes. `input_format` cannot express all of them: channels_first of SLEAP is NCWH."""


class Hdf5Reader(StoredReader):
    """Reads a dataset of an HDF5 file: (N, H, W), (N, H, W, C) or (N, C, H, W), or one image (H, W, C).

    Args:
        path: of the file.
        options: which dataset, and where its channels are.
        axes: of the dataset, where a description says them: NHWC, NCHW, NCWH, NHW or HWC.
        stated: whether a description says that the video is gray.

    Raises:
        SourceFormatError: there is no such dataset, several can hold frames, or it cannot hold frames.
        EmptySourceError: it has no frame.
        OptionError: the options do not go with the file.
    """

    def __init__(
        self,
        path: Path,
        options: SourceOptions | None = None,
        axes: str | None = None,
        stated: bool | None = None,
    ) -> None:
        options = options or SourceOptions()
        self.path = path
        self._file: h5py.File | None = None
        with opened(path) as file:
            self.dataset = options.dataset or _find(file, path)
            found = _get(file, self.dataset, path)
            where = f"{self.dataset} in {path}"
            self.axes = axes or choose_axes(found, options.channels_first, where)
            check_axes(found, self.axes, where)
            _check_storage(found, self.axes, where)
            self._shape = tuple(map(int, found.shape))
        super().__init__(f"{path} ({self.dataset})", stated)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self._shape[0] if "N" in self.axes else 1

    def video(self) -> sio.Video:
        """Return the description for `sleap_io.Labels`."""
        import sleap_io as sio

        sides = dict(zip(self.axes, self._shape, strict=True))
        facts = {
            "type": "HDF5Video",
            "shape": (self.n_frames, sides["H"], sides["W"], sides.get("C", 1)),
            "dataset": self.dataset,
            "input_format": "channels_first" if self.axes in ("NCHW", "NCWH") else "channels_last",
            "convert_range": False,
            AXES: self.axes,
        }
        return sio.Video(filename=absolute(self.path), backend_metadata=facts, open_backend=False)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _all(self) -> Sequence[int]:
        return range(self.n_frames)

    def _stored(self, frame_idx: int) -> NDArray[Any] | FrameReadError:
        name = f"frame {frame_idx} of {self.name}"
        try:
            if self._file is None:
                self._file = h5py.File(self.path, "r")
            dataset = self._file[self.dataset]
            if "N" in self.axes and not _is_written(dataset, frame_idx):
                return FrameReadError(f"{name} was never written: the recording was cut off.")
            image: NDArray[Any] = np.asarray(dataset[frame_idx] if "N" in self.axes else dataset[()])
        except OSError as error:
            return FrameReadError(f"{name} cannot be read: {explain(error)}.")
        except (KeyError, ValueError, RuntimeError, TypeError, IndexError, MemoryError) as error:
            return FrameReadError(f"{name} cannot be read: {type(error).__name__}: {error}")
        own = self.axes.removeprefix("N")
        return image.transpose([own.index(axis) for axis in "HWC" if axis in own])


def read_described(video: sio.Video, path: Path) -> Hdf5Reader:
    """Return a reader for a HDF5 video that is described by sleap-io.

    Raises:
        SourceError: it cannot be read so.
    """
    backend, facts = video.backend, video.backend_metadata
    dataset = getattr(backend, "dataset", None) or facts.get("dataset") or None
    form = getattr(backend, "input_format", None) or facts.get("input_format")
    axes = facts.get(AXES) or ("NCWH" if form == "channels_first" else None)
    stated = facts.get("grayscale") if backend is None else backend.grayscale
    return Hdf5Reader(path, SourceOptions(dataset=dataset), axes, stated)


def holds_embedded(path: Path, options: SourceOptions) -> bool:
    """Return whether the images of an HDF5 file are embedded as in label files, each compressed separately."""
    if options.dataset is not None:
        return False
    with opened(path) as file:
        return any(name.endswith(f"/{EMBEDDED}") and "format" in item.attrs for name, item in datasets_of(file).items())


def _find(file: h5py.File, path: Path) -> str:
    kind = other_kind(file)
    if kind is not None:
        raise SourceFormatError(f"{path} is {kind}.")
    datasets = datasets_of(file)
    links = external_links(file)
    if not datasets and links:
        raise SourceFormatError(f"{path} only refers to another file, by {links[0]}, which is not followed. {COPY}")
    return choose_dataset(datasets, path)


def _get(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    elsewhere = external_link(file, name)
    if elsewhere is not None:
        raise SourceFormatError(
            f"{name} of {path} lies in another file ({elsewhere}), which is not followed. If you trust that file, "
            "give it."
        )
    try:
        found = file[name]
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        there = ", ".join(list(datasets_of(file))[:12]) or "none"
        raise OptionError(f"--dataset {name!r}: {path} has no such dataset. There are: {there}.") from error
    if not isinstance(found, h5py.Dataset):
        raise OptionError(f"--dataset {name!r} of {path} is a group. It holds: {', '.join(list(found)[:12])}.")
    if not stays_inside(found):
        raise SourceFormatError(f"{path} keeps the values of {name} in another file, which is not read. {COPY}")
    return found


def _check_storage(dataset: h5py.Dataset, axes: str, where: str) -> None:
    """Compare what a dataset claims with what is read of it at once."""
    sides = dict(zip(axes, dataset.shape, strict=True))
    reason = too_large(sides["H"], sides["W"])
    if reason is not None:
        raise SourceFormatError(f"{where} is not read: {reason}.")
    if chunk_bytes(dataset) > MAX_CHUNK:
        raise SourceFormatError(
            f"{where} is stored in chunks {dataset.chunks} of {chunk_bytes(dataset) / 1e9:.1f} GB each. Store it "
            "again in chunks of one frame."
        )
    if not dataset.is_virtual and dataset.id.get_storage_size() == 0:
        raise SourceFormatError(f"{where} has the shape {dataset.shape}, but no value was ever written.")


def _is_written(dataset: h5py.Dataset, frame_idx: int) -> bool:
    """Return whether the first chunk of a frame is there; others are filled up without a word."""
    if not dataset.chunks or dataset.is_virtual:
        return True
    first = (frame_idx // dataset.chunks[0] * dataset.chunks[0],) + (0,) * (dataset.ndim - 1)
    return dataset.id.get_chunk_info_by_coord(first).byte_offset is not None
