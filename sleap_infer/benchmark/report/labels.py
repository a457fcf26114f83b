"""Place labels beside dots so that they cover neither each other nor a dot. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import frozen

GAP = 2.0
"""Minimum distance between boxes in pixels."""

DIRECTIONS = tuple(math.pi * turn / 8 for turn in (0, 15, 1, 14, 2, 12, 4, 8, 7, 9, 13, 3, 11, 5, 10, 6))
"""Directions in the order in which they are tried, in radians; to the right first."""


@frozen
class Box:
    """A rectangle in pixels; y points down."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box, gap: float = 0.0) -> bool:
        """Return whether two boxes are closer than `gap`."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def contains(self, other: Box) -> bool:
        """Return whether another box is inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


def place_labels(
    dots: Sequence[tuple[float, float, float]], sizes: Sequence[tuple[float, float]], area: Box
) -> list[Box | None]:
    """Return a box for the label of each dot, as close to its dot as possible.

    Boxes do not overlap each other or any dot, stay in the area, and do not cover the lines from other dots to their
    labels.

    Args:
        dots: (x, y, radius) of each dot.
        sizes: (width, height) of each label.
        area: where labels may be.

    Returns:
        The boxes; `None` for a label for which there is no space.
    """
    obstacles = [Box(x - r, y - r, x + r, y + r) for x, y, r in dots]
    placed: list[Box | None] = [None] * len(dots)
    for index in sorted(range(len(dots)), key=lambda index: (dots[index][1], dots[index][0])):
        x, y, radius = dots[index]
        for box in _candidates(x, y, radius, *sizes[index], reach=area.right - area.left):
            line = _line((x, y), box)
            free = area.contains(box) and not any(box.overlaps(other, GAP) for other in obstacles)
            if free and not any(point.overlaps(other) for other in placed if other for point in line):
                placed[index] = box
                obstacles += [box, *line]
                break
    return placed


def anchor(dot: tuple[float, float], box: Box) -> tuple[float, float]:
    """Return the point of a box that is closest to a dot."""
    x, y = dot
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


def _candidates(x: float, y: float, radius: float, width: float, height: float, reach: float) -> Iterator[Box]:
    distance = radius + 3 * GAP
    while distance < reach:
        for angle in DIRECTIONS:
            cx = x + math.cos(angle) * (distance + width / 2)
            cy = y - math.sin(angle) * (distance + height / 2)
            yield Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        distance += 6.0


def _line(dot: tuple[float, float], box: Box) -> list[Box]:
    """Return points on the line from a dot to its label, as boxes without size."""
    (x0, y0), (x1, y1) = dot, anchor(dot, box)
    steps = max(int(math.hypot(x1 - x0, y1 - y0) / 6), 1)
    points = [(x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps) for step in range(steps)]
    return [Box(x, y, x, y) for x, y in points]
