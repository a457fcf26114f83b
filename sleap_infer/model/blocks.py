"""Names of a network's operations in exported graphs: `network/encoder_stack.0/node_convolution_1`."""

from __future__ import annotations

from collections.abc import Collection

NETWORK_MARK = "network/"
HEADS = "heads"
"""Stands for all head layers where blocks are listed that stay in 32 bits."""


def block_of(name: str) -> str | None:
    """Return the block that an operation belongs to, by its name; `None` outside of networks.

    >>> block_of("network/centroid.head_layers.0/node_conv2d_3")
    'centroid.head_layers.0'
    >>> block_of("node_maximum") is None
    True
    """
    if not name.startswith(NETWORK_MARK):
        return None
    return name[len(NETWORK_MARK) :].partition("/")[0]


def is_kept(block: str, kept: Collection[str]) -> bool:
    """Return whether a block stays in fp32.

    >>> is_kept("head_layers.0", ("heads",))
    True
    """
    return block in kept or (HEADS in kept and "head_layers" in block)
