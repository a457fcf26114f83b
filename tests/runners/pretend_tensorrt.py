"""A GPU and TensorRT where there is neither: streams are threads, device memory is memory, engines are ONNX Runtime.

Unlike a mock this does what the real things do, when they do it: what is given to a stream happens later, in its order,
after a random delay, and only events order one stream behind another. Code that reads or writes memory too early gets
other poses.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from sleap_infer.runners.tensorrt.cuda import Gpu

GPU = Gpu(0, "Pretended GPU", "9.0", "13.0")


class Stream:
    def __init__(self, delays: random.Random | None) -> None:
        self._work: Queue[Callable[[], None] | None] = Queue()
        self._delays = delays
        self.recording: list[Callable[[], None]] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def give(self, work: Callable[[], None]) -> None:
        if self.recording is not None:
            self.recording.append(work)
        else:
            self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if self._delays is not None:
                time.sleep(self._delays.random() * 0.01)
            work()

    def finish(self) -> None:
        self._work.put(None)
        self._thread.join()

    def synchronize(self) -> None:
        done = threading.Event()
        self._work.put(done.set)
        assert done.wait(30)


class Event:
    def __init__(self) -> None:
        self.now = threading.Event()


class PretendCuda:
    """As `runners.cuda.Cuda`."""

    seed: int | None = None
    waits = True

    def __init__(self, index: int) -> None:
        self.index = index
        self.streams: dict[int, Stream] = {}
        self.memory: dict[int, np.ndarray] = {}
        self.n_captured = self.n_replayed = 0
        self.in_use: set[int] = set()

    def use(self) -> None: ...

    def stream(self) -> int:
        number = len(self.streams) + 1
        self.streams[number] = Stream(None if self.seed is None else random.Random(self.seed + number))
        return number

    def event(self) -> Event:
        event = Event()
        self.in_use.add(id(event))
        return event

    def pinned(self, size: int) -> np.ndarray:
        memory = np.full(max(size, 1), 0xFF, np.uint8)
        self.memory[memory.ctypes.data] = memory
        return memory

    def free_pinned(self, memory: np.ndarray) -> None:
        del self.memory[memory.ctypes.data]

    def allocate(self, size: int) -> int:
        return self.pinned(size).ctypes.data

    def free(self, address: int) -> None:
        del self.memory[address]

    def upload(self, address: int, source: np.ndarray, stream: int) -> None:
        self.streams[stream].give(lambda: ctypes.memmove(address, source.ctypes.data, source.nbytes))

    def download(self, target: np.ndarray, address: int, stream: int) -> None:
        self.streams[stream].give(lambda: ctypes.memmove(target.ctypes.data, address, target.nbytes))

    def record(self, event: Event, stream: int) -> None:
        event.now = threading.Event()
        self.streams[stream].give(event.now.set)

    def wait(self, stream: int, event: Event) -> None:
        if self.waits:
            now = event.now
            self.streams[stream].give(lambda: now.wait(30) and None)

    def synchronize(self, event: Event) -> None:
        assert event.now.wait(30)

    def synchronize_stream(self, stream: int) -> None:
        self.streams[stream].synchronize()

    def handle(self, stream: int) -> Stream:
        return self.streams[stream]

    def capture(self, stream: int, launch: Callable[[], None]) -> list[Callable[[], None]]:
        self.n_captured += 1
        given = self.streams[stream].recording = []
        launch()
        self.streams[stream].recording = None
        return given

    def replay(self, graph: list[Callable[[], None]], stream: int) -> None:
        self.n_replayed += 1
        for work in graph:
            self.streams[stream].give(work)

    def destroy(self, *, streams: list[int], events: list[Event], graphs: list[Any]) -> None:
        for number in streams:
            self.streams.pop(number).finish()
        self.in_use -= {id(event) for event in events}


class TensorIOMode(Enum):
    INPUT, OUTPUT = 1, 2


class Strategy(Enum):
    STATIC, USER_MANAGED = 0, 2


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._shape, self._addresses = engine, engine.most, {}
        self._is_recorded, self._executed, self._scratch = False, None, 0

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self._engine.device_memory_size_v2
        self._scratch = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self._is_recorded, "a context was changed after it was recorded"
        least, _, most = self._engine.shapes
        self._shape = tuple(shape)
        return all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == "image":
            return self._shape
        batch = self._shape[0]
        return tuple(batch if isinstance(side, str) else side for side in self._engine.outputs[name].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: Stream) -> bool:
        shape, addresses = self._shape, dict(self._addresses)
        assert self._scratch
        if stream.recording is not None:
            assert self._executed == shape, "recorded before it was executed with this shape"
            self._is_recorded = True
        self._executed = shape

        def run() -> None:
            fed = {name: read(addresses[name], (), np.float32) for name in self._engine.thresholds}
            fed["image"] = read(addresses["image"], shape, np.uint8)
            for name, value in zip(self._engine.outputs, self._engine.session.run(None, fed), strict=True):
                ctypes.memmove(addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)

        stream.give(run)
        return True


def read(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)


class Engine:
    def __init__(self, plan: bytes) -> None:
        facts = json.loads(plan)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(facts["graph"], options, providers=["CPUExecutionProvider"])
        self.shapes = [tuple(shape) for shape in facts["shapes"]]
        self.most = self.shapes[2]
        self.outputs = {item.name: item for item in self.session.get_outputs()}
        self.thresholds = [item.name for item in self.session.get_overridable_initializers()]
        self._names = ["image", *self.thresholds, *self.outputs]
        self.num_io_tensors = len(self._names)

    def get_tensor_name(self, number: int) -> str:
        return self._names[number]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.OUTPUT if name in self.outputs else TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> Any:
        if name not in self.outputs:
            return np.uint8 if name == "image" else np.float32
        return {"tensor(float)": np.float32, "tensor(bool)": np.bool_}[self.outputs[name].type]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return self.shapes

    device_memory_size_v2 = 1000

    def create_execution_context(self, strategy: Strategy) -> Context:
        assert strategy == Strategy.USER_MANAGED
        return Context(self)


class Runtime:
    def __init__(self, logger: Any) -> None: ...

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            return Engine(plan)
        except ValueError:
            return None


builds = itertools.count()


def build_engine(trt: Any, graph: Any, profile: Any, timing_cache: Any = None) -> bytes:
    """As `runners.trt_engines.build_engine`."""
    shapes = [list(shape) for shape in profile.shapes]
    return json.dumps({"graph": str(graph), "shapes": shapes, "number": next(builds)}).encode()


class Logger:
    ERROR, INTERNAL_ERROR = 1, 2


def tensorrt() -> Any:
    """As the module `tensorrt`."""
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="11.0",
        Runtime=Runtime,
        TensorIOMode=TensorIOMode,
        ExecutionContextAllocationStrategy=Strategy,
        nptype=np.dtype,
        ILogger=Logger,
    )
