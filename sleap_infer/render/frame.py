"""Pictures of poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import OutputError, OutputExistsError
from sleap_infer.system.files import check_writable

PALETTE = ((0, 158, 255), (255, 112, 67), (102, 204, 102), (204, 121, 255), (255, 214, 0), (0, 204, 204))
"""RGB colours of instances, used in turn."""

MISSING_COLOUR = (160, 160, 160)
SUBPIXEL_BITS = 4


def draw_poses(
    image: NDArray[Any],
    poses: NDArray[np.floating[Any]],
    edges: Sequence[tuple[int, int]],
    colours: NDArray[np.integer[Any]] | None = None,
    scale: float = 1.0,
    path: str | Path | None = None,
) -> NDArray[np.uint8]:
    """Draw nodes and edges of several instances on an image.

    Args:
        image: (C, H, W) or (H, W, C), uint8, or float in [0, 1].
        poses: (I, N, 2) as (x, y) in pixels of the image; NaN points are left out.
        edges: pairs of node indices to join.
        colours: (I,) index into the palette of each instance, -1 for none; by default their row.
        scale: magnification of the picture.
        path: also write the picture there.

    Returns:
        (H * scale, W * scale, 3) RGB, uint8.

    Raises:
        OutputError: the picture cannot be written to `path`.
    """
    canvas = _to_rgb(image)
    canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale != 1.0 else canvas
    radius = max(2, round(min(canvas.shape[:2]) / 130))
    for row, points in enumerate((poses + 0.5) * scale - 0.5):
        index = row if colours is None else int(colours[row])
        colour = PALETTE[index % len(PALETTE)] if index >= 0 else MISSING_COLOUR
        for start, end in edges:
            if np.isfinite(points[[start, end]]).all():
                cv2.line(
                    canvas,
                    _fixed(points[start]),
                    _fixed(points[end]),
                    colour,
                    max(1, radius // 2),
                    cv2.LINE_AA,
                    SUBPIXEL_BITS,
                )
        for point in points[np.isfinite(points).all(axis=1)]:
            cv2.circle(canvas, _fixed(point), radius << SUBPIXEL_BITS, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    if path is not None:
        write_image(path, canvas)
    return canvas


def check_image(path: Path, overwrite: bool = False) -> None:
    """Check, before the work, that an image can be written.

    Args:
        path: of the image.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: the file exists and must not be replaced.
        OutputError: the folder is missing or read-only, or the suffix is unknown.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already. Choose another name, or replace it with --overwrite.")
    if not cv2.haveImageWriter(str(path)):
        raise OutputError(f"{path} cannot be written as an image. Use an ending such as .png.")
    check_writable(path)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image; the ending of the name says in which format.

    Raises:
        OutputError: the folder is missing or read-only, or the ending is unknown.
    """
    try:
        written = cv2.imwrite(str(path), image[..., ::-1])
    except cv2.error as error:
        raise OutputError(f"{path} cannot be written as an image: {error}. Use an ending such as .png.") from error
    if not written:
        raise OutputError(f"{path} cannot be written. Check that its folder exists and is writable.")


def _to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8:
        image = np.clip(image * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)


def _fixed(point: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Convert a point to OpenCV's fixed-point coordinates, clipped so that they cannot overflow."""
    x, y = np.clip(np.round(point * (1 << SUBPIXEL_BITS)), -(1 << 24), 1 << 24).astype(int)
    return int(x), int(y)
