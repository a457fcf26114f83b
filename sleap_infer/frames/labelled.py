"""Which frames of which videos a label file has, and the points that a person gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError
from sleap_infer.frames.descriptions import relocate
from sleap_infer.frames.hdf5_file import check_labels_file

if TYPE_CHECKING:
    import sleap_io as sio

Points = NDArray[np.float32]

READ_ERRORS = (OSError, MemoryError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError)
"""What sleap-io raises for files that are damaged or of another kind."""


def load_labels(path: Path) -> sio.Labels:
    """Load a label file; of a video that is named without a folder, the file beside the labels comes first.

    Raises:
        SourceFormatError: this is not a label file, or a damaged one.
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
    for video in labels.videos:
        names = video.filename if isinstance(video.filename, list) else [video.filename]
        found = [_beside(path.parent, name) for name in names]
        relocate(video, found)
    return labels


def _embeds_frames(path: Path) -> bool:
    """Whether frames are embedded. sleap-io finds out whose they are with these videos open; others stay closed."""
    from sleap_io.io.slp import read_videos

    videos = read_videos(str(path), open_backend=False)
    return any(str(video.backend_metadata.get("dataset") or "").endswith("/video") for video in videos)


def videos_named_in(path: Path) -> list[Path]:
    """The files of the videos that a label file names, also of the videos that its embedded frames come from.

    Nothing but the label file is opened.

    Raises:
        SourceFormatError: this is not a label file, or a damaged one.
    """
    from sleap_io.io.slp import read_videos

    try:
        videos = read_videos(str(path), open_backend=False)
    except READ_ERRORS as error:
        raise SourceFormatError(f"{path} cannot be read as a SLEAP label file: {error}.") from error
    found: list[Path] = []
    for video in videos:
        while video is not None:
            names = video.filename if isinstance(video.filename, list) else [video.filename]
            found += [Path(_beside(path.parent, name)) for name in names]
            video = video.source_video
    return list(dict.fromkeys(found))


def _beside(folder: Path, name: str) -> str:
    """Where a video is: as it is named, but beside the labels if it has a bare name or is missing."""
    if Path(name).name != name and Path(name).exists():
        return name
    candidates = (folder / name, folder / Path(name).name)
    return next((str(path) for path in candidates if path.exists()), name)


def labelled_parts(
    labels: sio.Labels, positions: Sequence[int] | None, name: str, nodes: Sequence[str]
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
