"""Read arrays of an untrusted HDF5 file: nothing outside of it, and no more memory than its size allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from attrs import define
from numpy.typing import NDArray

MOST_INFLATED = 16
"""Times the stored bytes. Weights hardly compress; a dataset that was never written has a size, but no bytes."""

SLACK = 16 << 20


@define
class Budget:
    """Bytes that may still be read from a file."""

    left: int


@contextmanager
def open_weights(path: Path) -> Iterator[tuple[h5py.Group, Budget]]:
    """Open a file of Keras weights, and give its group `model_weights` with the bytes that may be read.

    Raises:
        OSError, KeyError, ValueError: it is no HDF5 file, or has no such group.
    """
    with h5py.File(path, "r") as file:
        yield child(file, "model_weights"), Budget(SLACK + MOST_INFLATED * os.stat(path).st_size)


def child(group: h5py.Group, name: str) -> Any:
    """Return a member of a group that is in the same file.

    Raises:
        KeyError: there is none.
        ValueError: it is a link to elsewhere, which is not followed.
    """
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is a link ({type(link).__name__}), which is not followed")
    return group[name]


def read_array(group: h5py.Group, name: str, budget: Budget) -> NDArray[np.float32]:
    """Read an array of numbers. Its claimed size is compared with the stored bytes before memory is taken.

    Raises:
        KeyError: there is none.
        ValueError: it lies in another file, is no array of floats, or claims more than is stored.
    """
    data = child(group, name)
    where = f"{group.name}/{name}"
    if not isinstance(data, h5py.Dataset) or data.dtype.kind != "f":
        raise ValueError(f"{where} is no array of floats")
    if data.external or data.is_virtual:
        raise ValueError(f"the values of {where} are in another file, which is not read")
    claimed, stored = int(data.size) * data.dtype.itemsize, data.id.get_storage_size()
    if claimed > MOST_INFLATED * stored or claimed > budget.left:
        raise ValueError(f"{where} claims {claimed:,} bytes, but {stored:,} are stored")
    budget.left -= claimed
    return np.asarray(data[()], np.float32)
