"""One network on MNN, for one thread."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import BackendError, BackendNotInstalledError, ExportedModelError
from sleap_infer.runners.graph.split import Part
from sleap_infer.system.runtimes import import_runtime, install_command

GREETING = b"The device supports:"

_FIRST_USE = threading.Lock()


class MnnNetwork:
    """A session of MNN for images of one shape, and for one thread.

    Two threads on one session give wrong values without an error. A session that was made for another shape gives
    slightly different values than a new one, because it keeps the tiles of Winograd's algorithm.

    Args:
        path: a converted network.
        part: names of its inputs and outputs.
        shape: (B, C, H, W) of its images.
        n_threads: threads of the session.

    Raises:
        ExportedModelError: MNN cannot open the file, or run the network on images of this shape.
    """

    def __init__(self, path: Path, part: Part, shape: tuple[int, ...], n_threads: int = 1) -> None:
        mnn = require_mnn()
        self._path = path
        try:
            self._interpreter = mnn.Interpreter(str(path))
            self._session = self._interpreter.createSession({"backend": "CPU", "numThread": n_threads})
            self._input = self._interpreter.getSessionInput(self._session, part.inputs[0])
            self._interpreter.resizeTensor(self._input, shape)
            self._interpreter.resizeSession(self._session)
            inside = {name: self._interpreter.getSessionOutput(self._session, name) for name in part.outputs}
        except Exception as error:  # MNN raises whatever its C++ code does
            raise ExportedModelError(
                f"{path} cannot be opened by MNN {mnn.version()} ({error}). Export the model again."
            ) from error
        if any(min(tensor.getShape(), default=0) < 1 for tensor in inside.values()):
            raise ExportedModelError(
                f"MNN {mnn.version()} cannot run {path} on images of shape {shape}. Use backend='onnx'."
            )
        self._images = _HostArray(mnn, shape)
        self._outputs = {name: (tensor, _HostArray(mnn, tensor.getShape())) for name, tensor in inside.items()}

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            images: (B, C, H, W), of its shape.

        Returns:
            The outputs by name, valid until the next call.

        Raises:
            BackendError: MNN stopped with an error.
        """
        np.copyto(self._images.array, images)
        self._input.copyFrom(self._images.tensor)
        code = self._interpreter.runSession(self._session)
        if code != 0:
            raise BackendError(f"MNN stopped with error {code} in {self._path}. Use backend='onnx'.")
        for inside, outside in self._outputs.values():
            inside.copyToHostTensor(outside.tensor)
        return {name: outside.array for name, (_, outside) in self._outputs.items()}


class _HostArray:
    """A tensor of MNN in memory of the host, and an array on that memory, which keeps the tensor alive.

    Args:
        mnn: the module.
        shape: (B, C, H, W).
    """

    def __init__(self, mnn: Any, shape: Sequence[int]) -> None:
        zeros = np.zeros(shape, np.float32)
        self.tensor = mnn.Tensor(tuple(shape), mnn.Halide_Type_Float, zeros, mnn.Tensor_DimensionType_Caffe)
        self._view = self.tensor.getNumpyData()  # does not keep it alive

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Return where the values are, for `numpy.asarray`."""
        return self._view.__array_interface__

    @property
    def array(self) -> NDArray[np.float32]:
        """Return the values; valid until the tensor is written again."""
        return np.asarray(self)


def require_mnn() -> Any:
    """Import the MNN package.

    Raises:
        BackendNotInstalledError: it is not installed, or broken.
    """
    try:
        with _FIRST_USE, _without_greeting():
            return import_runtime("MNN")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"MNN cannot be imported ({error}). Install it with: {install_command('mnn')}; if it is installed, run: "
            "sleap-infer doctor"
        ) from error


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Drop the line that MNN prints to stdout when it is imported; other output of that moment is printed later."""
    try:
        stdout = None if "MNN" in sys.modules else os.dup(1)
    except OSError:  # there is no stdout
        stdout = None
    if stdout is None:
        yield
        return
    with tempfile.TemporaryFile() as printed:
        try:
            _flush()
            os.dup2(printed.fileno(), 1)
            yield
        finally:
            _flush()
            os.dup2(stdout, 1)
            os.close(stdout)
            printed.seek(0)
            for line in printed:
                if not line.startswith(GREETING):
                    os.write(1, line)


def _flush() -> None:
    with suppress(AttributeError, OSError, ValueError):  # of a program without stdout, or one that closed it
        sys.stdout.flush()
