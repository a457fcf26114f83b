"""Batches in flight through one TensorRT engine: contexts, buffers, streams and events, each with one owner.

    host         fill ─┐                                                      ┌─ wait for `done`, take the results
    copying in         └─ upload ── uploaded ─┐                               │
    computing                                 └─ execute ── computed ─┐       │
    copying out                                                       └─ download ── done

A slot has memory of its own on both sides, which belongs to one batch from the moment it is filled until its results
are taken. Slots go round, and one that comes round again with results still in it gives them to their batch first.
Between the streams only events order the work; the host waits for nothing but `done`.

Each shape of images has an execution context of its own in each slot, since a recorded one may not be changed any more.
All contexts share one scratch memory: they run on one stream, one after the other.
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
from sleap_infer.runners.batching import padded_size
from sleap_infer.runners.graph.io import IMAGE_INPUT
from sleap_infer.runners.tensorrt.cuda import Bytes, Cuda, Handle

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

N_SLOTS = 3
ALIGNMENT = 256
"""Alignment of buffers on a GPU, in bytes."""

MOST_PLANS = 8
"""Maximum number of image shapes with contexts per slot."""


@define
class Plan:
    """Execution of one image shape in one slot. A recorded context is never changed.

    Attributes:
        context: of the execution.
        shapes: of its outputs, by name.
        graph: the recorded execution, if there is one.
        was_executed: whether it was executed, which is required before recording.
    """

    context: Any
    shapes: dict[str, tuple[int, ...]]
    graph: Handle | None = None
    was_executed: bool = False


@define
class Slot:
    """Memory for one batch.

    Attributes:
        filled: pinned, for images.
        images: address on the GPU, for images.
        taken: pinned, for all outputs, one behind the other.
        outputs: address on the GPU of these.
        uploaded: the images are on the GPU.
        computed: the outputs are there.
        done: they are on the host.
        plans: by the shape of images.
        flight: the batch that owns all this.
    """

    filled: Bytes
    images: int
    taken: Bytes
    outputs: int
    uploaded: Handle
    computed: Handle
    done: Handle
    plans: dict[tuple[int, ...], Plan] = field(factory=dict)
    flight: Flight | None = None


@define
class Flight:
    """One batch in a slot."""

    queue: EngineQueue
    slot: Slot
    shapes: dict[str, tuple[int, ...]]
    _result: Arrays | None = None
    _lock: Any = field(factory=threading.Lock)

    def take(self) -> Arrays:
        """Wait for the results, and copy them from the slot."""
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
        records: whether repeated batch sizes are replayed as CUDA graphs.
        n_slots: maximum number of batches in flight.
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
        least, _, most = engine.get_tensor_profile_shape(IMAGE_INPUT, 0)
        self._least, self._most = tuple(least), tuple(most)
        self._streams = [cuda.stream() for _ in range(3)]
        self._addresses = {name: self._constant(thresholds[name]) for name in self._inputs if name != IMAGE_INPUT}
        self._scratch_size = int(engine.device_memory_size_v2)
        self._scratch = cuda.allocate(self._scratch_size)
        self._offsets, size = self._layout()
        self._slots = [self._slot(size) for _ in range(n_slots)]
        self._turn = cycle(self._slots)
        self._sizes: set[int] = set()
        self._filling = threading.Lock()

    @property
    def max_batch(self) -> int:
        """Return the maximum number of images per call."""
        return int(self._most[0])

    def padded(self, n_images: int) -> int:
        """Return the padded batch size."""
        size = max(padded_size(n_images, self._sizes, self.max_batch), self._least[0])
        self._sizes.add(size)
        return size

    def start(self, images: NDArray[np.uint8]) -> Flight:
        """Start the engine on images (B, C, H, W) within its profile."""
        with self._filling:
            self._cuda.use()
            slot = next(self._turn)
            if slot.flight is not None:
                slot.flight.take()
            plan = self._plan(slot, images.shape)
            try:
                self._launch(slot, plan, images)
            except BaseException:
                self._synchronize()  # the slot may be in use
                raise
            slot.flight = Flight(self, slot, plan.shapes)
            return slot.flight

    def _launch(self, slot: Slot, plan: Plan, images: NDArray[np.uint8]) -> None:
        cuda, (into, compute, out) = self._cuda, self._streams
        np.copyto(slot.filled[: images.size].reshape(images.shape), images)
        cuda.upload(slot.images, slot.filled[: images.size], into)
        cuda.record(slot.uploaded, into)
        cuda.wait(compute, slot.uploaded)
        self._execute(plan, compute)
        cuda.record(slot.computed, compute)
        cuda.wait(out, slot.computed)
        cuda.download(slot.taken, slot.outputs, out)
        cuda.record(slot.done, out)

    def _synchronize(self) -> None:
        for stream in self._streams:
            self._cuda.synchronize_stream(stream)

    def take(self, slot: Slot, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """Wait for a slot's batch, and copy its results."""
        self._cuda.use()
        self._cuda.synchronize(slot.done)
        found = {}
        for name, at in self._offsets.items():
            size = math.prod(shapes[name]) * self._types[name].itemsize
            found[name] = slot.taken[at : at + size].view(self._types[name]).reshape(shapes[name]).copy()
        return found

    def close(self) -> None:
        """Wait for batches in flight, and release everything."""
        cuda = self._cuda
        cuda.use()
        self._synchronize()
        for slot in self._slots:
            if slot.flight is not None:
                slot.flight.take()
            for shape in list(slot.plans):
                self._forget(slot, shape)
            cuda.destroy(streams=[], events=[slot.uploaded, slot.computed, slot.done], graphs=[])
            for pinned in (slot.filled, slot.taken):
                cuda.free_pinned(pinned)
            for address in (slot.images, slot.outputs):
                cuda.free(address)
        cuda.free(self._scratch)
        for address in self._addresses.values():
            cuda.free(address)
        cuda.destroy(streams=self._streams, events=[], graphs=[])
        self._slots, self._streams, self._engine = [], [], None

    def _slot(self, output_size: int) -> Slot:
        cuda, size = self._cuda, math.prod(self._most)
        events = [cuda.event() for _ in range(3)]
        return Slot(
            cuda.pinned(size), cuda.allocate(size), cuda.pinned(output_size), cuda.allocate(output_size), *events
        )

    def _layout(self) -> tuple[dict[str, int], int]:
        """Return the offset of each output in their common memory, and its size in bytes."""
        context = self._context(self._most)
        offsets, at = {}, 0
        for name in self._outputs:
            offsets[name] = at
            size = math.prod(context.get_tensor_shape(name)) * self._types[name].itemsize
            at += -(-size // ALIGNMENT) * ALIGNMENT
        return offsets, at

    def _context(self, shape: tuple[int, ...]) -> Any:
        """Return an execution context for images of one shape."""
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise BackendError("TensorRT gave no execution context: there may be too little memory on the GPU.")
        context.set_device_memory(self._scratch, self._scratch_size)
        _require(context.set_input_shape(IMAGE_INPUT, shape), f"set_input_shape{shape}")
        return context

    def _plan(self, slot: Slot, shape: tuple[int, ...]) -> Plan:
        """Return the plan of an image shape in a slot that holds no batch."""
        if shape in slot.plans:
            return slot.plans[shape]
        while len(slot.plans) >= MOST_PLANS:
            self._forget(slot, next(iter(slot.plans)))
        context = self._context(shape)
        addresses = self._addresses | {IMAGE_INPUT: slot.images}
        addresses |= {name: slot.outputs + at for name, at in self._offsets.items()}
        for name, address in addresses.items():
            _require(context.set_tensor_address(name, address), f"set_tensor_address({name})")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        plan = slot.plans[shape] = Plan(context, shapes)
        return plan

    def _forget(self, slot: Slot, shape: tuple[int, ...]) -> None:
        plan = slot.plans.pop(shape)
        if plan.graph is not None:
            self._cuda.destroy(streams=[], events=[], graphs=[plan.graph])

    def _execute(self, plan: Plan, stream: Handle) -> None:
        """Execute; the second execution of a shape is recorded, and later ones replay it."""
        if plan.graph is None and plan.was_executed and self._records:
            plan.graph = self._cuda.capture(stream, lambda: self._enqueue(plan, stream))
        if plan.graph is not None:
            self._cuda.replay(plan.graph, stream)
            return
        self._enqueue(plan, stream)
        plan.was_executed = True

    def _enqueue(self, plan: Plan, stream: Handle) -> None:
        _require(plan.context.execute_async_v3(self._cuda.handle(stream)), "execute_async_v3")

    def _constant(self, value: NDArray[np.float32]) -> int:
        """Upload a scalar and return its address on the GPU."""
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
