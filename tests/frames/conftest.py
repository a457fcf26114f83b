"""Videos made on the spot: what a test of the readers needs to know exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sleap_infer.frames import FrameRef, Source

Encode: TypeAlias = Callable[..., Path]
X264 = {"g": "20", "bf": "3", "sc_threshold": "0", "preset": "veryfast", "crf": "18", "threads": "1"}


def picture(frame_idx: int, height: int = 48, width: int = 64, *, gray: bool = False) -> NDArray[np.uint8]:
    """A picture that is that of one index only: a bright square on a slope of colour."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(20, 200, width, dtype=np.uint8)
    image[..., 1] = np.linspace(20, 200, height, dtype=np.uint8)[:, None]
    top, left = 4 * (frame_idx // 12) % (height - 8), 4 * frame_idx % (width - 8)
    image[top : top + 8, left : left + 8] = 255 - frame_idx % 64
    return np.repeat(image[..., :1], 3, axis=2) if gray else image


@contextmanager
def _ordinary_priority() -> Iterator[None]:
    """SVT-AV1 makes its caller a real-time thread, behind whose waiting ones all others then starve."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _encode(path: Path, n_frames: int, codec: str = "libx264", **settings: Any) -> Path:
    """Write a video of `picture`s.

    Args:
        path: of the file; its ending says the container.
        n_frames: how many.
        codec: its encoder.
        settings: `options` of the encoder, `container` options, `pix_fmt`, `gray`, and `rotation` in degrees.
    """
    options = settings.get("options", X264 if codec == "libx264" else {"g": "20"})
    with _ordinary_priority(), av.open(str(path), "w", options=settings.get("container", {})) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = settings.get("pix_fmt", "yuv420p")
        if settings.get("rotation"):
            stream.set_display_rotation(settings["rotation"])
        for frame_idx in range(n_frames):
            frame = av.VideoFrame.from_ndarray(picture(frame_idx, gray=settings.get("gray", False)), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Writes a video of `picture`s."""
    return _encode


@pytest.fixture(scope="session")
def draw() -> Callable[..., NDArray[np.uint8]]:
    """Draws the picture of an index."""
    return picture


@pytest.fixture(scope="session")
def b_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 frames of H.264 with B-frames, a keyframe every 20."""
    return _encode(tmp_path_factory.mktemp("videos") / "b_frames.mp4", 200)


Found: TypeAlias = list[tuple[FrameRef, NDArray[Any] | None]]


@pytest.fixture(scope="session")
def read() -> Callable[..., Found]:
    """Reads a source to its end: each place, and its picture (H, W, C)."""

    def read_all(source: Source, batch_size: int = 8) -> Found:
        found: Found = []
        with source:
            for batch in source.batches(batch_size):
                assert 0 < len(batch.frames) <= batch_size
                images = iter(batch.images)
                found += [
                    (ref, next(images).transpose(1, 2, 0) if ref.failure is None else None) for ref in batch.frames
                ]
        return found

    return read_all


@pytest.fixture(scope="session")
def same() -> Callable[[Sequence[NDArray[Any]], Sequence[NDArray[Any]]], None]:
    """Requires equal pictures, and says which differ."""

    def require(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> None:
        assert len(found) == len(expected)
        assert [n for n, pair in enumerate(zip(found, expected, strict=True)) if not np.array_equal(*pair)] == []

    return require
