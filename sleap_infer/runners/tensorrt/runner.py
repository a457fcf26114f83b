"""TensorRT: exported models on NVIDIA GPUs without PyTorch, with `tensorrt` 10 and 11 or `tensorrt_rtx`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sleap_infer.config.options import DEFAULT_BATCH_SIZE, ReturnOptions
from sleap_infer.errors import BackendError, OptionError, UnsupportedModelError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, Pending
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.graph.io import (
    CENTROID_THRESHOLD,
    PEAK_THRESHOLD,
    Arrays,
    check_size,
    require_export,
    require_precision,
    start_graph,
    thresholds,
)
from sleap_infer.runners.tensorrt.cuda import Cuda, find_gpu
from sleap_infer.runners.tensorrt.engines import EngineStore, make_logger, require_tensorrt
from sleap_infer.runners.tensorrt.queue import EngineQueue

OPTIONS = ("flavour", "cuda_graph")

logger = logging.getLogger(__name__)


class InferenceRunnerTRT(BaseInferenceRunner):
    """Runs an exported graph with TensorRT on `cuda` or `cuda:N`, in the precision of the export.

    The engine for the GPU, driver and image size is stored beside the graph, and built once if there is none, which may
    take minutes. `backend_options`: `flavour` (`"tensorrt"` or `"tensorrt_rtx"`; default: the installed one) and
    `cuda_graph` (whether batches are replayed as one launch; default: true).

    Args:
        store: engines of the graph.
        cuda: the GPU.
        spec: the exported model's facts.
        settings: its resolved settings.
        returned: the large arrays that outputs carry; a graph has no maps.
        at_once: batch size of engines that are built.
        records: whether batches are replayed as CUDA graphs.
    """

    backend: ClassVar[str | None] = "tensorrt"
    facts: ClassVar[BackendFacts] = FACTS["tensorrt"]

    def __init__(
        self,
        store: EngineStore,
        cuda: Cuda,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        at_once: int = DEFAULT_BATCH_SIZE,
        records: bool = True,
    ) -> None:
        super().__init__(spec, settings, returned)
        require_export(spec, self.returned, "tensorrt")
        self._store, self._cuda, self._at_once, self._records = store, cuda, at_once, records
        self._thresholds = thresholds(settings, [PEAK_THRESHOLD, CENTROID_THRESHOLD])
        self._runtime: Any = None
        self._queues: dict[tuple[int, ...], EngineQueue] = {}

    @classmethod
    def summary(cls) -> str:
        """Return TensorRT's version and the GPU."""
        trt = require_tensorrt()
        return f"{trt.__name__} {trt.__version__} on {find_gpu('cuda').name}"

    @classmethod
    def _require(cls, device: str) -> None:
        require_tensorrt()
        find_gpu(device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_export(opening.spec, opening.returned, "tensorrt")
        require_precision(opening.spec, opening.precision)
        unknown = [name for name in opening.backend_options if name not in OPTIONS]
        if unknown:
            raise OptionError(f"backend option {unknown[0]!r} is unknown to tensorrt: it has {', '.join(OPTIONS)}.")
        facts = opening.spec.exported
        assert facts is not None
        if facts.made_by == "sleap-nn" or facts.layout == "flat":
            raise UnsupportedModelError(
                f"{opening.path} is not run with TensorRT: it was made by {facts.made_by}, with {facts.layout} "
                "outputs. Export the trained model with: sleap-infer export MODEL --format tensorrt -o DIR"
            )
        trt = require_tensorrt(opening.backend_options.get("flavour"))
        gpu = find_gpu(opening.device)  # first, because TensorRT crashes without a driver
        store = EngineStore(trt, find_model_files(opening.path).weights, facts.sha256, facts.precision, gpu)
        records = bool(opening.backend_options.get("cuda_graph", True))
        return cls(store, Cuda(gpu.index), opening.spec, opening.settings, opening.returned, opening.at_once, records)

    @property
    def device(self) -> str:
        """Return the device of the graph."""
        return f"cuda:{self._cuda.index}"

    @property
    def runs_beside(self) -> bool:
        """Return True."""
        return True

    def _predict(self, images: Images) -> Candidates:
        return self._start(images)()

    def _start(self, images: Images) -> Pending:
        queue = self._queue(tuple(images.shape))

        def run(part: NDArray[np.uint8]) -> Callable[[], Arrays]:
            return queue.start(part).take

        return start_graph(run, images, self.spec, queue.max_batch, queue.padded)

    def _queue(self, shape: tuple[int, ...]) -> EngineQueue:
        """Return the engine for images of a size."""
        if shape[1:] not in self._queues:
            self._queues[shape[1:]] = self._open_engine(shape)
        return self._queues[shape[1:]]

    def _open_engine(self, shape: tuple[int, ...]) -> EngineQueue:
        facts = self.spec.exported
        assert facts is not None
        size = facts.input_size or (None, None)
        check_size(shape, [None, None, *(size if facts.inside == "fitting" else (None, None))], self.spec)
        trt = self._store.trt
        self._cuda.use()
        if self._runtime is None:
            self._runtime = trt.Runtime(make_logger(trt))
        path, profile = self._store.get(shape, self._at_once)
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            logger.warning("%s is damaged, or does not run on this GPU: building it again", path.name)
            path = self._store.make(profile)
            engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BackendError(
                f"{trt.__name__} {trt.__version__} cannot load {path}, which it has just built. Run: sleap-infer doctor"
            )
        wanted = {name: value for name, value in self._thresholds.items() if name in _inputs(engine)}
        return EngineQueue(trt, engine, self._cuda, wanted, self._records)

    def _close(self) -> None:
        for queue in self._queues.values():
            queue.close()
        self._queues, self._runtime = {}, None


def _inputs(engine: Any) -> list[str]:
    return [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
