"""From measurements to a verdict: ranks, winners, and one sentence."""

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
"""Figures that rows win or lose by, and whether more is better."""

MOST_NAMED = 3
"""Rivals on a level that are named in one line."""

PLAIN = ("torch", "fp32")
"""What a build has to pay against."""


def rank(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The same rows with their ranks, and the frames after which their builds pay. Rows that differ have no rank."""
    fps = {row: row.end_to_end_fps.median for row in rows if row.status == "agrees" and row.end_to_end_fps}
    order = sorted(fps, key=lambda row: -fps[row])
    places = {row.key: number for number, row in enumerate(order, start=1)}
    return tuple(attrs.evolve(row, rank=places.get(row.key), pays_after_frames=_pays_after(row, rows)) for row in rows)


def _pays_after(row: Row, rows: Sequence[Row]) -> int | None:
    plain = next((other for other in rows if other.key == (*PLAIN, row.batch_size)), None)
    if plain is None or plain.end_to_end_fps is None or row.end_to_end_fps is None or row.build_seconds is None:
        return None
    return frames_to_pay(row.build_seconds, row.end_to_end_fps.median, plain.end_to_end_fps.median)


def winners(rows: Sequence[Row]) -> dict[str, tuple[str, str, int]]:
    """The key of the best row by each figure, among those that agree."""
    found = {}
    for name, (figure, more_is_better) in FIGURES.items():
        values = [(spread.median, row.key) for row in rows if row.status == "agrees" and (spread := figure(row))]
        if values:
            best = max if more_is_better else min
            found[name] = best(values, key=lambda value: value[0])[1]
    return found


def conclude(report: Report) -> str:
    """The result in one line."""
    ranked = report.ranked
    if not ranked:
        return "Nothing that was measured gives the poses of the reference: there is no winner."
    first = ranked[0]
    assert first.end_to_end_fps is not None
    text = f"Fastest from video to file: {first.name}, {first.end_to_end_fps.median:.1f} frames/s{_gain(first, ranked)}"
    level = [row.name for row in ranked[1:] if row.end_to_end_fps and row.end_to_end_fps.overlaps(first.end_to_end_fps)]
    if level:
        more = f" and {len(level) - MOST_NAMED} more" if len(level) > MOST_NAMED else ""
        text += f"; within the spread of it: {', '.join(level[:MOST_NAMED])}{more}"
    text += _quickest(report)
    off = [row.name for row in report.rows if row.status == "differs"]
    return text + (f" Other poses than the reference: {', '.join(off)}." if off else "")


def _gain(first: Row, ranked: Sequence[Row]) -> str:
    plain = next((row for row in ranked if row.key == (*PLAIN, first.batch_size)), None)
    if plain is None or plain is first or plain.end_to_end_fps is None or first.end_to_end_fps is None:
        return ""
    ratio = first.end_to_end_fps.median / plain.end_to_end_fps.median
    pays = f", paid after {first.pays_after_frames} frames" if first.pays_after_frames else ""
    return f" ({ratio:.2f} x {plain.name}{pays})"


def _quickest(report: Report) -> str:
    key = winners(report.rows).get("latency_ms")
    row = next((row for row in report.rows if row.key == key), None)
    if row is None or row.latency_ms is None:
        return "."
    return f". Quickest for single frames: {row.name}, {row.latency_ms.p50.median:.1f} ms."
