"""Ranks of rows, the best row of each column, and a summary line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from sleap_infer.benchmark.report.schema import Report, Row
from sleap_infer.benchmark.report.statistics import Spread, frames_to_pay

Figure = Callable[[Row], Spread | None]

FIGURES: Mapping[str, tuple[Figure, bool]] = {
    "end_to_end_fps": (lambda row: row.end_to_end_fps, True),
    "forward_ms": (lambda row: row.forward_ms, False),
    "latency_ms": (lambda row: row.latency_ms.p50 if row.latency_ms else None, False),
    "cold_start_s": (lambda row: row.cold_start_s.total if row.cold_start_s else None, False),
    "host_mb": (lambda row: row.host_mb, False),
    "device_mb": (lambda row: row.device_mb, False),
}
"""Quantities in which rows are compared, and whether higher is better."""

MAX_NAMED = 3
"""Maximum number of tied configurations named in the summary."""

PLAIN = ("torch", "fp32")
"""Backend and precision with which the gain of a build is compared."""


def rank(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with ranks and with the frames after which a build pays off. Rows that differ have no rank."""
    fps = {row: row.end_to_end_fps.median for row in rows if row.status == "agrees" and row.end_to_end_fps}
    order = sorted(fps, key=lambda row: -fps[row])
    ranks = {row.key: number for number, row in enumerate(order, start=1)}
    return tuple(attrs.evolve(row, rank=ranks.get(row.key), pays_after_frames=_pays_after(row, rows)) for row in rows)


def _pays_after(row: Row, rows: Sequence[Row]) -> int | None:
    plain = next((other for other in rows if other.key == (*PLAIN, row.batch_size)), None)
    if plain is None or plain.end_to_end_fps is None or row.end_to_end_fps is None or row.build_seconds is None:
        return None
    return frames_to_pay(row.build_seconds, row.end_to_end_fps.median, plain.end_to_end_fps.median)


def winners(rows: Sequence[Row]) -> dict[str, tuple[str, str, int]]:
    """Return the key of the best row in each quantity, among those that agree."""
    found = {}
    for name, (figure, more_is_better) in FIGURES.items():
        values = [(spread.median, row.key) for row in rows if row.status == "agrees" and (spread := figure(row))]
        if values:
            best = max if more_is_better else min
            found[name] = best(values, key=lambda value: value[0])[1]
    return found


def conclude(report: Report) -> str:
    """Return the result in one line."""
    ranked = report.ranked
    if not ranked:
        return "No configuration gives the poses of the reference, so none is ranked."
    first = ranked[0]
    assert first.end_to_end_fps is not None
    text = f"Fastest from video to file: {first.name}, {first.end_to_end_fps.median:.1f} frames/s{_gain(first, ranked)}"
    level = [row.name for row in ranked[1:] if row.end_to_end_fps and row.end_to_end_fps.overlaps(first.end_to_end_fps)]
    if level:
        more = f" and {len(level) - MAX_NAMED} more" if len(level) > MAX_NAMED else ""
        text += f"; not significantly slower: {', '.join(level[:MAX_NAMED])}{more}"
    text += _lowest_latency(report)
    off = [row.name for row in report.rows if row.status == "differs"]
    return text + (f" Poses differ from the reference: {', '.join(off)}." if off else "")


def _gain(first: Row, ranked: Sequence[Row]) -> str:
    plain = next((row for row in ranked if row.key == (*PLAIN, first.batch_size)), None)
    if plain is None or plain is first or plain.end_to_end_fps is None or first.end_to_end_fps is None:
        return ""
    ratio = first.end_to_end_fps.median / plain.end_to_end_fps.median
    pays = f", pays off after {first.pays_after_frames} frames" if first.pays_after_frames else ""
    return f" ({ratio:.2f} x {plain.name}{pays})"


def _lowest_latency(report: Report) -> str:
    key = winners(report.rows).get("latency_ms")
    row = next((row for row in report.rows if row.key == key), None)
    if row is None or row.latency_ms is None:
        return "."
    return f". Lowest latency: {row.name}, {row.latency_ms.p50.median:.1f} ms per frame."
