"""Read the labelled frames of a label file, and the points that a person gave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import (
    EmptySourceError,
    FrameSelectionError,
    OptionError,
    SourceFormatError,
    SourceNotFoundError,
)
from sleap_infer.frames.descriptions import relocate
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.paths import exists
from sleap_infer.frames.readers.hdf5_file import check_labels_file
from sleap_infer.frames.replaced_paths import Pairs, last_part, replaced, root_of

if TYPE_CHECKING:
    import sleap_io as sio

Points = NDArray[np.float32]

READ_ERRORS = (OSError, MemoryError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError)
"""Errors of sleap-io for files that are damaged or of another kind."""


def load_labels(path: Path, pairs: Pairs = ()) -> sio.Labels:
    """Load a label file; of a video that is named without a folder, the file beside the labels comes first.

    Args:
        path: of the file.
        pairs: roots of paths that are replaced, old and new.

    Raises:
        SourceFormatError: this is not a label file, or a damaged one.
        OptionError: no video has one of these roots.
    """
    import sleap_io as sio

    check_labels_file(path)
    try:
        labels = sio.load_slp(str(path), open_videos=_embeds_frames(path))
    except READ_ERRORS as error:
        raise SourceFormatError(
            f"{path} cannot be read as a SLEAP label file: {type(error).__name__}: {error}. It may be damaged: take a "
            "backup, or save it again in SLEAP."
        ) from error
    _require_match(labels, pairs, path)
    for video in labels.videos:
        relocate(video, [_found(path.parent, name, pairs) for name in _names(video)])
    return labels


def _embeds_frames(path: Path) -> bool:
    """Return whether frames are embedded. sleap-io needs their videos open; others stay closed."""
    from sleap_io.io.slp import read_videos

    videos = read_videos(str(path), open_backend=False)
    return any(str(video.backend_metadata.get("dataset") or "").endswith("/video") for video in videos)


def _require_match(labels: sio.Labels, pairs: Pairs, path: Path) -> None:
    names = [name for video in labels.videos for name in _names(video)]
    if pairs and not any(replaced(name, pairs) for name in names):
        given = ", ".join(old for old, _ in pairs)
        raise OptionError(
            f"--replace-path has no effect: no video of {path} lies in {given}. They are: {'; '.join(names[:8])}."
        )


def _found(folder: Path, name: str, pairs: Pairs) -> str:
    """Where a video is: under its new root, if it has one; else as it is named, or beside the labels."""
    return replaced(name, pairs) or _beside(folder, name)


def _names(video: sio.Video) -> list[str]:
    return list(video.filename) if isinstance(video.filename, list) else [video.filename]


def require_videos(labels: Iterable[sio.Video], name: str) -> None:
    """Check that the files of some videos of a label file are there.

    Raises:
        SourceNotFoundError: some are missing; the message names all of them.
    """
    missing = [names for names in map(_missing_of, labels) if names]
    if not missing:
        return
    shown = "; ".join(
        names[0] + (f" and {len(names) - 1} more of its images" if names[1:] else "") for names in missing
    )
    root = root_of([file for names in missing for file in names])
    what = "The video" if len(missing) == 1 else f"{len(missing)} videos"
    raise SourceNotFoundError(
        f"{what} of {name} {'is' if len(missing) == 1 else 'are'} missing (in {Path.cwd()}): {shown}. Put the files "
        f"there, or beside the label file, or give their new folder: --replace-path '{root}=NEW' "
        "(replace_paths={OLD: NEW})."
    )


def _missing_of(video: sio.Video) -> list[str]:
    return [name for name in _names(video) if not exists(name)]


def videos_named_in(path: Path, pairs: Pairs = ()) -> list[Path]:
    """Return the video files that a label file names, also those from which its embedded frames come.

    Nothing but the label file is opened.

    Raises:
        SourceFormatError: this is not a label file, or a damaged one.
    """
    from sleap_io.io.slp import read_videos

    check_labels_file(path)
    try:
        videos = read_videos(str(path), open_backend=False)
    except READ_ERRORS as error:
        raise SourceFormatError(f"{path} cannot be read as a SLEAP label file: {error}.") from error
    found: list[Path] = []
    for video in videos:
        while video is not None:
            found += [Path(_found(path.parent, name, pairs)) for name in _names(video)]
            video = video.source_video
    return list(dict.fromkeys(found))


def _beside(folder: Path, name: str) -> str:
    """Where a video is: as it is named, but beside the labels if it has a bare name or is missing."""
    if last_part(name) != name and exists(name):
        return name
    candidates = (folder / name, folder / last_part(name))
    return next((str(path) for path in candidates if exists(path)), name)


def labelled_parts(
    labels: sio.Labels, positions: Indices | None, name: str, nodes: Sequence[str]
) -> Iterator[tuple[int, sio.Video, tuple[int, ...], dict[int, Points]]]:
    """Labelled frames by video.

    Args:
        labels: to look into.
        positions: in the list of labelled frames; `None` for all.
        name: of the labels, for errors.
        nodes: names of the N nodes, as `all_nodes` gives them.

    Yields:
        Index of each video that has such frames, the video, frame indices, and points (I, N, 2) by frame. Points of an
        instance stand at the names of its own skeleton's nodes; those of other skeletons are NaN.

    Raises:
        EmptySourceError: there is no labelled frame.
        FrameSelectionError: a position is out of range.
    """
    n_labelled = len(labels.labeled_frames)
    if not n_labelled:
        raise EmptySourceError(
            f"{name} has no labelled frame to predict. For every frame of its videos: frames='all' (--frames all)."
        )
    positions = None if positions is None else positions.until(n_labelled)
    if positions and positions[-1] >= n_labelled:
        raise FrameSelectionError(
            f"Position {positions[-1]} is asked for, but {name} has labelled frames 0 to {n_labelled - 1}. "
            "Frames of a label file are selected by position."
        )
    frames = labels.labeled_frames if positions is None else [labels.labeled_frames[n] for n in positions]
    of_videos: dict[int, dict[int, list[Points]]] = {}
    for frame in frames:
        points = of_videos.setdefault(id(frame.video), {}).setdefault(int(frame.frame_idx), [])
        points += [_points_of(instance, nodes) for instance in frame.user_instances]
    for number, video in enumerate(labels.videos):
        of_frames = of_videos.get(id(video))
        if of_frames:
            known = {
                n: np.array(found, np.float32).reshape(len(found), len(nodes), 2) for n, found in of_frames.items()
            }
            yield number, video, tuple(sorted(known)), known


def all_nodes(labels: sio.Labels) -> tuple[str, ...]:
    """Return the names of the nodes of all skeletons, those of the first one first, each name once."""
    skeletons = [*labels.skeletons, *(instance.skeleton for frame in labels for instance in frame.user_instances)]
    return tuple(dict.fromkeys(name for skeleton in skeletons for name in skeleton.node_names))


def _points_of(instance: sio.Instance, nodes: Sequence[str]) -> Points:
    """(N, 2) points of the named nodes; NaN for those that the instance's own skeleton lacks."""
    own = dict(zip(instance.skeleton.node_names, instance.numpy(), strict=True))
    return np.array([own.get(node, (np.nan, np.nan)) for node in nodes], np.float32)
