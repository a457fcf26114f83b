"""A synthetic arena with flies: where they are, where their parts are, and what a camera sees.

Points are (x, y) in pixels, pixel centres at integers. A scene is drawn at `OVERSAMPLING` times its size and averaged
down, so that sub-pixel positions show in the picture.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NODES = ("head", "thorax", "abdomen", "wing_left", "wing_right")
EDGES = (("thorax", "head"), ("thorax", "abdomen"), ("thorax", "wing_left"), ("thorax", "wing_right"))
SYMMETRIES = (("wing_left", "wing_right"),)
CLASSES = ("female", "male")
ARENA = (192, 192)
"""Height and width that models are trained at."""
OVERSAMPLING = 4
MIN_DISTANCE = 42.0
"""Thoraxes of two flies are never closer than this many pixels (times the scene's zoom)."""


@attrs.define
class Fly:
    """One animal: `position` of its thorax, `heading` in radians, opening of its wings, and class."""

    position: Points
    heading: float
    wings: float = 0.35
    bend: float = 0.0
    label: int = 0

    @property
    def size(self) -> float:
        """Females are larger."""
        return 1.0 if self.label == 0 else 0.85

    def points(self, zoom: float = 1.0) -> Points:
        """Nodes in the order of `NODES`, (5, 2)."""
        ahead = np.array([np.cos(self.heading), np.sin(self.heading)])
        tail = -np.array([np.cos(self.heading + self.bend), np.sin(self.heading + self.bend)])
        left = -np.array([np.cos(self.heading + self.wings), np.sin(self.heading + self.wings)])
        right = -np.array([np.cos(self.heading - self.wings), np.sin(self.heading - self.wings)])
        offsets = np.stack([11 * ahead, 0 * ahead, 18 * tail, 24 * left, 24 * right])
        return self.position + self.size * zoom * offsets


@attrs.define
class Arena:
    """Height and width in pixels, magnification of the animals, and whether the camera sees colour."""

    height: int = ARENA[0]
    width: int = ARENA[1]
    zoom: float = 1.0
    colour: bool = False
    n_flies: int = 2

    def place(self, rng: np.random.Generator) -> list[Fly]:
        """Flies at random, apart from each other, of alternating class."""
        first = int(rng.integers(2))
        while True:
            margin = 24 * self.zoom
            low, high = (margin, margin), (self.width - margin, self.height - margin)
            at = rng.uniform(low, high, (self.n_flies, 2))
            if min_distance(at) > MIN_DISTANCE * self.zoom:
                break
        return [
            Fly(p, rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 0.7), rng.uniform(-0.2, 0.2), (first + i) % 2)
            for i, p in enumerate(at)
        ]

    def draw(self, flies: list[Fly], rng: np.random.Generator, light: float = 1.0) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3 or 1)."""
        canvas = self._floor(light)
        for fly in flies:
            self._draw_fly(canvas, fly, light)
        image = cv2.resize(canvas, (self.width, self.height), interpolation=cv2.INTER_AREA)
        image = image + rng.normal(0, 2.0, image.shape)
        image = np.clip(np.round(image), 0, 255).astype(np.uint8)
        return image if self.colour else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]

    def _floor(self, light: float) -> NDArray[np.float32]:
        y, x = np.mgrid[0 : self.height * OVERSAMPLING, 0 : self.width * OVERSAMPLING].astype(np.float32)
        y, x = y / (self.height * OVERSAMPLING) - 0.5, x / (self.width * OVERSAMPLING) - 0.5
        shade = (205 - 70 * (x**2 + y**2)) * light
        return shade[..., None] * np.array([1.0, 0.96, 0.88], np.float32)

    def _draw_fly(self, canvas: NDArray[np.float32], fly: Fly, light: float) -> None:
        head, thorax, abdomen, left, right = fly.points(self.zoom)
        size = fly.size * self.zoom
        body, dark = np.array([120, 84, 48.0]) * light, np.array([52, 38, 30.0]) * light
        for wing in (left, right):
            self._ellipse(canvas, (thorax + wing) / 2, wing - thorax, 4.2 * size, np.array([168, 164, 158.0]) * light)
        self._ellipse(canvas, (thorax + abdomen) / 2, (abdomen - thorax) * 0.95, 6.2 * size, body)
        stripes = (0.6, 0.85) if fly.label == 0 else (0.95,)
        for share in stripes:
            width = 1.6 if fly.label == 0 else 4.0
            at = thorax + share * (abdomen - thorax)
            self._ellipse(canvas, at, _across(abdomen - thorax) * 8.0 * size, width * size, dark)
        self._ellipse(canvas, thorax, (head - thorax) * 1.25, 5.2 * size, body * 0.8)
        self._ellipse(canvas, head, _across(head - thorax) * 9.0 * size, 3.2 * size, np.array([150, 40, 30.0]) * light)
        if fly.label == 1:
            self._ellipse(canvas, thorax, (head - thorax) * 0.3, 2.2 * size, np.array([250, 250, 240.0]) * light)

    def _ellipse(
        self, canvas: NDArray[np.float32], centre: Points, axis: Points, radius: float, colour: Points
    ) -> None:
        """Fill an ellipse around `centre` whose long diameter is `axis` and whose other half-axis is `radius`."""
        bits, factor = 6, OVERSAMPLING
        at = ((centre + 0.5) * factor - 0.5) * 2**bits
        half = np.array([np.hypot(*axis) / 2, radius]) * factor * 2**bits
        angle = float(np.degrees(np.arctan2(axis[1], axis[0])))
        x, y = (int(v) for v in np.round(at))
        a, b = (int(v) for v in np.round(half))
        polygon = cv2.ellipse2Poly((0, 0), (1000, 1000), 0, 0, 360, 6).astype(np.float64) / 1000
        turn = np.array(
            [
                [np.cos(np.radians(angle)), -np.sin(np.radians(angle))],
                [np.sin(np.radians(angle)), np.cos(np.radians(angle))],
            ]
        )
        outline = np.round((polygon * [a, b]) @ turn.T + [x, y]).astype(np.int32)
        cv2.fillPoly(canvas, [outline], [float(c) for c in colour], lineType=cv2.LINE_8, shift=bits)


def _across(direction: Points) -> Points:
    unit: Points = np.array([-direction[1], direction[0]]) / max(np.hypot(*direction), 1e-9)
    return unit


def min_distance(points: Points) -> float:
    """Smallest distance between two of several points; infinite for fewer than two."""
    if len(points) < 2:
        return np.inf
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return float(apart[~np.eye(len(points), dtype=bool)].min())


def walk(arena: Arena, n_frames: int, rng: np.random.Generator) -> list[list[Fly]]:
    """Flies that wander, turn, beat their wings, and keep away from walls and from each other."""
    flies = arena.place(rng)
    turning, frames = [0.0] * len(flies), []
    for frame in range(n_frames):
        for i, fly in enumerate(flies):
            turning[i] = 0.85 * turning[i] + rng.normal(0, 0.05)
            fly.heading += turning[i]
            fly.wings = 0.42 + 0.2 * np.sin(0.35 * frame + 2 * i)
            fly.bend = 0.15 * np.sin(0.2 * frame + i)
            step = np.array([np.cos(fly.heading), np.sin(fly.heading)]) * 2.2 * arena.zoom
            there = fly.position + step
            others = [other.position for other in flies if other is not fly]
            if _is_free(there, others, arena):
                fly.position = there
            else:
                turning[i] += 0.12 if turning[i] >= 0 else -0.12
        frames.append([attrs.evolve(fly, position=fly.position.copy()) for fly in flies])
    return frames


def _is_free(at: Points, others: list[Points], arena: Arena) -> bool:
    margin = 24 * arena.zoom
    inside = margin < at[0] < arena.width - margin and margin < at[1] < arena.height - margin
    return inside and all(np.hypot(*(at - other)) > MIN_DISTANCE * arena.zoom for other in others)
