"""Poses of many frames in a few arrays, without a Python object for each frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.choices import FrameStatus
from sleap_infer.poses.outputs import NOT_FINITE, Outputs

STATUSES: tuple[FrameStatus, ...] = ("ok", "empty", "decode_failed", "predict_failed", "skipped")
"""Results of a frame. A status is stored as its index in this list; new ones go to the end."""

FAILED: tuple[FrameStatus, ...] = ("decode_failed", "predict_failed", "skipped")
"""Statuses of frames without a prediction."""


@frozen(eq=False)
class Columns:
    """Poses of F frames of one video: R instances in total, of N points each.

    Attributes:
        frame_inds: (F,) int64 indices in the video, ascending.
        statuses: (F,) uint8 indices in `STATUSES`.
        counts: (F,) int32 number of instances of each frame; their rows are in the order of the frames.
        capped: (F,) uint8 1 where peaks may be missing, because the capacity of the graph was reached.
        points: (R, N, 2) float32 as (x, y) in pixels of the frame; NaN where missing.
        point_scores: (R, N) float32 confidence of each point.
        scores: (R,) float32 of each instance.
        classes: (R,) int16 index of the class; -1 for none.
        class_scores: (R,) float32 probability of the class; NaN for none.
        notes: reasons of failed frames, by their position.
        times_s: (F,) float64 time stamp of each frame in seconds; NaN where the source has none. Stored in a table of
            their own, which journals of earlier versions do not have.
    """

    frame_inds: NDArray[np.int64]
    statuses: NDArray[np.uint8]
    counts: NDArray[np.int32]
    capped: NDArray[np.uint8]
    points: NDArray[np.float32]
    point_scores: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int16]
    class_scores: NDArray[np.float32]
    notes: dict[int, str] = attrs.field(factory=dict)
    times_s: NDArray[np.float64] = attrs.field()

    @times_s.default
    def _without_times(self) -> NDArray[np.float64]:
        return np.full(len(self.frame_inds), np.nan)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frame_inds)

    @property
    def n_instances(self) -> int:
        """Number of rows."""
        return len(self.points)

    def tail(self, skip: int) -> Columns:
        """Return the columns without the first `skip` frames."""
        if skip == 0:
            return self
        rows = int(self.counts[:skip].sum())
        arrays = {name: array[skip if name in OF_FRAMES else rows :] for name, array in self.arrays().items()}
        notes = {position - skip: note for position, note in self.notes.items() if position >= skip}
        return Columns(**arrays, notes=notes, times_s=self.times_s[skip:])

    def count(self) -> dict[FrameStatus, int]:
        """Return the number of frames with each status."""
        numbers = np.bincount(self.statuses, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, numbers, strict=True))

    def count_untracked(self) -> int:
        """Return the number of frames with several instances that have no class, and so no track."""
        owners = np.repeat(np.arange(len(self)), self.counts)
        return int(np.count_nonzero(np.bincount(owners[self.classes < 0]) > 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, without the time stamps."""
        return {name: getattr(self, name) for name in DTYPES}


DTYPES = {
    "frame_inds": "<i8",
    "statuses": "u1",
    "counts": "<i4",
    "capped": "u1",
    "points": "<f4",
    "point_scores": "<f4",
    "scores": "<f4",
    "classes": "<i2",
    "class_scores": "<f4",
}
"""Types of the arrays, also where they are stored."""

OF_FRAMES = ("frame_inds", "statuses", "counts", "capped")
"""Arrays with one value per frame; the others have one row per instance."""


def to_columns(everything: Sequence[Outputs], n_nodes: int, is_centroid: bool = False) -> Columns:
    """Return the outputs of frames of one video, in order, as arrays. Instances without points are left out.

    Args:
        everything: one per frame.
        n_nodes: number of points N of an instance.
        is_centroid: whether the centroid is the only point of an instance.
    """
    found = [_points_and_values(outputs, n_nodes, is_centroid) for outputs in everything]
    points = _joined((part[0] for part in found), (0, n_nodes, 2))
    has_points = ~np.isnan(points).all(axis=(1, 2))
    owners = np.repeat(np.arange(len(everything)), [len(part[0]) for part in found])[has_points]
    counts = np.bincount(owners, minlength=len(everything))
    rows = [_facts(outputs, len(part[0])) for outputs, part in zip(everything, found, strict=True)]
    scores, classes, class_scores = (_joined((row[k] for row in rows), (0,))[has_points] for k in range(3))
    arrays = {
        "frame_inds": np.array([outputs.frame_idx or 0 for outputs in everything]),
        "statuses": np.array(
            [STATUSES.index(_status(outputs, n)) for outputs, n in zip(everything, counts, strict=True)]
        ),
        "counts": counts,
        "capped": np.array([outputs.capped for outputs in everything]),
        "points": points[has_points],
        "point_scores": _joined((part[1] for part in found), (0, n_nodes))[has_points],
        "scores": scores,
        "classes": classes,
        "class_scores": np.where(np.isfinite(class_scores), class_scores, np.nan),
    }
    notes = {position: _note(outputs) for position, outputs in enumerate(everything) if outputs.failure is not None}
    times_s = np.array([np.nan if outputs.time_s is None else outputs.time_s for outputs in everything], np.float64)
    typed = {name: array.astype(DTYPES[name]) for name, array in arrays.items()}
    return Columns(**typed, notes=notes, times_s=times_s)


def failed(frame_inds: Sequence[int], status: FrameStatus, note: str, n_nodes: int) -> Columns:
    """Return columns of frames without poses, with the reason."""
    empty = to_columns([Outputs(frame_idx=index, failure=note) for index in frame_inds], n_nodes)
    return attrs.evolve(empty, statuses=np.full(len(empty), STATUSES.index(status), np.uint8))


def join(parts: Sequence[Columns]) -> Columns:
    """Return the frames of several columns, one after the other."""
    if len(parts) == 1:
        return parts[0]
    notes: dict[int, str] = {}
    start = 0
    for part in parts:
        notes |= {start + position: note for position, note in part.notes.items()}
        start += len(part)
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*DTYPES, "times_s")}
    return Columns(**joined, notes=notes)


def problem_of(columns: Columns, n_frames: int) -> str | None:
    """Return the first contradiction in columns of `n_frames` frames; `None` if there is none."""
    arrays = columns.arrays()
    uneven = [name for name in OF_FRAMES if len(arrays[name]) != n_frames]
    n_rows = len(columns.points)
    uneven += [name for name, array in arrays.items() if name not in OF_FRAMES and len(array) != n_rows]
    if len(columns.times_s) != n_frames:
        return f"{n_frames} frames have {len(columns.times_s)} time stamps"
    if uneven:
        return f"{uneven[0]} has {len(arrays[uneven[0]])} values"
    if n_frames and (columns.counts.min() < 0 or columns.statuses.max() >= len(STATUSES)):
        return "a count or a status is not a possible one"
    if int(columns.counts.sum(dtype=np.int64)) != n_rows:
        return f"{n_rows} instances, and {columns.counts.sum()} by their counts"
    return None


def _status(outputs: Outputs, n_instances: int) -> FrameStatus:
    if outputs.failure is not None:
        return "predict_failed" if outputs.failure == NOT_FINITE else "decode_failed"
    return "ok" if n_instances else "empty"


def _note(outputs: Outputs) -> str:
    return f"frame {outputs.frame_idx}: {NOT_FINITE}" if outputs.failure == NOT_FINITE else str(outputs.failure)


def _points_and_values(outputs: Outputs, n_nodes: int, is_centroid: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    points, values = outputs.pred_keypoints, outputs.pred_peak_values
    if is_centroid and outputs.pred_centroids is not None:
        points, values = outputs.pred_centroids[:, None], np.asarray(outputs.pred_centroid_values)[:, None]
    if points is None:
        return np.zeros((0, n_nodes, 2), np.float32), np.zeros((0, n_nodes), np.float32)
    return np.asarray(points), np.asarray(values)


def _facts(outputs: Outputs, n_rows: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    fields = (outputs.instance_scores, outputs.pred_classes, outputs.instance_tracking_scores)
    score, label, certainty = (
        np.full(n_rows, default) if values is None else np.asarray(values)
        for values, default in zip(fields, (np.nan, -1, np.nan), strict=True)
    )
    return score, label, certainty


def _joined(parts: Iterable[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return all rows; `shape` is that of no rows."""
    return np.concatenate([np.zeros(shape, np.float32), *parts])
