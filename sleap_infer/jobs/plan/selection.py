"""Read a selection of frames from text."""

from __future__ import annotations

from sleap_infer.errors import FrameSelectionError
from sleap_infer.frames.indices import Indices
from sleap_infer.jobs.plan.tasks import Frames

LONGEST_INDEX = 15
"""Maximum number of digits of the index of a frame."""


def read_frames(text: str | None) -> Frames:
    """Read a selection: single frames, ranges with both ends or to the end (`100-`), joined by commas; or `all`.

    Raises:
        FrameSelectionError: it is something else.

    >>> read_frames("0-3,10"), read_frames("100-")
    (Indices(0-3,10), Indices(100-))
    """
    if text is None:
        return None
    if text.strip() == "all":
        return "all"
    ranges: list[tuple[int, int]] = []
    open_from: int | None = None
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        is_number = _is_index(first) and (not last or _is_index(last))
        if not is_number or (last and int(last) < int(first)):
            raise FrameSelectionError(
                f"frames {text[:80]!r}: {part[:80]!r} is not understood. Expected e.g. 0-100,150, 100- (to the end) "
                "or all."
            )
        if dash and not last:
            open_from = int(first) if open_from is None else min(open_from, int(first))
        else:
            ranges.append((int(first), int(last or first) + 1))
    return Indices.joined(ranges, open_from)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_INDEX
