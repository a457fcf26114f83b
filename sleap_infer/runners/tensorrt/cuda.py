"""CUDA without PyTorch, through cuda-python: memory, streams, events, graphs.

Only `synchronize` and `synchronize_stream` wait. All sizes are in bytes; streams, events and graphs are opaque handles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.errors import BackendError, BackendNotInstalledError, DeviceError, DeviceMemoryError

Bytes: TypeAlias = NDArray[np.uint8]
Handle: TypeAlias = Any

OUT_OF_MEMORY = 2
NO_DRIVER, NO_DEVICE = 35, 100


@frozen
class Gpu:
    """Facts of a GPU.

    Attributes:
        index: on this machine.
        name: of the product.
        compute_capability: as in `"9.0"`.
        driver: the newest CUDA version of the driver, as in `"13.0"`.
    """

    index: int
    name: str
    compute_capability: str
    driver: str


def require_cuda_python() -> Any:
    """Import the module `cuda.bindings.runtime`.

    Raises:
        BackendNotInstalledError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendNotInstalledError(
            f"cuda-python cannot be imported ({error}). Install it with: pip install 'cuda-python>=12.6'; if it is "
            "installed, run: sleap-infer doctor"
        ) from error
    return runtime


def find_gpu(device: str) -> Gpu:
    """Return the GPU of a name; `"auto"` and `"cuda"` are the first.

    CUDA is queried before any runtime is used, because some crash without a driver.

    Raises:
        BackendNotInstalledError: cuda-python is not installed.
        DeviceError: there is no such GPU, or no driver for it.
    """
    runtime = require_cuda_python()
    kind, _, index = device.partition(":")
    if device != "auto" and (kind != "cuda" or (index and not index.isdigit())):
        raise DeviceError(f"TensorRT is not run on {device!r}. Use auto, cuda or cuda:N.")
    error, count = runtime.cudaGetDeviceCount()
    if error or not count:
        reason = {NO_DRIVER: "there is no NVIDIA driver, or it is too old", NO_DEVICE: "there is no NVIDIA GPU"}
        raise DeviceError(
            f"Device {device!r} is not there: {reason.get(int(error), f'CUDA says {_words(runtime, error)}')}. Use "
            "backend='onnx' or 'torch' on the CPU; to find out more, run: sleap-infer doctor"
        )
    number = int(index or 0)
    if number >= count:
        raise DeviceError(f"Device {device!r} is not there: this machine has {count} NVIDIA GPU(s), cuda:0 and up.")
    _, facts = runtime.cudaGetDeviceProperties(number)
    _, driver = runtime.cudaDriverGetVersion()
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    return Gpu(number, name.strip("\0"), f"{facts.major}.{facts.minor}", f"{driver // 1000}.{driver % 1000 // 10}")


class Cuda:
    """One GPU.

    Args:
        index: on this machine.
    """

    def __init__(self, index: int) -> None:
        self._runtime = require_cuda_python()
        self.index = index
        self._pinned: dict[int, Bytes] = {}

    def use(self) -> None:
        """Select this GPU for the calling thread."""
        self._do("cudaSetDevice", self.index)

    def stream(self) -> Handle:
        """Create a stream that the default stream does not wait for."""
        return self._do("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def event(self) -> Handle:
        """Create an event without a time. Waiting for it does not occupy a core."""
        flags = self._runtime.cudaEventDisableTiming | self._runtime.cudaEventBlockingSync
        return self._do("cudaEventCreateWithFlags", flags)

    def pinned(self, size: int) -> Bytes:
        """Allocate page-locked memory of the host; release it with `free_pinned`."""
        address = int(self._do("cudaHostAlloc", max(size, 1), self._runtime.cudaHostAllocDefault))
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * max(size, 1)).from_address(address))
        self._pinned[address] = memory
        return memory

    def free_pinned(self, memory: Bytes) -> None:
        """Release page-locked memory."""
        address = memory.ctypes.data
        del self._pinned[address]
        self._do("cudaFreeHost", address)

    def allocate(self, size: int) -> int:
        """Allocate memory on the GPU and return its address; release it with `free`."""
        return int(self._do("cudaMalloc", max(size, 1)))

    def free(self, address: int) -> None:
        """Release memory of the GPU."""
        self._do("cudaFree", address)

    def upload(self, address: int, source: Bytes, stream: Handle) -> None:
        """Start a copy from page-locked memory to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def download(self, target: Bytes, address: int, stream: Handle) -> None:
        """Start a copy from the GPU to page-locked memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def record(self, event: Handle, stream: Handle) -> None:
        """Record an event after all work of a stream so far."""
        self._do("cudaEventRecord", event, stream)

    def wait(self, stream: Handle, event: Handle) -> None:
        """Make a stream wait for an event; the host does not wait."""
        self._do("cudaStreamWaitEvent", stream, event, 0)

    def synchronize(self, event: Handle) -> None:
        """Wait for an event on the host."""
        self._do("cudaEventSynchronize", event)

    def synchronize_stream(self, stream: Handle) -> None:
        """Wait for all work of a stream so far on the host."""
        self._do("cudaStreamSynchronize", stream)

    def handle(self, stream: Handle) -> int:
        """Return the handle of a stream for TensorRT."""
        return int(stream)

    def capture(self, stream: Handle, launch: Callable[[], None]) -> Handle:
        """Record the launches of a function on a stream as a graph, without running them.

        Raises:
            BackendError: the function cannot be recorded.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("cudaStreamBeginCapture", stream, mode)
        try:
            launch()
        finally:
            graph = self._do("cudaStreamEndCapture", stream)
        recorded = self._do("cudaGraphInstantiate", graph, 0)
        self._do("cudaGraphDestroy", graph)
        return recorded

    def replay(self, graph: Handle, stream: Handle) -> None:
        """Launch a graph on a stream."""
        self._do("cudaGraphLaunch", graph, stream)

    def destroy(self, *, streams: list[Handle], events: list[Handle], graphs: list[Handle]) -> None:
        """Destroy handles."""
        for name, handles in (
            ("cudaGraphExecDestroy", graphs),
            ("cudaEventDestroy", events),
            ("cudaStreamDestroy", streams),
        ):
            for item in handles:
                self._do(name, item)

    def _do(self, name: str, *arguments: Any) -> Any:
        """Call CUDA and return its first value, if any.

        Raises:
            DeviceMemoryError: there is too little memory.
            BackendError: any other error.
        """
        error, *values = getattr(self._runtime, name)(*arguments)
        if int(error) == OUT_OF_MEMORY:
            raise DeviceMemoryError(
                f"cuda:{self.index} has no memory left ({name}). Use a smaller batch_size, or close other programs "
                "that use it."
            )
        if int(error):
            raise BackendError(f"CUDA failed on cuda:{self.index}: {name} says {_words(self._runtime, error)}.")
        return values[0] if values else None


def _words(runtime: Any, error: Any) -> str:
    _, text = runtime.cudaGetErrorString(error)
    return f"{int(error)}, {text.decode() if isinstance(text, bytes) else text}"
