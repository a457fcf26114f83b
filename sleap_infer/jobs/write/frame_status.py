"""The frame status table: one row per requested frame."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from sleap_infer.choices import FrameStatus
from sleap_infer.frames import Source
from sleap_infer.frames.reader import times_s
from sleap_infer.jobs.store.columns import FAILED, STATUSES, Columns
from sleap_infer.jobs.write.tables import as_cell, video_names

HEADER = ("video", "frame", "time_s", "status", "instances", "reason")


def write_frame_status(path: Path, chunks: Iterable[tuple[int, Columns]], source: Source) -> None:
    """Write the frame status table as CSV. Times are in seconds, empty if unknown; names are written by `as_cell`."""
    times = [times_s(part.reader) for part in source.parts]
    names = [as_cell(name) for name in video_names(source)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for part, columns in chunks:
            shown, known = times[part] or [], len(times[part] or [])
            rows = zip(columns.frame_inds.tolist(), columns.statuses.tolist(), columns.counts.tolist(), strict=True)
            writer.writerows(
                (
                    names[part],
                    frame,
                    f"{shown[frame]:.6f}" if frame < known else "",
                    STATUSES[status],
                    count,
                    as_cell(columns.notes.get(place, "")),
                )
                for place, (frame, status, count) in enumerate(rows)
            )


def summary(counts: Mapping[FrameStatus, int]) -> str:
    """Return the counts of all frames in one line.

    >>> summary({"ok": 95, "empty": 2, "decode_failed": 3})
    '100 frames = 97 done (95 ok, 2 empty) + 3 failed (3 decode_failed)'
    """

    def listed(names: tuple[FrameStatus, ...]) -> str:
        found = [f"{counts[name]} {name}" for name in names if counts.get(name)]
        return f" ({', '.join(found)})" if found else ""

    done = tuple(name for name in STATUSES if name not in FAILED)
    n_done, n_failed = (sum(counts.get(name, 0) for name in names) for names in (done, FAILED))
    return f"{n_done + n_failed} frames = {n_done} done{listed(done)} + {n_failed} failed{listed(FAILED)}"
