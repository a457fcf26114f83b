"""HDF5 files as they come: what is in them, what they really are, and that nothing outside of them is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from sleap_infer.errors import SourceFormatError
from sleap_infer.frames.pixels.limits import MAX_CHUNK, MAX_RATIO, SMALL
from sleap_infer.model.readers.texts import explain

MANY = 100_000
"""Objects of a file beyond which it is not read."""

MOST_LINKS = 16
"""Links inside of a file that are followed one after the other, as HDF5 does."""

EMBEDDED = "video"
"""Last part of the names of datasets in which label files embed images."""


@contextmanager
def opened(path: Path, failure: str = "cannot be read as a video") -> Iterator[h5py.File]:
    """Open an HDF5 file to read.

    Args:
        path: of the file.
        failure: what it means for the user if that fails.

    Raises:
        SourceFormatError: it cannot be opened.
    """
    try:
        file = h5py.File(path, "r")
    except (OSError, UnicodeError, RuntimeError) as error:
        is_known = isinstance(error, OSError) and error.errno
        reason = explain(error) if is_known else f"it is no HDF5 file, or damaged ({error})"  # type: ignore[arg-type]
        raise SourceFormatError(f"{path} {failure}: {reason}.") from error
    with file:
        yield file


def datasets_of(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets by name, without following links.

    Raises:
        SourceFormatError: there are too many objects, or the file is damaged.
    """
    found: dict[str, h5py.Dataset] = {}
    counted = [0]

    def visit(name: str, item: object) -> bool | None:
        counted[0] += 1
        if isinstance(item, h5py.Dataset):
            found[name] = item
        return True if counted[0] > MANY else None

    try:
        file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError, UnicodeError) as error:
        raise SourceFormatError(f"{file.filename} is damaged: {error}. Take a backup.") from error
    if counted[0] > MANY:
        raise SourceFormatError(f"{file.filename} holds more than {MANY} objects. This is not a video.")
    return found


def external_link(file: h5py.File, name: str, n_links: int = MOST_LINKS) -> str | None:
    """Return the file that a name leads to by an external link, or `None` if it stays in this file.

    Args:
        file: open.
        name: of an object; links inside of the file are followed on the way to it.
        n_links: of these, at most: more are a circle, which leads to nothing.
    """
    group: object = file
    parts = [part for part in name.split("/") if part]
    for number, part in enumerate(parts):
        if not isinstance(group, h5py.Group) or part not in group.keys():  # noqa: SIM118 - `in group` follows links
            return None
        link = group.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            return str(link.filename)
        if isinstance(link, h5py.SoftLink):
            rest = "/".join([_absolute(group.name, link.path), *parts[number + 1 :]])
            return external_link(file, rest, n_links - 1) if n_links else None
        group = group[part]
    return None


def _absolute(group: str, path: str) -> str:
    return path if path.startswith("/") else f"{group}/{path}"


def external_links(file: h5py.File) -> list[str]:
    """Return the names of all external links of a file."""
    groups: list[h5py.Group] = [file]
    file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
    return [
        f"{group.name.rstrip('/')}/{name}"
        for group in groups
        for name in group
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink)
    ]


def stays_inside(dataset: h5py.Dataset) -> bool:
    """Return whether all values of a dataset lie in its own file."""
    if dataset.external:
        return False
    return not dataset.is_virtual or all(source.file_name == "." for source in dataset.virtual_sources())


def check_labels_file(path: Path) -> None:
    """Check a label file before anything else reads it.

    Raises:
        SourceFormatError: it cannot be opened, refers to other files, or claims tables that take all memory.
    """
    with opened(path, "cannot be read as a SLEAP label file") as file:
        size = path.stat().st_size
        links = external_links(file)
        if links:
            raise SourceFormatError(f"{path} refers to another file by {links[0]}, which is not followed. {COPY}")
        for name, dataset in datasets_of(file).items():
            if not stays_inside(dataset):
                raise SourceFormatError(f"{path} keeps {name} in another file, which is not read. {COPY}")
            is_table = not name.endswith(f"/{EMBEDDED}")
            too_much = MAX_CHUNK if not is_table else max(SMALL, MAX_RATIO * size)
            claimed = chunk_bytes(dataset) if not is_table else (dataset.size or 0) * dataset.dtype.itemsize
            if claimed > too_much:
                raise SourceFormatError(
                    f"{path} claims {claimed / 1e9:.1f} GB of {name} in a file of {size / 1e6:.1f} MB. It is damaged: "
                    "take a backup, or save it again in SLEAP."
                )


COPY = "Copy the content into one file."


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes of a chunk of a dataset, decompressed; 0 if it has no chunks."""
    n_bytes = dataset.dtype.itemsize if dataset.chunks else 0
    for side in dataset.chunks or ():
        n_bytes *= side
    return int(n_bytes)


def other_kind(file: h5py.File) -> str | None:
    """Return what a file is that is known and is not a video, and what to do with it."""
    names, facts = set(file), set(file.attrs)
    if {"tracks", "node_names"} <= names or {"tracks", "track_occupancy"} <= names:
        return "an analysis file of SLEAP, which holds poses. Give the video that they were predicted on"
    if "model_weights" in names or {"keras_version", "layer_names"} & facts:
        return "the weights of a Keras model. Give a video, and the model's directory with -m"
    if {"metadata", "frames", "instances"} <= names:
        return "a label file of SLEAP. Rename it to .slp"
    if any("pandas_type" in item.attrs for item in _groups(file)):
        return "a table of pandas, such as poses of DeepLabCut. Give the video"
    return None


def _groups(file: h5py.File) -> Iterator[h5py.Group]:
    for name in file:
        if file.get(name, getclass=True, getlink=True) is h5py.HardLink and isinstance(file[name], h5py.Group):
            yield file[name]
