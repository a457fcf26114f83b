"""The charts of the page; each function converts rows of a report to SVG.

They are our own because a page has to be one file without scripts that follows the light or dark theme of its reader:
matplotlib and vl-convert write fixed colours, and plotly and bokeh need megabytes of JavaScript in the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from sleap_infer.benchmark.report.labels import Box, anchor, place_labels
from sleap_infer.benchmark.report.numbers import number, plain_number
from sleap_infer.benchmark.report.schema import Report, Row, Scaling
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.benchmark.report.svg import LETTER, Drawing, Scale, decades, linear, logarithmic, ticks

WIDTH, LEFT, RIGHT = 640.0, 168.0, 62.0
PITCH, BAR, AXIS = 26.0, 14.0, 34.0
MIN_PX = 0.001
"""Smaller distances are drawn as this."""

LABEL_HEIGHT = 12.0

TOLERANCES_PX = (0.01, 0.5)
"""Tolerance for fp32 and for reduced precision."""

PARTS = ("part1", "part2", "part3", "part4")
"""CSS classes of the parts of a cold start, in order."""

NEAR = 14.0
"""Maximum distance of two dots that share a label, in pixels."""

Dot: TypeAlias = tuple[Row, float, float]
"""A row with its coordinates in pixels."""

WIDE = 300
"""Ratio of the largest to the smallest x above which a curve has a logarithmic axis."""


@frozen
class Bar:
    """One bar.

    Attributes:
        row: its row of the report.
        parts: length and CSS class of each part, from left to right.
        spread: median and quartiles of the whole.
    """

    row: Row
    parts: tuple[tuple[float, str], ...]
    spread: Spread


def charts_of(report: Report) -> dict[str, Any]:
    """Return all charts of a report by name; `""` for a chart without data."""
    rows = [row for row in report.rows if row.status != "failed"]
    if not rows:
        return {"curves": [curve_chart(series) for series in report.scaling]}

    def bars_if_any(figure: Callable[[Row], Spread | None], title: str) -> str:
        return bar_chart(rows, figure, title, "MB") if any(map(figure, rows)) else ""

    return {
        "speed": bar_chart(rows, lambda row: row.end_to_end_fps, "Frames per second", "frames/s", descending=True),
        "cold_start": stacked_chart(rows, "Cold start", "s"),
        "accuracy": scatter_chart(rows, "Frames per second over distance from the reference"),
        "latency": latency_chart(rows, "Latency of single frames", "ms") if any(row.latency_ms for row in rows) else "",
        "host_memory": bars_if_any(lambda row: row.host_mb, "Memory on the host"),
        "gpu_memory": bars_if_any(lambda row: row.device_mb, "Memory on the GPU"),
        "curves": [curve_chart(series) for series in report.scaling],
    }


def bar_chart(
    rows: Sequence[Row], figure: Callable[[Row], Spread | None], title: str, unit: str, descending: bool = False
) -> str:
    """Draw bars of medians, with whiskers at the quartiles if there are several repeats.

    Args:
        rows: rows of the report; those without the quantity are left out.
        figure: returns the quantity of a row.
        title: title of the chart.
        unit: unit at its axis.
        descending: whether the largest value comes first.
    """
    bars = [Bar(row, ((spread.median, _hue(row)),), spread) for row in rows if (spread := figure(row))]
    return _bars(sorted(bars, key=lambda bar: bar.spread.median, reverse=descending), title, unit)


def stacked_chart(rows: Sequence[Row], title: str, unit: str) -> str:
    """Draw cold starts as bars with their parts, the shortest first."""
    bars = []
    for row in rows:
        if row.cold_start_s is not None:
            cold = row.cold_start_s
            parts = zip((cold.python, cold.imports, cold.opening, cold.first_pose), PARTS, strict=True)
            bars.append(Bar(row, tuple((part.median, kind) for part, kind in parts), cold.total))
    return _bars(sorted(bars, key=lambda bar: bar.spread.median), title, unit)


def latency_chart(rows: Sequence[Row], title: str, unit: str) -> str:
    """Draw p50, p90 and p99 of single frames, the lowest latency first."""
    found = [(row, row.latency_ms) for row in rows if row.latency_ms is not None]
    found.sort(key=lambda pair: pair[1].p50.median)
    drawing, scale = _horizontal(len(found), [one.p99.median for _, one in found], title, unit)
    for index, (row, one) in enumerate(found):
        middle = PITCH * (index + 0.5)
        _name(drawing, row, middle)
        at50, at90, at99 = (scale(part.median) for part in (one.p50, one.p90, one.p99))
        hint = _tooltip(row, one.p50, f"{unit} (p50)")
        drawing.rectangle(at50, middle - 2, at99 - at50, 4, f"range {_hue(row)}", hint)
        for x in (at90, at99):
            drawing.line(x, middle - 6, x, middle + 6, f"stroke {_hue(row)}")
        drawing.circle(at50, middle, 5.5, f"dot {_hue(row)}", hint)
        text = f"{number(one.p50.median)} / {number(one.p99.median)}"
        fits = WIDTH - at99 - 12 >= len(text) * LETTER
        drawing.text(at99 + 9 if fits else at50 - 11, middle + 4, text, "value", "start" if fits else "end")
    return drawing.render()


def scatter_chart(rows: Sequence[Row], title: str) -> str:
    """Draw frames per second over the 95th percentile of the distances to the reference."""
    found = [
        (row, row.agreement.p95_px, row.end_to_end_fps)
        for row in rows
        if row.agreement is not None and row.end_to_end_fps is not None
    ]
    height, top, bottom, left, right = 330.0, 26.0, 44.0, 52.0, 62.0
    drawing = Drawing(WIDTH, height, title)
    marks = ticks(max((spread.median for _, _, spread in found), default=1.0))
    powers = decades(MIN_PX, max([px for _, px, _ in found] + [1.0]))
    across = logarithmic(powers[0], powers[-1], left + 10, WIDTH - right)
    up = linear(0.0, marks[-1], height - bottom, top)
    _rows_of_grid(drawing, marks, up, left, WIDTH - right + 10)
    for power in powers:
        text = f"≤ {plain_number(power)}" if power == powers[0] else plain_number(power)
        drawing.text(across(power), height - bottom + 17, text, "tick", "middle")
    for tolerance in TOLERANCES_PX:
        drawing.line(across(tolerance), top, across(tolerance), height - bottom, "budget")
    drawing.text(WIDTH - right, height - 8, "95th percentile of the distances to the reference, px", "unit", "end")
    drawing.text(4, 11, "frames/s", "unit")
    dots = [(row, across(px), up(spread.median)) for row, px, spread in found]
    _labelled_dots(drawing, dots, Box(left, top - 8, WIDTH - 4, height - bottom - 2))
    return drawing.render()


def curve_chart(series: Scaling) -> str:
    """Draw medians over the varied quantity, with a band from low to high; a wide range of x has a logarithmic axis."""
    height, top, bottom, left, right = 260.0, 26.0, 44.0, 60.0, 24.0
    drawing = Drawing(WIDTH, height, series.name)
    points = sorted(series.points)
    xs = [point[0] for point in points] or [1.0]
    marks = ticks(max([high for *_, high in points] or [1.0]))
    up = linear(0.0, marks[-1], height - bottom, top)
    if min(xs) > 0 and max(xs) / min(xs) > WIDE:
        steps = decades(min(xs), max(xs))
        across = logarithmic(steps[0], steps[-1], left, WIDTH - right)
    else:
        steps = ticks(max(xs))
        across = linear(0.0, steps[-1], left, WIDTH - right)
    _rows_of_grid(drawing, marks, up, left, WIDTH - right)
    for step in steps:
        drawing.text(across(step), height - bottom + 17, plain_number(step), "tick", "middle")
    lower = [(across(x), up(low)) for x, low, _, _ in points]
    upper = [(across(x), up(high)) for x, _, _, high in reversed(points)]
    drawing.polygon(lower + upper, "band")
    drawing.polygon([(across(x), up(median)) for x, _, median, _ in points], "curve", closed=False)
    for x, low, median, high in points:
        text = f"{plain_number(x)}: {number(median)} {series.y_label} ({number(low)} to {number(high)})"
        drawing.circle(across(x), up(median), 4, "dot curve-dot", text)
    drawing.text(WIDTH - right, height - 8, series.x_label, "unit", "end")
    drawing.text(4, 11, series.y_label, "unit")
    return drawing.render()


def _bars(bars: Sequence[Bar], title: str, unit: str) -> str:
    longest = [max(bar.spread.high, sum(part for part, _ in bar.parts)) for bar in bars]
    drawing, scale = _horizontal(len(bars), longest, title, unit)
    for index, bar in enumerate(bars):
        middle, x, end = PITCH * (index + 0.5), LEFT, 0.0
        _name(drawing, bar.row, middle)
        for length, kind in bar.parts:
            width = scale(length) - scale(0.0)
            drawing.rectangle(x, middle - BAR / 2, width, BAR, f"bar {kind}", _tooltip(bar.row, bar.spread, unit))
            x += width
        if bar.spread.has_quartiles:
            low, end = scale(bar.spread.low), scale(bar.spread.high)
            drawing.line(low, middle, end, middle, "whisker")
            for at in (low, end):
                drawing.line(at, middle - 3.5, at, middle + 3.5, "whisker")
        drawing.text(max(x, end) + 7, middle + 4, number(bar.spread.median), "value")
    return drawing.render()


def _horizontal(n_rows: int, values: Sequence[float], title: str, unit: str) -> tuple[Drawing, Scale]:
    """Return a drawing with a horizontal axis from 0, its grid, and the scale."""
    height = PITCH * n_rows + AXIS
    drawing = Drawing(WIDTH, height, title)
    marks = ticks(max(values, default=1.0))
    scale = linear(0.0, marks[-1], LEFT, WIDTH - RIGHT)
    for mark in marks:
        drawing.line(scale(mark), 2, scale(mark), height - AXIS + 4, "grid")
        drawing.text(scale(mark), height - AXIS + 17, plain_number(mark), "tick", "middle")
    drawing.text(WIDTH - RIGHT, height - 3, unit, "unit", "end")
    return drawing, scale


def _rows_of_grid(drawing: Drawing, marks: Sequence[float], up: Scale, left: float, right: float) -> None:
    for mark in marks:
        drawing.line(left, up(mark), right, up(mark), "grid")
        drawing.text(left - 7, up(mark) + 4, plain_number(mark), "tick", "end")


def _labelled_dots(drawing: Drawing, dots: Sequence[Dot], area: Box) -> None:
    """Draw dots, the precisions of each group of dots beside it, and lines to labels that are farther away."""
    groups = group_dots(dots)
    circles = [_around(group) for group in groups]
    texts = [", ".join(dict.fromkeys(row.precision for row, _, _ in group)) for group in groups]
    boxes = place_labels(circles, [(len(text) * LETTER, LABEL_HEIGHT) for text in texts], area)
    for (x, y, radius), box in zip(circles, boxes, strict=True):
        if box is not None:
            at_x, at_y = anchor((x, y), box)
            if math.hypot(at_x - x, at_y - y) > radius + 10:
                drawing.line(x, y, at_x, at_y, "leader")
    for row, x, y in sorted(dots, key=lambda dot: -_radius(dot[0])):
        drawing.circle(x, y, _radius(row), f"dot {_hue(row)}", _label(row))
    for group, text, box in zip(groups, texts, boxes, strict=True):
        if box is not None:
            drawing.text(box.left, box.bottom - 2, text, _name_class(group[0][0]))


def group_dots(dots: Sequence[Dot]) -> list[list[Dot]]:
    """Return dots in groups that share a label: those of one backend and status that are close to each other."""
    groups: list[list[Dot]] = []
    for dot in dots:
        row, x, y = dot
        near = [
            group
            for group in groups
            if _hue(group[0][0]) == _hue(row) and any(math.hypot(x - a, y - b) < NEAR for _, a, b in group)
        ]
        groups = [group for group in groups if group not in near] + [[*(one for group in near for one in group), dot]]
    return groups


def _around(group: Sequence[Dot]) -> tuple[float, float, float]:
    """Return centre and radius of a circle around a group of dots."""
    x = sum(x for _, x, _ in group) / len(group)
    y = sum(y for _, _, y in group) / len(group)
    return x, y, max(math.hypot(a - x, b - y) + _radius(row) for row, a, b in group)


def _radius(row: Row) -> float:
    return 4.5 if row.batch_size == 1 else 6.5


def _hue(row: Row) -> str:
    """Return the CSS classes of a row: its backend, and whether it is filled or only outlined."""
    return f"{row.backend} {'off' if row.status == 'differs' else 'on'}"


def _label(row: Row) -> str:
    return f"{row.backend} {row.precision} b{row.batch_size}"


def _name_class(row: Row) -> str:
    return "name" if row.status == "agrees" else "name dim"


def _name(drawing: Drawing, row: Row, middle: float) -> None:
    drawing.text(LEFT - 10, middle + 4, _label(row), _name_class(row), "end")


def _tooltip(row: Row, spread: Spread, unit: str) -> str:
    quartiles = f" ({number(spread.low)} to {number(spread.high)})" if spread.has_quartiles else ""
    return f"{_label(row)}: {number(spread.median)} {unit}{quartiles}"
