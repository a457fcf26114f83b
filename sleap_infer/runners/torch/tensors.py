"""Arrays as tensors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(images: NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array, which may be read-only."""
    if not images.flags.writeable:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(images)
    return torch.from_numpy(np.ascontiguousarray(images) if min(images.strides, default=0) < 0 else images)
