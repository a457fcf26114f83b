"""Arrays that a user hands over, as batches of images.

| shape                       | read as                                    |
|-----------------------------|--------------------------------------------|
| (H, W)                      | one gray image                             |
| (H, W, C), C is 1 or 3      | one image                                  |
| (B, H, W), W is not 4       | gray images; (3, H, W) only as a video     |
| (B, H, W, C), C is 1 or 3   | images                                     |
| (B, C, H, W), C is 1 or 3   | images                                     |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import ImageError, OptionError

Images: TypeAlias = NDArray[Any]
"""(B, C, H, W), uint8, or float32 in [0, 1]."""

CHANNELS = (1, 3)
WITH_ALPHA = 4


def as_batches(value: Any) -> list[Images]:
    """Read what a user hands to a runner as batches of images.

    Args:
        value: an array or a torch tensor, a list of them, or a mapping with `"image"`. uint8 stays uint8. Floats become
            float32; if any of them is larger than 1, all are divided by 255.

    Returns:
        Batches (B, C, H, W), in order; neighbours of one size and type share a batch. Memory is shared where it can be.

    Raises:
        ImageError: this is not an image or a batch of images.

    >>> [batch.shape for batch in as_batches([np.zeros((4, 6), np.uint8), np.zeros((4, 6, 1), np.uint8)])]
    [(2, 1, 4, 6)]
    """
    if isinstance(value, Mapping):
        if "image" not in value:
            raise ImageError(f"A dict of images needs the key 'image', found {sorted(map(str, value))}.")
        value = value["image"]
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    if not parts:
        raise ImageError("An empty list holds no image. Give at least one.")
    batches = _in_unit_range([_to_bchw(_as_array(part)) for part in parts])
    return _join_equal(batches)


def as_video(value: Any, channels_first: bool | None = None) -> Images:
    """Read an array as the frames of one video: as `as_batches`, but three axes without channels at the end are frames.

    Args:
        value: an array or a torch tensor.
        channels_first: whether it is (B, C, H, W) or (B, H, W, C); by default the last axis where it can be channels.

    Returns:
        (B, C, H, W).

    Raises:
        ImageError: this is not a batch of images.
        OptionError: its channels are not where they are said to be.
    """
    array = _as_array(value)
    if channels_first is not None:
        if array.ndim != 4 or array.shape[1 if channels_first else 3] not in CHANNELS:
            raise OptionError(
                f"channels_first={channels_first}: an array of shape {array.shape} has no 1 or 3 channels there. Leave "
                "it out."
            )
        array = array.transpose(0, 2, 3, 1) if channels_first else array
    if array.ndim == 3 and array.shape[-1] not in (*CHANNELS, WITH_ALPHA):
        array = array[..., None]
    return _in_unit_range([_to_bchw(array)])[0]


def is_array(value: object) -> bool:
    """Return whether something is a numpy array or a torch tensor."""
    return isinstance(value, np.ndarray) or _is_tensor(value)


def _is_tensor(value: object) -> bool:
    """Without importing torch. Open files have a `detach` too."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _as_array(value: Any) -> NDArray[Any]:
    if _is_tensor(value):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()  # numpy has no bfloat16
    if not isinstance(value, np.ndarray):
        raise ImageError(f"Expected an image as a numpy array or a torch tensor, found {type(value).__name__}.")
    if value.dtype != np.uint8 and not np.issubdtype(value.dtype, np.floating):
        raise ImageError(
            f"Images are uint8 (0 to 255) or float, found {value.dtype}. Convert them first, e.g. (image >> 8).astype("
            "'uint8') for 16-bit images."
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        return value if value.dtype == np.uint8 else value.astype(np.float32, copy=False)


def _to_bchw(array: NDArray[Any]) -> Images:
    shape = array.shape
    if 0 in shape:
        raise ImageError(f"An image of shape {shape} is empty.")
    if array.ndim == 2:
        array = array[None, None]
    elif array.ndim == 3 and shape[-1] in CHANNELS:
        array = array.transpose(2, 0, 1)[None]
    elif array.ndim == 3 and shape[-1] == WITH_ALPHA:
        raise ImageError(
            f"An array of shape {shape} looks like an image with an alpha channel. Leave that out: image[..., :3]; "
            "gray images that are 4 pixels wide are images[:, None]."
        )
    elif array.ndim == 3 and shape[0] == 3:
        raise ImageError(
            f"An array of shape {shape} may be three gray images or one image with three channels. Write "
            "images[:, None] for the one, image[None] for the other."
        )
    elif array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[-1] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or shape[1] not in CHANNELS:
        raise ImageError(
            f"An array of shape {shape} is not an image. Expected (H, W), (H, W, C), (B, H, W), "
            "(B, H, W, C) or (B, C, H, W) with 1 or 3 channels; leave out the alpha channel of RGBA."
        )
    return array if min(array.strides) >= 0 else np.ascontiguousarray(array)


def _in_unit_range(batches: list[Images]) -> list[Images]:
    """Divide by 255 if any float in any batch is above 1."""
    floats = [batch for batch in batches if batch.dtype != np.uint8]
    if not floats:
        return batches
    if not all(np.isfinite(batch).all() for batch in floats):
        raise ImageError("The images hold NaN or infinite values. Replace them first.")
    if max(batch.max() for batch in floats) <= 1:
        return batches
    return [batch if batch.dtype == np.uint8 else batch / np.float32(255) for batch in batches]


def _join_equal(batches: list[Images]) -> list[Images]:
    joined: list[list[Images]] = []
    for batch in batches:
        last = joined[-1][0] if joined else None
        if last is not None and last.shape[1:] == batch.shape[1:] and last.dtype == batch.dtype:
            joined[-1].append(batch)
        else:
            joined.append([batch])
    return [run[0] if len(run) == 1 else np.concatenate(run) for run in joined]
