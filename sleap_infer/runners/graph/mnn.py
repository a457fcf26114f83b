"""MNN: exported models on CPUs, with 3x3 convolutions by Winograd's algorithm in fp32.

Winograd, S. (1980), Arithmetic Complexity of Computations; for convolutions: Lavin & Gray (2016), arXiv:1509.09308.
MNN runs the networks; ONNX Runtime runs what is before, between and behind them.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import OptionError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.model.onnx_graph import open_graph
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.base import Images, Opening
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.graph.io import IMAGE_INPUT, require_export, require_precision, run_graph, thresholds
from sleap_infer.runners.graph.mnn_network import MnnNetwork, require_mnn
from sleap_infer.runners.graph.mnn_parts import find_parts
from sleap_infer.runners.graph.onnxruntime import session_options
from sleap_infer.runners.graph.split import Part
from sleap_infer.runners.streams import StreamedRunner, Streams

MAX_SHAPES = 4
"""Networks, each for images of one shape, that a thread keeps. Each has a copy of the weights."""


class InferenceRunnerMNN(StreamedRunner):
    """Runs the networks of an exported graph with MNN on `cpu`, and the rest with ONNX Runtime.

    Networks are converted once, to the cache, unless the export has them (`export --format mnn`).

    `backend_options`: `numThread=2` threads for one image. `streams=1` makes all CPU cores work on one image; if only
    `numThread` is given, there is one stream.

    Args:
        folder: the parts of a graph (`mnn_parts.find_parts`).
        parts: the same.
        spec: the exported model's facts.
        settings: its resolved settings.
        returned: the large arrays that outputs carry; a graph has no maps.
        streams: how CPU cores are divided.
    """

    backend: ClassVar[str | None] = "mnn"
    facts: ClassVar[BackendFacts] = FACTS["mnn"]

    def __init__(
        self,
        folder: Path,
        parts: tuple[Part, ...],
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(spec, settings, returned, streams)
        require_export(spec, self.returned, "mnn")
        self._folder, self._parts = folder, parts
        options, _ = session_options({}, self.streams.n_threads)
        self._sessions = {
            part.name: open_graph(folder / part.name, options=options) for part in parts if not part.is_network
        }
        self._thresholds = thresholds(settings, [name for part in parts for name in part.inputs])
        self._here = threading.local()

    @classmethod
    def summary(cls) -> str:
        """Return MNN's version."""
        return f"MNN {require_mnn().version()}"

    @classmethod
    def _require(cls, device: str) -> None:
        super()._require(device)
        require_mnn()

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_export(opening.spec, opening.returned, "mnn")
        require_precision(opening.spec, opening.precision)
        cls._require(opening.device)
        facts = opening.spec.exported
        if facts is not None and facts.precision not in cls.facts.precisions:
            raise OptionError(
                f"MNN computes in fp32 only, and {opening.spec.path} was exported in {facts.precision}. Use "
                "backend='openvino' or 'onnx', or export the model again in fp32."
            )
        streams, rest = Streams.read(opening, "numThread")
        if rest:
            raise OptionError(f"backend option {next(iter(rest))!r} is unknown: MNN has streams and numThread.")
        folder, parts = find_parts(find_model_files(opening.path).weights)
        return cls(folder, parts, opening.spec, opening.settings, opening.returned, streams)

    def _images_at_once(self, images: Images) -> int:
        """Return 1: batches are no faster on MNN, and the last digits would depend on their size."""
        assert self.spec.exported is not None
        return self.spec.exported.batch_size or 1

    def _work(self, images: Images) -> Candidates:
        with self.stopwatch.timing("network"):
            return run_graph(self._run, images, self.spec)

    def _run(self, images: Images) -> dict[str, NDArray[Any]]:
        values: dict[str, NDArray[Any]] = {IMAGE_INPUT: images, **self._thresholds}
        for part in self._parts:
            if part.is_network:
                given = values[part.inputs[0]]
                values |= self._network(part, given.shape).run(given)
            else:
                fed = {name: values[name] for name in part.inputs}
                values |= zip(part.outputs, self._sessions[part.name].run(list(part.outputs), fed), strict=True)
        return values

    def _network(self, part: Part, shape: tuple[int, ...]) -> MnnNetwork:
        """Return the network of the calling thread for images of a shape."""
        networks: dict[tuple[str, tuple[int, ...]], MnnNetwork] = self._here.__dict__.setdefault("networks", {})
        found = networks.pop((part.name, shape), None)
        if found is None:
            found = MnnNetwork(self._folder / part.name, part, shape, self.streams.n_threads or 1)
            if len(networks) >= MAX_SHAPES:
                del networks[next(iter(networks))]
        networks[part.name, shape] = found  # the last one was used last
        return found

    def _close(self) -> None:
        self._here, self._sessions = threading.local(), {}
