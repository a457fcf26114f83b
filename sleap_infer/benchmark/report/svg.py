"""SVG shapes, scales and ticks. The style sheet of the page sets colours by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define, field

from sleap_infer.system.printable import html_text

Scale: TypeAlias = Callable[[float], float]
"""Maps a value to a coordinate in pixels."""

LETTER = 6.6
"""Upper estimate of the mean width of a character of the 12 px font, in pixels."""


@define
class Drawing:
    """An SVG picture that scales with its page.

    Attributes:
        width: width of its coordinate system.
        height: height of its coordinate system.
        title: text for screen readers.
        parts: elements so far.
    """

    width: float
    height: float
    title: str
    parts: list[str] = field(factory=list)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Add text with its baseline at `y`; `anchor` is start, middle or end."""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html_text(words)}</text>'
        )

    def rectangle(self, x: float, y: float, width: float, height: float, kind: str, words: str = "") -> None:
        """Add a bar with a tooltip."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" rx="2" '
            f'class="{kind}">{_hint(words)}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Add a straight line."""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def circle(self, x: float, y: float, radius: float, kind: str, words: str = "") -> None:
        """Add a dot with a tooltip."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{kind}">{_hint(words)}</circle>')

    def polygon(self, points: Sequence[tuple[float, float]], kind: str, closed: bool = True) -> None:
        """Add an area, or with `closed=False` a line through points."""
        name = "polygon" if closed else "polyline"
        coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<{name} points="{coordinates}" class="{kind}"/>')

    def render(self) -> str:
        """Return the SVG element."""
        size = f"0 0 {self.width:.0f} {self.height:.0f}"
        title = html_text(self.title)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" aria-label="{title}">'
        return f"{head}{''.join(self.parts)}</svg>"


def _hint(words: str) -> str:
    return f"<title>{html_text(words)}</title>" if words else ""


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Return a linear scale.

    >>> linear(0, 10, 100, 200)(5)
    150.0
    """
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Return a logarithmic scale; values below `low` are drawn at its start.

    >>> logarithmic(1, 100, 0, 200)(10)
    100.0
    """
    scale = linear(math.log10(low), math.log10(max(high, low * 10)), start, end)
    return lambda value: scale(math.log10(max(value, low)))


def ticks(highest: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from 0 to the first one that is not below `highest`.

    >>> ticks(87), ticks(0.9)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    return [round(number * step, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten that enclose an interval.

    >>> decades(0.001, 0.5)
    [0.001, 0.01, 0.1, 1.0]
    """
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(max(high, low)) - 1e-9)
    return [10.0**exponent for exponent in range(first, max(last, first + 1) + 1)]
