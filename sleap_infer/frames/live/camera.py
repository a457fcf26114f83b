"""A camera of this computer, as a live source: read by OpenCV, which knows cameras by index on every system."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from sleap_infer.errors import EmptySourceError, FrameReadError, SourceNotFoundError
from sleap_infer.frames.live.feed import Clock, DeviceFeed, LiveFrame
from sleap_infer.frames.pixels.colour import is_gray, with_channels
from sleap_infer.frames.reader import Image

if TYPE_CHECKING:
    pass

DEVICES = Path("/dev")


class CameraFeed(DeviceFeed):
    """Gives the frames of a camera as they come; see `frames.live.feed.Feed`. One channel, until a frame has colour.

    Args:
        camera: its index, counted from 0 by the system, or its device file.
        clock: that the frames' times are of.

    Attributes:
        must_be_read: True: frames come also while nobody asks for them.

    Raises:
        SourceNotFoundError: there is no such camera, or it is not to be used by us.
        EmptySourceError: it gives no frame.
    """

    def __init__(self, camera: int | str, clock: Clock = perf_counter) -> None:
        self.name = f"camera {camera}"
        self._clock = clock
        self._index = -1
        self._capture = self._open(camera)
        waiting = self._read()
        if waiting is None:
            self.close()
            raise EmptySourceError(
                f"{self.name} is there, but gives no frame. Another program may be using it: close that, or plug the "
                "camera in again."
            )
        self._waiting: LiveFrame | None = waiting
        self.first: Image = waiting.image

    def frames(self, stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        """Frames as they come; see `Feed`."""
        while not stopped.is_set():
            frame, self._waiting = self._waiting or self._read(), None
            if frame is None:
                raise FrameReadError(
                    f"frame {self._index + 1} of {self.name} did not come: the camera was unplugged, or taken by "
                    "another program."
                )
            yield frame

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()

    def _open(self, camera: int | str) -> Any:
        import cv2

        with _silence(cv2):
            capture = cv2.VideoCapture(camera, cv2.CAP_V4L2 if isinstance(camera, str) else cv2.CAP_ANY)
        if not capture.isOpened():
            capture.release()
            there = ", ".join(map(str, sorted(DEVICES.glob("video*")))) or "none"
            raise SourceNotFoundError(
                f"There is no {self.name}, or it cannot be opened (cameras are counted from 0; {DEVICES}/video*: "
                f"{there}). Close other programs that use it; on macOS and Windows, allow the terminal to use cameras; "
                "for a video file whose name is a number, write ./0."
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _read(self) -> LiveFrame | None:
        if not self._capture.grab():
            return None
        now = self._clock()
        is_there, bgr = self._capture.retrieve()
        if not is_there:
            return None
        self._index += 1
        self._grayscale = self._grayscale and (bgr.ndim == 2 or is_gray(bgr))
        if bgr.ndim == 2:
            bgr = bgr[..., None]
        image = bgr[..., :1] if self._grayscale else with_channels(bgr[..., 2::-1], grayscale=False)
        return LiveFrame(np.ascontiguousarray(image), self._index, now)


@contextmanager
def _silence(cv2: Any) -> Iterator[None]:
    """Without OpenCV's own words about cameras that are not there."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)
