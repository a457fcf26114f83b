"""Batches in flight through one TensorRT engine: contexts, buffers, streams and events, each with one owner.

    host         fill ─┐                                                      ┌─ wait for `done`, take the results
    copying in         └─ upload ── uploaded ─┐                               │
    computing                                 └─ execute ── computed ─┐       │
    copying out                                                       └─ download ── done

A slot has its own execution context and its own memory on both sides. All of it belongs to one batch from the moment
it is filled until its results are taken; slots go round, and one that comes round again with results still in it gives
them to their batch first. Between the streams only events order the work; the host waits for nothing but `done`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from sleap_infer.errors import BackendError
from sleap_infer.runners.cuda import Bytes, Cuda, Handle
from sleap_infer.runners.graph_io import IMAGE_INPUT

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

N_SLOTS = 3
ALIGNMENT = 256
"""Bytes that buffers on a GPU begin at multiples of."""


@define
class Slot:
    """A context and its memory.

    Attributes:
        context: that executes.
        filled: pinned, for images.
        images: address on the GPU, for images.
        taken: pinned, for all outputs, one behind the other.
        outputs: address on the GPU of these.
        uploaded: the images are on the GPU.
        computed: the outputs are there.
        done: they are on the host.
        recorded: graphs of `execute` by the shape of images; `None` for a shape that was executed once.
        flight: the batch that owns all this.
    """

    context: Any
    filled: Bytes
    images: int
    taken: Bytes
    outputs: int
    uploaded: Handle
    computed: Handle
    done: Handle
    recorded: dict[tuple[int, ...], Handle | None] = field(factory=dict)
    flight: Flight | None = None


@define
class Flight:
    """One batch on its way through a slot."""

    queue: EngineQueue
    slot: Slot
    shapes: dict[str, tuple[int, ...]]
    _result: Arrays | None = None
    _lock: Any = field(factory=threading.Lock)

    def take(self) -> Arrays:
        """Wait for the results, and take them out of the slot."""
        with self._lock:
            if self._result is None:
                self._result = self.queue.take(self.slot, self.shapes)
                self.slot.flight = None
            return self._result


class EngineQueue:
    """Runs an engine on batch after batch.

    Args:
        trt: the TensorRT module.
        engine: a deserialized engine.
        cuda: the GPU it is for.
        thresholds: values of its scalar inputs.
        records: whether a batch size that comes again is replayed as a CUDA graph.
        n_slots: most batches in flight.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        cuda: Cuda,
        thresholds: Mapping[str, NDArray[np.float32]],
        records: bool = True,
        n_slots: int = N_SLOTS,
    ) -> None:
        self._trt, self._engine, self._cuda, self._records = trt, engine, cuda, records
        cuda.use()
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self._inputs = [name for name in names if is_input[name]]
        self._outputs = [name for name in names if not is_input[name]]
        self._types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self._most = tuple(engine.get_tensor_profile_shape(IMAGE_INPUT, 0)[2])
        self._streams = [cuda.stream() for _ in range(3)]
        self._addresses = {name: self._constant(thresholds[name]) for name in self._inputs if name != IMAGE_INPUT}
        self._slots = [self._slot() for _ in range(n_slots)]
        self._turn = cycle(self._slots)
        self._filling = threading.Lock()

    @property
    def max_batch(self) -> int:
        """Most images at once."""
        return int(self._most[0])

    def start(self, images: NDArray[np.uint8]) -> Flight:
        """Begin to run the engine on images (B, C, H, W) that are within its profile."""
        cuda, (into, compute, out) = self._cuda, self._streams
        with self._filling:
            cuda.use()
            slot = next(self._turn)
            if slot.flight is not None:
                slot.flight.take()
            np.copyto(slot.filled[: images.size].reshape(images.shape), images)
            cuda.upload(slot.images, slot.filled[: images.size], into)
            cuda.record(slot.uploaded, into)
            cuda.wait(compute, slot.uploaded)
            shapes = self._set_shape(slot, images.shape)
            self._execute(slot, images.shape, compute)
            cuda.record(slot.computed, compute)
            cuda.wait(out, slot.computed)
            cuda.download(slot.taken, slot.outputs, out)
            cuda.record(slot.done, out)
            slot.flight = Flight(self, slot, shapes)
            return slot.flight

    def take(self, slot: Slot, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """Wait for a slot's batch, and copy its results out of it."""
        self._cuda.use()
        self._cuda.synchronize(slot.done)
        found = {}
        for name, at in self._offsets.items():
            size = math.prod(shapes[name]) * self._types[name].itemsize
            found[name] = slot.taken[at : at + size].view(self._types[name]).reshape(shapes[name]).copy()
        return found

    def close(self) -> None:
        """Wait for what is in flight, and give everything back."""
        cuda = self._cuda
        cuda.use()
        for stream in self._streams:
            cuda.synchronize_stream(stream)
        for slot in self._slots:
            if slot.flight is not None:
                slot.flight.take()
            graphs = [graph for graph in slot.recorded.values() if graph is not None]
            cuda.destroy(streams=[], events=[slot.uploaded, slot.computed, slot.done], graphs=graphs)
            for pinned in (slot.filled, slot.taken):
                cuda.free_pinned(pinned)
            for address in (slot.images, slot.outputs):
                cuda.free(address)
            slot.context = None
        for address in self._addresses.values():
            cuda.free(address)
        cuda.destroy(streams=self._streams, events=[], graphs=[])
        self._slots, self._streams, self._engine = [], [], None

    def _slot(self) -> Slot:
        cuda, context = self._cuda, self._engine.create_execution_context()
        if context is None:
            raise BackendError("TensorRT gave no execution context: there may be too little memory on the GPU.")
        _require(context.set_input_shape(IMAGE_INPUT, self._most), f"set_input_shape{self._most}")
        size = math.prod(self._most)
        room = self._layout(context)
        events = [cuda.event() for _ in range(3)]
        slot = Slot(context, cuda.pinned(size), cuda.allocate(size), cuda.pinned(room), cuda.allocate(room), *events)
        for name, address in (self._addresses | {IMAGE_INPUT: slot.images}).items():
            _require(context.set_tensor_address(name, address), f"set_tensor_address({name})")
        for name, at in self._offsets.items():
            _require(context.set_tensor_address(name, slot.outputs + at), f"set_tensor_address({name})")
        return slot

    def _layout(self, context: Any) -> int:
        """Where each output lies in the memory for all of them, and how large that is."""
        self._offsets: dict[str, int] = {}
        at = 0
        for name in self._outputs:
            self._offsets[name] = at
            size = math.prod(context.get_tensor_shape(name)) * self._types[name].itemsize
            at += -(-size // ALIGNMENT) * ALIGNMENT
        return at

    def _set_shape(self, slot: Slot, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        context = slot.context
        if tuple(context.get_tensor_shape(IMAGE_INPUT)) != shape:
            _require(context.set_input_shape(IMAGE_INPUT, shape), f"set_input_shape{shape}")
        return {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}

    def _execute(self, slot: Slot, shape: tuple[int, ...], stream: Handle) -> None:
        """Execute; a shape that comes a second time is recorded, and replayed from then on."""
        recorded = slot.recorded.get(shape)
        if recorded is None and shape in slot.recorded and self._records:
            recorded = slot.recorded[shape] = self._cuda.capture(stream, lambda: self._launch(slot, stream))
        if recorded is not None:
            self._cuda.replay(recorded, stream)
            return
        self._launch(slot, stream)
        slot.recorded[shape] = None

    def _launch(self, slot: Slot, stream: Handle) -> None:
        _require(slot.context.execute_async_v3(self._cuda.handle(stream)), "execute_async_v3")

    def _constant(self, value: NDArray[np.float32]) -> int:
        """Address on the GPU of a scalar."""
        cuda, stream = self._cuda, self._streams[0]
        address, pinned = cuda.allocate(value.nbytes), cuda.pinned(value.nbytes)
        pinned[:] = np.frombuffer(value.tobytes(), np.uint8)
        cuda.upload(address, pinned, stream)
        cuda.synchronize_stream(stream)
        cuda.free_pinned(pinned)
        return address


def _require(worked: Any, call: str) -> None:
    if not worked:
        raise BackendError(
            f"TensorRT refused {call}. Build the engine again: delete the .engine file beside the graph."
        )
