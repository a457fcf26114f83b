"""Frames as they are asked for on the command line."""

from __future__ import annotations

from typing import Literal

from sleap_infer.errors import FrameSelectionError


def read_frames(text: str | None) -> list[int] | Literal["all"] | None:
    """Read a selection: single frames and ranges with both ends, joined by commas; or `all`.

    Raises:
        FrameSelectionError: it is something else.

    >>> read_frames("0-3,10")
    [0, 1, 2, 3, 10]
    """
    if text is None:
        return None
    if text.strip() == "all":
        return "all"
    frames: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise FrameSelectionError(f"--frames {text!r}: {part!r} is not understood. Expected e.g. 0-100,150 or all.")
        frames.extend(range(int(first), int(last or first) + 1))
    return frames
