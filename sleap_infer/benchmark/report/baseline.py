"""Compare a report with an older one, and list significant regressions."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from sleap_infer.benchmark.report.ranking import FIGURES
from sleap_infer.benchmark.report.schema import Report, Row
from sleap_infer.benchmark.report.statistics import change, is_worse

COMPARED: Mapping[str, str] = {
    "end_to_end_fps": "frames/s from video to file",
    "forward_ms": "ms per frame in the networks",
    "latency_ms": "ms for a single frame (p50)",
    "host_mb": "MB on the host",
    "device_mb": "MB on the device",
}
"""Quantities that may regress. Cold start is not among them: most of it is imports of other packages."""


@frozen
class Regression:
    """One regression.

    Attributes:
        row: name of the row.
        what: description with both values.
    """

    row: str
    what: str


@frozen
class Comparison:
    """Comparison of a report with an older one.

    Attributes:
        regressions: all regressions.
        differences: why speed and memory are not comparable; empty if they are.
        n_compared: number of rows that both have.
        missing: names of the rows that only the older one has.
    """

    regressions: tuple[Regression, ...]
    differences: tuple[str, ...]
    n_compared: int
    missing: tuple[str, ...]

    @property
    def is_comparable(self) -> bool:
        """Return whether speed and memory were compared."""
        return not self.differences


def compare(new: Report, old: Report) -> Comparison:
    """Compare rows of the same backend, precision and batch size.

    The comparison of poses is always included; speed and memory only if both reports are of the same machine, model,
    video and settings.
    """
    differences = what_differs(new, old)
    before = {row.key: row for row in old.rows}
    regressions: list[Regression] = []
    for row in new.rows:
        if row.key in before:
            regressions += _compare_rows(row, before[row.key], with_figures=not differences)
    keys = {row.key for row in new.rows}
    return Comparison(
        regressions=tuple(regressions),
        differences=differences,
        n_compared=sum(key in before for key in keys),
        missing=tuple(row.name for row in old.rows if row.key not in keys),
    )


def what_differs(new: Report, old: Report) -> tuple[str, ...]:
    """Return why two reports are not comparable, one phrase per reason."""
    facts = {
        "CPU": (old.machine.cpu, new.machine.cpu),
        "number of cores": (old.machine.cores, new.machine.cores),
        "GPUs": (", ".join(old.machine.gpus), ", ".join(new.machine.gpus)),
        "operating system": (old.machine.os.partition("-")[0], new.machine.os.partition("-")[0]),
        "model (its weights)": (_short(old), _short(new)),
        "video": (_video(old), _video(new)),
        "number of frames": (old.settings.n_frames, new.settings.n_frames),
        "device": (old.settings.device, new.settings.device),
    }
    return tuple(
        f"different {name}: {before or 'none'} before, {now or 'none'} now"
        for name, (before, now) in facts.items()
        if before != now
    )


def _compare_rows(new: Row, old: Row, with_figures: bool) -> list[Regression]:
    if old.status == "agrees" and new.status != "agrees":
        return [Regression(new.name, f"its poses agreed before, and now it {new.status}: {new.reason}".rstrip(": "))]
    if not with_figures or new.status == "failed" or old.status == "failed":
        return []
    found = []
    for name, words in COMPARED.items():
        figure, more_is_better = FIGURES[name]
        before, now = figure(old), figure(new)
        if before and now and is_worse(before, now, more_is_better):
            text = f"{before.median:.4g} before, {now.median:.4g} now ({change(before, now):+.0%}) {words}"
            found.append(Regression(new.name, text))
    return found


def _short(report: Report) -> str:
    return "+".join(digest[:12] for digest in report.model.sha256)


def _video(report: Report) -> str:
    video = report.video
    return f"{video.n_frames} frames of {video.height} x {video.width} x {video.channels}, {video.n_bytes} bytes"
