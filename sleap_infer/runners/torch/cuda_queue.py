"""Batches in flight on one CUDA device: PyTorch's streams, pinned memory, and one small download.

    host      fill ─┐                                        ┌─ wait for `done`, take the results
    copying         └─ upload ── uploaded ─┐                 │
    computing                              └─ run ── download ── done

A slot's memory belongs to one batch from the moment it is filled until its results are taken. Slots are used in
rotation; before a slot is reused, results that are still in it are copied to their batch. So nothing on the device is
overwritten while it may still be read, and no other synchronisation is needed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
import torch
from attrs import define, field
from numpy.typing import NDArray
from torch import Tensor

from sleap_infer.errors import DeviceMemoryError
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.torch.tensors import to_tensor

Run: TypeAlias = Callable[[Sequence[Tensor]], Mapping[str, Tensor]]
"""Maps uploaded arrays to named tensors, on the device."""

N_SLOTS = 3
"""One batch is uploaded while one is computed and one is downloaded."""

_launching = threading.RLock()
"""PyTorch's switches for exact arithmetic apply to the process: they are set for one launch at a time."""


@define
class Slot:
    """Memory for one batch, on the host and on the device."""

    uploads: list[tuple[Tensor, Tensor]] = field(factory=list)
    download: Tensor = field(factory=lambda: torch.empty(0))
    uploaded: Any = field(factory=torch.cuda.Event)
    done: Any = field(factory=torch.cuda.Event)
    flight: Flight | None = None


@define
class Flight:
    """One batch in a slot."""

    queue: CudaQueue
    slot: Slot
    run: Run
    inputs: tuple[Tensor, ...] = ()
    shapes: dict[str, tuple[torch.Size, torch.dtype]] = field(factory=dict)
    _result: Candidates | None = None
    _lock: Any = field(factory=threading.Lock)

    def take(self) -> Candidates:
        """Wait for the results, and copy them from the slot."""
        with self._lock:
            if self._result is None:
                self.slot.done.synchronize()
                self._result = unpack(self.slot.download.numpy(), self.shapes)
                self.slot.flight, self.inputs = None, ()
            return self._result


class CudaQueue:
    """Runs functions on a CUDA device, batch after batch.

    Args:
        device: of type cuda.
        exactly: whether convolutions compute in true fp32, not TF32.
        n_slots: maximum number of batches in flight.
    """

    def __init__(self, device: torch.device, exactly: bool, n_slots: int = N_SLOTS) -> None:
        self._device, self._exactly = device, exactly
        with torch.cuda.device(device):
            self._copying, self._computing = torch.cuda.Stream(device), torch.cuda.Stream(device)
            self._slots = [Slot() for _ in range(n_slots)]
        self._turn = cycle(self._slots)
        self._filling = threading.Lock()

    def start(self, run: Run, *arrays: NDArray[Any] | Tensor) -> Flight:
        """Start a function on arrays; arrays on the device are not copied.

        Returns:
            The batch in flight.

        Raises:
            DeviceMemoryError: the device has too little memory.
        """
        with self._filling:
            slot = next(self._turn)
            if slot.flight is not None:
                slot.flight.take()
            flight = Flight(self, slot, run)
            try:
                self._launch(flight, arrays)
            except torch.OutOfMemoryError as error:
                torch.cuda.synchronize(self._device)
                reason = str(error).partition(". ")[0]
                raise DeviceMemoryError(f"{self._device}: {reason}. Use a smaller batch_size.") from error
            slot.flight = flight
            return flight

    def _launch(self, flight: Flight, arrays: Sequence[NDArray[Any] | Tensor]) -> None:
        slot = flight.slot
        with torch.inference_mode(), torch.cuda.device(self._device), _launching, exact(self._exactly):
            with torch.cuda.stream(self._copying):
                flight.inputs = tuple(self._upload(slot, number, array) for number, array in enumerate(arrays))
                slot.uploaded.record(self._copying)
            with torch.cuda.stream(self._computing):
                self._computing.wait_event(slot.uploaded)
                self._download(flight, flight.run(flight.inputs))
                slot.done.record(self._computing)

    def close(self) -> None:
        """Wait for the device, and release its memory."""
        torch.cuda.synchronize(self._device)
        for slot in self._slots:
            if slot.flight is not None:
                slot.flight.take()
        self._slots = []
        torch.cuda.empty_cache()

    def _upload(self, slot: Slot, number: int, array: NDArray[Any] | Tensor) -> Tensor:
        if isinstance(array, Tensor):
            self._copying.wait_stream(torch.cuda.current_stream(self._device))
            array.record_stream(self._computing)
            return array
        source = to_tensor(array)
        while number >= len(slot.uploads):
            slot.uploads.append(self._memory(0))
        if slot.uploads[number][0].numel() < source.nbytes:
            slot.uploads[number] = self._memory(source.nbytes)
        host, there = (like(memory, source) for memory in slot.uploads[number])
        host.copy_(source)
        return there.copy_(host, non_blocking=True)

    def _memory(self, n_bytes: int) -> tuple[Tensor, Tensor]:
        """Allocate memory on the host and on the device, where two streams use it."""
        there = torch.empty(n_bytes, dtype=torch.uint8, device=self._device)
        there.record_stream(self._computing)
        return pinned(n_bytes, torch.uint8), there

    def _download(self, flight: Flight, found: Mapping[str, Tensor]) -> None:
        """Start the download of all results as one array of floats."""
        flight.shapes = {name: (value.shape, value.dtype) for name, value in found.items()}
        packed = torch.cat([value.reshape(-1).float() for value in found.values()])
        slot = flight.slot
        if slot.download.numel() < packed.numel():
            slot.download = pinned(packed.numel(), torch.float32)
        slot.download[: packed.numel()].copy_(packed, non_blocking=True)


def pinned(size: int, dtype: torch.dtype) -> Tensor:
    """Allocate page-locked memory of the host, which a GPU accesses directly."""
    return torch.empty(size, dtype=dtype, pin_memory=True)


def like(memory: Tensor, pattern: Tensor) -> Tensor:
    """Return a view of raw memory with the shape, type and, for images, memory format of another tensor.

    >>> pattern = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    >>> like(torch.empty(1000, dtype=torch.uint8), pattern).stride() == pattern.stride()
    True
    """
    flat = memory[: pattern.nbytes].view(pattern.dtype)
    if pattern.ndim != 4:
        return flat.view(pattern.shape)
    batch, channels, height, width = pattern.shape
    return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)


def unpack(packed: NDArray[np.float32], shapes: Mapping[str, tuple[torch.Size, torch.dtype]]) -> Candidates:
    """Return results by name, in memory of their own.

    >>> shapes = {"a": (torch.Size([2]), torch.float32), "b": (torch.Size([1]), torch.bool)}
    >>> unpack(np.arange(3, dtype=np.float32), shapes)
    {'a': array([0., 1.], dtype=float32), 'b': array([ True])}
    """
    found, at = {}, 0
    for name, (shape, dtype) in shapes.items():
        size = math.prod(shape)
        values = packed[at : at + size].reshape(shape)
        found[name] = values.astype(bool) if dtype == torch.bool else values.copy()
        at += size
    return found


def exact(wanted: bool) -> AbstractContextManager[None]:
    """Compute convolutions in true fp32. CUDA's default rounds inputs to 10 bits (TF32), which moves points."""
    if not wanted:
        return nullcontext()
    from torch.backends import cudnn

    flags: AbstractContextManager[None] = cudnn.flags(enabled=True, allow_tf32=False)
    return flags
