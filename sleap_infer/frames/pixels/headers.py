"""Sizes of images as their headers say, before anything is decoded."""

from __future__ import annotations

import struct
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from sleap_infer.frames.pixels.limits import too_large

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""Those whose header is read; WebP cannot be larger than what is read."""

MOST_PAGES = 100_000
"""Pages of a TIFF file that are looked at."""

DAMAGED = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error, MemoryError)
"""Errors of Pillow for damaged headers."""

HEADER = 1 << 20
"""Bytes at the start of a file among which its header is, but for TIFF."""

BEGINNING = 16
"""Bytes that identify formats."""


def too_large_image(data: Any) -> str | None:
    """Return why an image in a file's bytes is not decoded, or `None` if it is. Damage is left to the decoder.

    Args:
        data: bytes of the file, or an array of them.
    """
    beginning = bytes(data[:BEGINNING])
    for name, accept, open_file in _readers():
        if not accept(beginning):
            continue
        content = bytes(data if name == "TIFF" else data[:HEADER])  # a TIFF file may have its header at the end
        try:
            width, height = open_file(BytesIO(content), "").size
        except DAMAGED:
            return None
        return too_large(height, width)
    return None


def too_large_pages(path: Path) -> str | None:
    """Return why a TIFF file of several pages is not read, by the largest of them, or `None` if it is."""
    from PIL import TiffImagePlugin

    try:
        with path.open("rb") as file:
            pages = TiffImagePlugin.TiffImageFile(file)
            for number in range(MOST_PAGES):
                pages.seek(number)
                reason = too_large(pages.height, pages.width)
                if reason is not None:
                    return f"{reason} (page {number})"
    except (EOFError, *DAMAGED):  # behind the last page, or damage, which is left to the decoder
        pass
    return None


@lru_cache(maxsize=1)
def _readers() -> tuple[tuple[str, Any, Any], ...]:
    """For each format: its name, what knows its first bytes, and what reads its header."""
    from PIL import Image, TiffImagePlugin

    Image.preinit()
    assert TiffImagePlugin  # registers its format
    found = ((name, *Image.OPEN[name]) for name in FORMATS)
    return tuple((name, accept, open_file) for name, open_file, accept in found)
