"""Sizes beyond which nothing is read: a file of some kilobytes can claim an image that takes all memory."""

from __future__ import annotations

MAX_PIXELS = 1 << 28
"""Pixels of a frame: 16384 x 16384."""

MAX_CHUNK = 1 << 30
"""Bytes of a chunk of an HDF5 dataset, which is decompressed as a whole."""

MAX_RATIO = 200
"""Maximum ratio of a table of labels to its file. Compression reaches about ten."""

SMALL = 256 << 20
"""Bytes of a table that are read whatever the size of its file."""


def too_large(height: int, width: int) -> str | None:
    """Return why a frame of a size is not read, or `None` if it is.

    >>> too_large(1024, 1280)
    >>> too_large(30000, 30000)
    'it has 30000 x 30000 pixels, more than the 268 million that are read. Crop it or reduce its size first'
    """
    if height * width <= MAX_PIXELS:
        return None
    return (
        f"it has {height} x {width} pixels, more than the {MAX_PIXELS // 1_000_000} million that are read. Crop it or "
        "reduce its size first"
    )
