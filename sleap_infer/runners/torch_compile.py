"""PyTorch, compiled: the same network made into machine code for its input size."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sleap_infer.candidates import Candidates
from sleap_infer.choices import Backend
from sleap_infer.errors import BackendNotInstalledError
from sleap_infer.runners.base import Images
from sleap_infer.runners.torch import InferenceRunnerTorch

if TYPE_CHECKING:
    import torch

COMPILERS = ("g++", "clang++", "c++")


class InferenceRunnerTorchCompile(InferenceRunnerTorch):
    """Runs the network through `torch.compile`; peaks are found eagerly, since their number differs by batch.

    The first batch of each image size takes up to a minute. A batch with fewer images than one before of the same size
    is filled up with black ones, whose results are dropped, so that it is not compiled again.
    """

    backend: ClassVar[Backend | None] = "torch_compile"

    def _prepare(self, module: torch.nn.Module) -> torch.nn.Module:

        if self._device.type == "cpu":
            require_compiler()
        self._batch_sizes: dict[tuple[int | str, ...], int] = {}
        module.compile(dynamic=False)
        return module

    def _predict(self, images: Images) -> Candidates:
        n_images, form = len(images), (*images.shape[1:], images.dtype.str)
        size = max(n_images, self._batch_sizes.get(form, 0))
        self._batch_sizes[form] = size
        channels, height, width = images.shape[1:]
        # Always copied: a batch with other strides would be compiled again, too.
        batch = np.zeros((size, height, width, channels), images.dtype).transpose(0, 3, 1, 2)
        batch[:n_images] = images
        return {name: value[:n_images] for name, value in super()._predict(batch).items()}


def require_compiler() -> None:
    """Check that there is a C++ compiler, which PyTorch needs to compile for the CPU.

    Raises:
        BackendNotInstalledError: there is none.
    """
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in (named, *COMPILERS) if name):
        raise BackendNotInstalledError(
            f"torch_compile needs a C++ compiler on the CPU, and none of {', '.join(COMPILERS)} is on the PATH. "
            "Install one (Debian, Ubuntu: sudo apt install g++; macOS: xcode-select --install), or use backend='torch'."
        )
