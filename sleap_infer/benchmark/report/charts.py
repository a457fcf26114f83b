"""The charts of the page; each function converts rows of a report to SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from sleap_infer.benchmark.report.schema import Row, Scaling
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.benchmark.report.svg import (
    LETTER,
    Drawing,
    Scale,
    decades,
    linear,
    logarithmic,
    number,
    plain_number,
    spread_out,
    ticks,
)

WIDTH, LEFT, RIGHT = 640.0, 168.0, 62.0
PITCH, BAR, AXIS = 26.0, 14.0, 34.0
MIN_PX = 0.001
"""Distances below are drawn as this."""

NEAR = 44.0
"""Width of a dot and its label, in pixels."""

BUDGET_PX = (0.01, 0.5)
"""Limits of 32-bit floats and of lower precision."""


@frozen
class Bar:
    """One bar.

    Attributes:
        row: that it is of.
        parts: lengths that stand one behind the other, and the class of each.
        spread: of the whole.
    """

    row: Row
    parts: tuple[tuple[float, str], ...]
    spread: Spread


def hue(row: Row) -> str:
    """Classes of a row's colour: its backend's; hollow if its poses differ."""
    return f"{row.backend} {'off' if row.status == 'differs' else 'on'}"


def label(row: Row) -> str:
    """How a row is called in a chart."""
    return f"{row.backend} {row.precision} b{row.batch_size}"


def bar_chart(
    rows: Sequence[Row], figure: Callable[[Row], Spread | None], title: str, unit: str, falling: bool = False
) -> str:
    """Bars of medians with whiskers from the first to the third quartile.

    Args:
        rows: those without the figure are left out.
        figure: what is drawn.
        title: of the chart.
        unit: at its axis.
        falling: whether the largest comes first, else the smallest does.
    """
    bars = [Bar(row, ((spread.median, hue(row)),), spread) for row in rows if (spread := figure(row))]
    bars.sort(key=lambda bar: bar.spread.median, reverse=falling)
    return _bars(bars, title, unit)


def stacked_chart(rows: Sequence[Row], title: str, unit: str) -> str:
    """Bars of cold starts, in their parts, the quickest first."""
    bars = []
    for row in rows:
        if row.cold_start_s is not None:
            cold = row.cold_start_s
            parts = zip((cold.python, cold.imports, cold.opening, cold.first_pose), PARTS, strict=True)
            bars.append(Bar(row, tuple((part.median, kind) for part, kind in parts), cold.total))
    bars.sort(key=lambda bar: bar.spread.median)
    return _bars(bars, title, unit)


PARTS = ("part1", "part2", "part3", "part4")
"""Classes of the parts of a cold start, in order."""


def _bars(bars: Sequence[Bar], title: str, unit: str) -> str:
    height = PITCH * len(bars) + AXIS
    drawing = Drawing(WIDTH, height, title)
    marks = ticks(max((max(bar.spread.high, sum(part for part, _ in bar.parts)) for bar in bars), default=1.0))
    scale = linear(0.0, marks[-1], LEFT, WIDTH - RIGHT)
    _axis(drawing, scale, marks, height, unit)
    for index, bar in enumerate(bars):
        middle = PITCH * (index + 0.5)
        _name(drawing, bar.row, middle)
        at = LEFT
        for length, kind in bar.parts:
            wide = scale(length) - scale(0.0)
            drawing.rectangle(at, middle - BAR / 2, wide, BAR, f"bar {kind}", _words(bar.row, bar.spread, unit))
            at += wide
        _whisker(drawing, scale, bar.spread, middle)
        drawing.text(max(at, scale(bar.spread.high)) + 7, middle + 4, number(bar.spread.median), "value")
    return drawing.render()


def _axis(drawing: Drawing, scale: Scale, marks: Sequence[float], height: float, unit: str) -> None:
    """Lines down from ticks, their numbers, and the unit below."""
    for mark in marks:
        drawing.line(scale(mark), 2, scale(mark), height - AXIS + 4, "grid")
        drawing.text(scale(mark), height - AXIS + 17, plain_number(mark), "tick", "middle")
    drawing.text(WIDTH - RIGHT, height - 3, unit, "unit", "end")


def _name(drawing: Drawing, row: Row, middle: float) -> None:
    drawing.text(LEFT - 10, middle + 4, label(row), "name" if row.status == "agrees" else "name dim", "end")


def _whisker(drawing: Drawing, scale: Scale, spread: Spread, middle: float) -> None:
    low, high = scale(spread.low), scale(spread.high)
    drawing.line(low, middle, high, middle, "whisker")
    for place in (low, high):
        drawing.line(place, middle - 3.5, place, middle + 3.5, "whisker")


def _words(row: Row, spread: Spread, unit: str) -> str:
    return f"{label(row)}: {number(spread.median)} {unit} ({number(spread.low)} to {number(spread.high)})"


def latency_chart(rows: Sequence[Row], title: str, unit: str) -> str:
    """From p50 to p99 of single frames, with p90 between, the quickest first."""
    found = [(row, row.latency_ms) for row in rows if row.latency_ms is not None]
    found.sort(key=lambda pair: pair[1].p50.median)
    height = PITCH * len(found) + AXIS
    drawing = Drawing(WIDTH, height, title)
    marks = ticks(max((one.p99.median for _, one in found), default=1.0))
    scale = linear(0.0, marks[-1], LEFT, WIDTH - RIGHT)
    _axis(drawing, scale, marks, height, unit)
    for index, (row, one) in enumerate(found):
        middle = PITCH * (index + 0.5)
        _name(drawing, row, middle)
        at50, at90, at99 = (scale(part.median) for part in (one.p50, one.p90, one.p99))
        drawing.rectangle(at50, middle - 2, at99 - at50, 4, f"range {hue(row)}", _words(row, one.p50, f"{unit} (p50)"))
        drawing.line(at90, middle - 6, at90, middle + 6, f"stroke {hue(row)}")
        drawing.line(at99, middle - 6, at99, middle + 6, f"stroke {hue(row)}")
        drawing.circle(at50, middle, 5.5, f"dot {hue(row)}", _words(row, one.p50, f"{unit} (p50)"))
        words = f"{number(one.p50.median)} / {number(one.p99.median)}"
        room = WIDTH - at99 - 12 >= len(words) * LETTER
        drawing.text(at99 + 9 if room else at50 - 11, middle + 4, words, "value", "start" if room else "end")
    return drawing.render()


def scatter_chart(rows: Sequence[Row], title: str) -> str:
    """Frames per second over the distance that 95 % of the points keep."""
    found = [
        (row, row.agreement.p95_px, row.end_to_end_fps)
        for row in rows
        if row.agreement is not None and row.end_to_end_fps is not None
    ]
    height, top, bottom, left, right = 330.0, 26.0, 44.0, 52.0, 62.0
    drawing = Drawing(WIDTH, height, title)
    marks = ticks(max((spread.high for _, _, spread in found), default=1.0))
    powers = decades(MIN_PX, max([px for _, px, _ in found] + [1.0]))
    across = logarithmic(powers[0], powers[-1], left + 10, WIDTH - right)
    up = linear(0.0, marks[-1], height - bottom, top)
    for mark in marks:
        drawing.line(left, up(mark), WIDTH - right + 10, up(mark), "grid")
        drawing.text(left - 7, up(mark) + 4, plain_number(mark), "tick", "end")
    for power in powers:
        words = f"≤ {plain_number(power)}" if power == powers[0] else plain_number(power)
        drawing.text(across(power), height - bottom + 17, words, "tick", "middle")
    for budget in BUDGET_PX:
        drawing.line(across(budget), top, across(budget), height - bottom, "budget")
    drawing.text(WIDTH - right, height - 8, "px that 95 % of the points keep to the reference", "unit", "end")
    drawing.text(4, 11, "frames/s", "unit")
    _labelled_dots(drawing, [(row, across(px), up(spread.median)) for row, px, spread in found], top, height - bottom)
    return drawing.render()


def _labelled_dots(drawing: Drawing, dots: Sequence[tuple[Row, float, float]], highest: float, lowest: float) -> None:
    """Dots with their precisions beside them, which make way for each other among neighbours."""
    for group in neighbours(dots):
        places = spread_out([y for _, _, y in group], 13.0, highest + 4, lowest - 4)
        edge = max(x for _, x, _ in group) + 13
        for (row, x, y), place in zip(group, places, strict=True):
            drawing.line(x, y, edge - 2, place, "leader")
            drawing.text(edge, place + 4, row.precision, "name" if row.status == "agrees" else "name dim")
        for row, x, y in group:
            drawing.circle(x, y, 4.5 if row.batch_size == 1 else 6.5, f"dot {hue(row)}", label(row))


def neighbours(dots: Sequence[tuple[Row, float, float]]) -> list[list[tuple[Row, float, float]]]:
    """Dots in groups, from left to right, whose labels would be in each other's way."""
    groups: list[list[tuple[Row, float, float]]] = []
    for dot in sorted(dots, key=lambda dot: dot[1]):
        if groups and dot[1] - groups[-1][0][1] < NEAR:
            groups[-1].append(dot)
        else:
            groups.append([dot])
    return groups


WIDE = 300
"""Over a wider range of x (largest over smallest), curves are drawn by powers of ten; else a straight line is one."""


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
    for mark in marks:
        drawing.line(left, up(mark), WIDTH - right, up(mark), "grid")
        drawing.text(left - 7, up(mark) + 4, plain_number(mark), "tick", "end")
    for step in steps:
        drawing.text(across(step), height - bottom + 17, plain_number(step), "tick", "middle")
    there = [(across(x), up(low)) for x, low, _, _ in points]
    back = [(across(x), up(high)) for x, _, _, high in reversed(points)]
    drawing.polygon(there + back, "band")
    drawing.polygon([(across(x), up(median)) for x, _, median, _ in points], "curve", closed=False)
    for x, low, median, high in points:
        words = f"{plain_number(x)}: {number(median)} {series.y_label} ({number(low)} to {number(high)})"
        drawing.circle(across(x), up(median), 4, "dot curve-dot", words)
    drawing.text(WIDTH - right, height - 8, series.x_label, "unit", "end")
    drawing.text(4, 11, series.y_label, "unit")
    return drawing.render()
