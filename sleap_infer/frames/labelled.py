"""Which frames of which videos a label file has, and the points that a person gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError

if TYPE_CHECKING:
    import sleap_io as sio

Points = NDArray[np.float32]


def load_labels(path: Path) -> sio.Labels:
    """Load a label file; of a video that is named without a folder, the file beside the labels comes first.

    Raises:
        SourceFormatError: this is not a label file, or a damaged one.
    """
    import sleap_io as sio

    try:
        labels = sio.load_slp(str(path))
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        raise SourceFormatError(
            f"{path} cannot be read as a SLEAP label file: {type(error).__name__}: {error}. It may be damaged: take a "
            "backup, or save it again in SLEAP."
        ) from error
    for video in labels.videos:
        names = video.filename if isinstance(video.filename, list) else [video.filename]
        found = [_beside(path.parent, name) for name in names]
        if found != names:
            video.replace_filename(found if isinstance(video.filename, list) else found[0])
    return labels


def _beside(folder: Path, name: str) -> str:
    """Where a video is: as it is named, but beside the labels if it has a bare name or is missing."""
    if Path(name).name != name and Path(name).exists():
        return name
    candidates = (folder / name, folder / Path(name).name)
    return next((str(path) for path in candidates if path.exists()), name)


def labelled_parts(
    labels: sio.Labels, positions: Sequence[int] | None, name: str
) -> Iterator[tuple[int, sio.Video, tuple[int, ...], dict[int, Points]]]:
    """Labelled frames by video.

    Args:
        labels: to look into.
        positions: in the list of labelled frames; `None` for all.
        name: of the labels, for errors.

    Yields:
        Index of each video that has such frames, the video, frame indices, and points (I, N, 2) by frame.

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
    for number, video in enumerate(labels.videos):
        points = {
            int(frame.frame_idx): _user_points(frame, len(labels.skeletons[0].nodes) if labels.skeletons else 0)
            for frame in frames
            if frame.video is video
        }
        if points:
            yield number, video, tuple(sorted(points)), points


def _user_points(frame: sio.LabeledFrame, n_nodes: int) -> Points:
    instances = [instance.numpy() for instance in frame.user_instances]
    return np.array(instances, np.float32).reshape(len(instances), n_nodes if not instances else -1, 2)
