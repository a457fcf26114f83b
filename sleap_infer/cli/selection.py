"""Frames, and options of a runtime, as they are asked for on the command line."""

from __future__ import annotations

from typing import Any, Literal

from sleap_infer.errors import FrameSelectionError, OptionError

WORDS = {"true": True, "false": False}


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


def read_pairs(texts: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` each; values that are numbers become numbers, and `true` and `false` what they say.

    Raises:
        OptionError: there is no name, or no value.

    >>> read_pairs(["intra_op_num_threads=2", "cudnn_conv_algo_search=HEURISTIC"])
    {'intra_op_num_threads': 2, 'cudnn_conv_algo_search': 'HEURISTIC'}
    >>> read_pairs(["cuda_graph=false"])
    {'cuda_graph': False}
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise OptionError(f"--backend-option {text!r}: expected NAME=VALUE.")
        pairs[name] = int(value) if value.lstrip("-").isdigit() else WORDS.get(value.lower(), value)
    return pairs
