"""Padded batch sizes, for backends that compile for each size."""

from __future__ import annotations

from collections.abc import Iterable


def padded_size(n_images: int, known: Iterable[int], at_once: int) -> int:
    """Return the padded size of a batch, a trade-off between compilations and wasted computation.

    This is the smallest known size; else a power of two, up to the size of a full batch.

    >>> padded_size(3, [8], 8), padded_size(3, [], 16), padded_size(5, [2, 4], 6), padded_size(20, [16], 16)
    (8, 4, 6, 20)
    """
    enough = [size for size in known if size >= n_images]
    if enough:
        return min(enough)
    return n_images if n_images >= at_once else min(1 << (n_images - 1).bit_length(), at_once)
