"""Frames for the export check: real ones if there are any, else generated images with structure, never only noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.config.kinds import KINDS
from sleap_infer.config.options import SourceSpec
from sleap_infer.errors import SleapInferError
from sleap_infer.frames import open_source
from sleap_infer.frames.opening import FrameSelection
from sleap_infer.model.settings import PipelineSettings

FALLBACK_SIDE = 192
LABELS = ("labels_val*.slp", "labels_gt.val*.slp", "labels_train*.slp", "labels_gt.train*.slp")
"""Files that training writes beside a model, held-out frames first."""


@frozen
class CheckFrames:
    """Frames for the export check.

    Attributes:
        name: of their origin.
        source: as in `Predictor.predict`.
        selection: as in `Predictor.predict`.
        are_real: whether poses on them are meaningful.
        as_crops: whether they are crops, for a model that runs on crops.
    """

    name: str
    source: Any
    selection: FrameSelection = None
    are_real: bool = True
    as_crops: bool = False


def choose_frames(
    given: Any, models: Sequence[Path], settings: PipelineSettings, channels: int, at_most: int
) -> list[CheckFrames]:
    """Return frames for the check: the given ones, else labelled ones beside the model, else generated ones.

    Args:
        given: a source as in `Predictor.predict`, or `None`.
        models: the trained models.
        settings: resolved, of the pipeline.
        channels: of the network's input.
        at_most: maximum number, spread over the source.
    """
    if given is not None:
        found = spread(given, at_most)
        return [centre_crops(found, settings.stages[0].crop_size)] if _needs_crops(found, settings) else [found]
    for model in models:
        folder = model if model.is_dir() else model.parent
        for path in (path for pattern in LABELS for path in sorted(folder.glob(pattern))):
            try:
                return [spread(path, at_most)]
            except SleapInferError:  # videos of copied models are often missing
                continue
    return generated(settings, channels, at_most)


def spread(source: Any, at_most: int) -> CheckFrames:
    """Return `at_most` frames, spread evenly over a source.

    Raises:
        SourceError: the source cannot be read.
    """
    with open_source(source) as opened:
        total = opened.n_frames
        name = opened.name
        first = next(iter(opened.batches(1)))  # raises now if it cannot be read
        assert first.frames
    if not isinstance(source, (str, Path, SourceSpec)) or (total is not None and total <= at_most):
        return CheckFrames(name, source)
    if total is None:  # of unknown length
        return CheckFrames(name, source, range(at_most))
    return CheckFrames(name, source, [round(position) for position in np.linspace(0, total - 1, at_most)])


def generated(settings: PipelineSettings, channels: int, at_most: int) -> list[CheckFrames]:
    """Generate images of two sizes, or crops if the model runs on crops."""
    side, images = settings.stages[0].crop_size, settings.stages[0].images
    height, width = (side, side) if side else (images.max_height or FALLBACK_SIDE, images.max_width or FALLBACK_SIDE)
    sizes = [(height, width), (max(height * 2 // 3, 16), max(width * 2 // 3, 16))]
    n_images = max(at_most // 8, 1)
    return [
        CheckFrames(
            f"generated images of {size[0]} x {size[1]}",
            structured_images(n_images, size, channels, seed),
            are_real=False,
            as_crops=side is not None,
        )
        for seed, size in enumerate(sizes[: 1 if side else 2])
    ]


def centre_crops(frames: CheckFrames, side: int | None) -> CheckFrames:
    """Cut the centre of each frame, for a model that runs on crops and frames without labels."""
    assert side is not None
    with open_source(frames.source, frames.selection) as source:
        images = [image for batch in source.batches(1) for image in batch.images]
    crops = []
    for image in images:
        height, width = image.shape[1:]
        top, left = max((height - side) // 2, 0), max((width - side) // 2, 0)
        crops.append(image[:, top : top + side, left : left + side].transpose(1, 2, 0))
    return CheckFrames(f"centres of {frames.name}", crops, None, are_real=False, as_crops=True)


def structured_images(n_images: int, size: tuple[int, int], channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """Generate images with blobs and lines on an uneven background.

    Args:
        n_images: number of images.
        size: (height, width).
        channels: 1 or 3.
        seed: of the random numbers.

    Returns:
        (B, H, W, C).
    """
    rng = np.random.default_rng(seed)
    height, width = size
    images = np.empty((n_images, height, width, channels), np.uint8)
    for image in images:
        coarse = rng.uniform(80, 200, (4, 4, channels)).astype(np.float32)
        canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
        canvas = np.ascontiguousarray(canvas)
        for _ in range(6):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(3, max(4, width // 8))), int(rng.integers(3, max(4, height // 12))))
            colour = tuple(float(value) for value in rng.uniform(0, 255, channels))
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
            cv2.line(canvas, centre, (int(rng.integers(width)), int(rng.integers(height))), colour, 1, cv2.LINE_AA)
        noisy = cv2.GaussianBlur(canvas, (0, 0), 1.0).reshape(image.shape) + rng.normal(0, 2, image.shape)
        image[:] = np.clip(noisy, 0, 255).astype(np.uint8)
    return images


def _needs_crops(frames: CheckFrames, settings: PipelineSettings) -> bool:
    if not KINDS[settings.kind].on_crops or len(settings.stages) > 1:
        return False
    with open_source(frames.source, frames.selection) as source:
        return source.node_names is None
