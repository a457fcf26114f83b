"""Columns to a `.slp` file, a piece at a time.

What a `.slp` holds besides frames is written by sleap-io, from labels without a frame; its own empty tables say what
the rows look like, and take them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from attrs import define
from numpy.typing import NDArray

from sleap_infer.jobs.store.columns import Columns
from sleap_infer.system.files import require_room

if TYPE_CHECKING:
    import sleap_io as sio

PREDICTED = 1
"""Type of an instance that was predicted, as sleap-io numbers them."""


class Bytes:
    """Approximate size of a file: of its rows, and of the rest of it."""

    frame, instance, point, rest = 40, 64, 28, 1 << 16


def write_slp(
    path: Path,
    labels: sio.Labels,
    chunks: Iterable[tuple[int, Columns]],
    size: tuple[int, int],
    tracks: Mapping[int, int],
) -> None:
    """Write labels whose frames come in chunks.

    Args:
        path: of the file; something there is replaced.
        labels: all but the frames.
        chunks: index of the video in these labels, and its frames; in the order in which they are to stand.
        size: frames and instances in all.
        tracks: index of the track of each class.
    """
    n_points = size[1] * len(labels.skeletons[0].nodes)
    require_room(path.parent, Bytes.rest + size[0] * Bytes.frame + size[1] * Bytes.instance + n_points * Bytes.point)
    labels.save(str(path), embed=False, restore_original_videos=False, verbose=False)
    ids = [_stored_id(video, number) for number, video in enumerate(labels.videos)]
    n_nodes = len(labels.skeletons[0].nodes)
    n_frames, n_instances = size
    with h5py.File(path, "r+") as file:
        tables = _Tables(
            _resized(file, "frames", n_frames),
            _resized(file, "instances", n_instances),
            _resized(file, "pred_points", n_instances * n_nodes),
        )
        for video, columns in chunks:
            tables.add(ids[video], columns, tracks)


@define
class _Tables:
    """The tables of a file that grow with its frames, and how far they are filled."""

    frames: Any
    instances: Any
    points: Any
    n_frames: int = 0
    n_instances: int = 0

    def add(self, video_id: int, columns: Columns, tracks: Mapping[int, int]) -> None:
        """Append frames of one video."""
        n_rows, n_nodes = columns.points.shape[:2]
        first_frame, first_row = self.n_frames, self.n_instances
        self.n_frames, self.n_instances = first_frame + len(columns), first_row + n_rows
        ends = first_row + np.cumsum(columns.counts, dtype=np.int64)
        frame_ids, rows = np.arange(first_frame, self.n_frames), np.arange(first_row, self.n_instances)
        self.frames[first_frame : self.n_frames] = _table(
            self.frames.dtype,
            frame_id=frame_ids,
            video=np.full(len(columns), video_id),
            frame_idx=columns.frame_inds,
            instance_id_start=ends - columns.counts,
            instance_id_end=ends,
        )
        self.instances[first_row : self.n_instances] = _table(
            self.instances.dtype,
            instance_id=rows,
            instance_type=np.full(n_rows, PREDICTED),
            frame_id=np.repeat(frame_ids, columns.counts),
            skeleton=np.zeros(n_rows),
            track=np.array([tracks.get(label, -1) for label in columns.classes.tolist()]),
            from_predicted=np.full(n_rows, -1),
            score=columns.scores,
            point_id_start=rows * n_nodes,
            point_id_end=(rows + 1) * n_nodes,
            tracking_score=columns.class_scores,
        )
        self.points[first_row * n_nodes : self.n_instances * n_nodes] = _table(
            self.points.dtype,
            x=columns.points[..., 0].ravel(),
            y=columns.points[..., 1].ravel(),
            visible=~np.isnan(columns.points[..., 0]).ravel(),
            complete=np.zeros(n_rows * n_nodes),
            score=columns.point_scores.ravel(),
        )


def _table(dtype: np.dtype[Any], **fields: NDArray[Any]) -> NDArray[Any]:
    """Rows of a table; a field that is not given is 0."""
    rows = np.zeros(len(next(iter(fields.values()))), dtype)
    for name, values in fields.items():
        rows[name] = values
    return rows


def _resized(file: Any, name: str, length: int) -> Any:
    """Replace a table of a file by one with `length` empty rows."""
    dtype = file[name].dtype
    del file[name]
    return file.create_dataset(name, (length,), dtype)


def _stored_id(video: sio.Video, number: int) -> int:
    """Return the number by which frames refer to their video: its index, or the group of its embedded frames."""
    dataset = getattr(video.backend, "dataset", None) if video.backend else video.backend_metadata.get("dataset")
    named = re.fullmatch(r"video(\d+)", str(dataset).split("/")[0]) if dataset else None
    return int(named[1]) if named else number
