"""What a network should draw for known poses: the targets of each kind of model, on the grid of its head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scene import EDGES, NODES, Points

Maps = NDArray[np.float32]

CONFMAP_SIGMA = 2.5
PAF_SIGMA = 6.0
CLASS_SIGMA = 6.0
"""Standard deviations in pixels of the network's input."""


def grid(size: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """Positions (x, y) of a map's cells in input pixels, (height, width, 2)."""
    y, x = np.mgrid[0 : size[0] : stride, 0 : size[1] : stride].astype(np.float32)
    return np.stack([x, y], axis=-1)


def confmaps(points: Points, size: tuple[int, int], stride: int, sigma: float = CONFMAP_SIGMA) -> Maps:
    """One bump per point, the highest of all instances: (instances, nodes, 2) -> (nodes, height, width)."""
    cells = grid(size, stride)
    squared = ((cells[None, None] - points[:, :, None, None, :]) ** 2).sum(-1)
    return np.exp(-squared / (2 * sigma**2)).max(axis=0).astype(np.float32)


def pafs(points: Points, size: tuple[int, int], stride: int) -> Maps:
    """Draw unit vectors along each edge, fading with distance: (instances, nodes, 2) -> (2 * edges, height, width)."""
    cells = grid(size, stride)
    out = np.zeros((len(EDGES), 2, *cells.shape[:2]), np.float32)
    for number, (source, destination) in enumerate(EDGES):
        for animal in points:
            start, end = animal[NODES.index(source)], animal[NODES.index(destination)]
            along = end - start
            length = max(float(np.hypot(*along)), 1e-6)
            share = np.clip(((cells - start) @ along) / length**2, 0, 1)
            squared = ((cells - (start + share[..., None] * along)) ** 2).sum(-1)
            out[number] += np.exp(-squared / (2 * PAF_SIGMA**2)) * (along / length)[:, None, None]
    return out.reshape(2 * len(EDGES), *cells.shape[:2])


def class_maps(points: Points, labels: list[int], n_classes: int, size: tuple[int, int], stride: int) -> Maps:
    """Where each class is: the nearest animal's class gets 1, the others 0; (classes, height, width)."""
    out = np.zeros((n_classes, -(-size[0] // stride), -(-size[1] // stride)), np.float32)
    for animal, label in zip(points, labels, strict=True):
        bumps = confmaps(animal[None], size, stride, CLASS_SIGMA).max(axis=0)
        out[label] = np.maximum(out[label], bumps > 0.1)
    return out
