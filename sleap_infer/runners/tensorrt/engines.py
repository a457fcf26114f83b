"""TensorRT engines of exported graphs: built from the ONNX file, stored, and rebuilt when anything changes.

An engine runs only on the type of GPU, the driver and the version of TensorRT it was built for. Its name is a digest of
these facts. It is stored beside its graph (or in the cache directory, if that is read-only) with a JSON file of the
facts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from attrs import frozen

from sleap_infer.config.plain import from_plain
from sleap_infer.errors import BackendError, BackendNotInstalledError, ExportedModelError, OptionError
from sleap_infer.model.onnx_safety import check_graph
from sleap_infer.model.readers.sleap_nn_exports.onnx_constants import without_initializers
from sleap_infer.reports import reports
from sleap_infer.runners.graph.io import CENTROID_THRESHOLD, IMAGE_INPUT, PEAK_THRESHOLD
from sleap_infer.runners.tensorrt.cuda import Gpu
from sleap_infer.runners.tensorrt.timings import read_timings, write_timings
from sleap_infer.system.cache_directory import cache_directory, is_private, make_private, require_private
from sleap_infer.system.digest import digest, file_digest
from sleap_infer.system.files import replacing
from sleap_infer.system.runtimes import NVIDIA_INDEX, import_runtime, install_command

Range: TypeAlias = tuple[int, int, int]
"""Minimum, optimum, maximum."""

FLAVOURS = ("tensorrt", "tensorrt_rtx")
"""Modules with the same interface. The second is for consumer GPUs, and builds without a GPU."""

ANY_GPU = "any"
"""GPU of engines that tensorrt_rtx built on a machine without one."""

WORKSPACE = 4 << 30

logger = logging.getLogger(__name__)


@frozen
class Profile:
    """Sizes of images of an engine, each as minimum, optimum and maximum."""

    batch: Range
    channels: Range
    height: Range
    width: Range

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return (B, C, H, W) of the minimum, the optimum and the maximum."""
        return tuple(zip(self.batch, self.channels, self.height, self.width, strict=True))

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Return whether images (B, C, H, W) are within the ranges; larger batches are split."""
        least, _, most = self.shapes
        return all(low <= side <= high for low, side, high in zip(least[1:], shape[1:], most[1:], strict=True))

    @classmethod
    def of(cls, shape: tuple[int, ...], at_once: int) -> Profile:
        """Return the profile for images of one size, up to `at_once` per batch.

        >>> Profile.of((2, 1, 384, 512), 4).shapes
        ((1, 1, 384, 512), (4, 1, 384, 512), (4, 3, 384, 512))
        """
        most = max(shape[0], at_once)
        _, channels, height, width = shape
        return cls((1, most, most), (1, channels, 3), (height,) * 3, (width,) * 3)


@frozen
class EngineFacts:
    """Facts of an engine: its graph and its target.

    Attributes:
        graph_sha256: of the ONNX file.
        flavour: the module that built it, `"tensorrt"` or `"tensorrt_rtx"`.
        version: of that module.
        gpu: name of the GPU.
        compute_capability: of that GPU.
        driver: newest CUDA version of the driver.
        precision: of the graph.
        profile: sizes of images.
    """

    graph_sha256: str
    flavour: str
    version: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    profile: Profile

    @property
    def key(self) -> str:
        """Return a digest of the facts."""
        return digest(attrs.asdict(self), 16)

    def anywhere(self) -> EngineFacts:
        """Return the facts of an engine that was built without a GPU and runs on any."""
        return attrs.evolve(self, gpu=ANY_GPU, compute_capability=ANY_GPU, driver=ANY_GPU)


def require_tensorrt(flavour: str | None = None) -> Any:
    """Import the module `tensorrt`, or else `tensorrt_rtx`.

    Args:
        flavour: the requested module; `None`: the installed one.

    Raises:
        BackendNotInstalledError: neither can be imported.
        OptionError: there is no such flavour.
    """
    if flavour not in (None, *FLAVOURS):
        raise OptionError(f"flavour={flavour!r}: expected one of {', '.join(FLAVOURS)}.")
    reasons = []
    for name in (flavour,) if flavour else FLAVOURS:
        try:
            return import_runtime(name)
        except (ImportError, OSError) as error:  # its libraries may be missing
            reasons.append(f"{name}: {error}")
    raise BackendNotInstalledError(
        f"TensorRT cannot be imported ({'; '.join(reasons)}). Install it with: "
        f"{install_command('tensorrt', NVIDIA_INDEX)}, or, for RTX GPUs: {install_command('tensorrt-rtx')}; if it is "
        "installed, run: sleap-infer doctor"
    )


class EngineStore:
    """Engines of one graph.

    Args:
        trt: the TensorRT module.
        graph: an ONNX file.
        sha256: of that file.
        precision: of the graph.
        gpu: target of the engines; `None`: any, which only tensorrt_rtx can build.
    """

    def __init__(self, trt: Any, graph: Path, sha256: str, precision: str, gpu: Gpu | None) -> None:
        self.trt, self.graph, self.gpu = trt, graph, gpu
        self._reports = reports()
        self._common = {
            "graph_sha256": sha256,
            "flavour": trt.__name__,
            "version": trt.__version__,
            "precision": precision,
            "gpu": gpu.name if gpu else ANY_GPU,
            "compute_capability": gpu.compute_capability if gpu else ANY_GPU,
            "driver": gpu.driver if gpu else ANY_GPU,
        }

    def facts(self, profile: Profile) -> EngineFacts:
        """Return the facts of an engine for this GPU."""
        return EngineFacts(**self._common, profile=profile)

    def find(self, shape: tuple[int, ...]) -> tuple[Path, Profile] | None:
        """Return an engine for this GPU, driver and version, and images (B, C, H, W), if there is one."""
        for path in self._stored():
            facts = read_facts(path)
            if facts is not None and facts.profile.holds(shape) and path.stem.endswith(facts.key):
                wanted = self.facts(facts.profile)
                is_for_this = facts == (wanted if facts.gpu != ANY_GPU else wanted.anywhere())
                if is_for_this and is_sound(path):
                    return path, facts.profile
        return None

    def get(self, shape: tuple[int, ...], at_once: int) -> tuple[Path, Profile]:
        """Return an engine for images (B, C, H, W); build one if there is none.

        Raises:
            ExportedModelError: TensorRT rejects the graph.
            BackendError: the engine cannot be built or stored.
        CacheError: other users may write to the cache.
        """
        found = self.find(shape)
        if found is not None:
            return found
        profile = Profile.of(shape, at_once)
        return self.make(profile), profile

    def make(self, profile: Profile) -> Path:
        """Build and store an engine.

        Raises:
            ExportedModelError: TensorRT rejects the graph.
            BackendError: the engine cannot be built or stored.
        """
        facts = self.facts(profile)
        best = " x ".join(map(str, profile.shapes[1]))
        self._reports.progress(f"building a {facts.flavour} engine of {self.graph.name} for images of {best}, once")
        start = time.perf_counter()
        plan = build_engine(self.trt, self.graph, profile, self._timing_cache())
        self._reports.progress(f"built in {time.perf_counter() - start:.1f} s")
        for folder in self._folders():
            try:
                return _store(folder, self.graph.stem, plan, facts)
            except OSError as error:
                reason = error
        raise BackendError(
            f"The engine cannot be stored: {reason}. Set SLEAP_INFER_CACHE to a directory that can be written."
        )

    def _folders(self) -> Iterator[Path]:
        if is_private(self.graph.parent):  # an engine is code
            yield self.graph.parent
        folder = cache_directory("engines") / str(self._common["graph_sha256"])[:16]
        require_private(folder)
        yield folder

    def _stored(self) -> Iterator[Path]:
        for folder in self._folders():
            yield from sorted(folder.glob(f"{self.graph.stem}.*.engine"))

    def _timing_cache(self) -> Path | None:
        """Where measurements of tactics are kept; tensorrt_rtx, which chooses them when it runs, has none."""
        facts = self._common
        if facts["flavour"] != "tensorrt":
            return None
        kind = f"{facts['flavour']}-{facts['version']}-sm{facts['compute_capability']}"
        return cache_directory("engines") / f"{kind}.timing"


def build_engine(trt: Any, graph: Path, profile: Profile, timing_cache: Path | None = None) -> bytes:
    """Build an engine. The thresholds of the graph become inputs; what it computes in is what the graph says.

    Args:
        trt: the TensorRT module.
        graph: an ONNX file.
        profile: sizes of images.
        timing_cache: a file with measurements of earlier builds, which is used and added to.

    Raises:
        ExportedModelError: TensorRT rejects the graph.
        BackendError: the engine cannot be built.
    """
    log = make_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    check_graph(graph)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(without_initializers(graph.read_bytes(), (PEAK_THRESHOLD, CENTROID_THRESHOLD))):
        reasons = "; ".join(str(parser.get_error(number).desc()) for number in range(parser.num_errors))
        raise ExportedModelError(
            f"{trt.__name__} {trt.__version__} does not take {graph}: {reasons[:400]}. Export it again with --format "
            "tensorrt."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(trt.BuilderFlag.TF32)  # 32-bit floats are to be 32 bits
    shapes = builder.create_optimization_profile()
    shapes.set_shape(IMAGE_INPUT, *_fitting(network, profile))
    config.add_optimization_profile(shapes)
    measured = read_timings(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.last() or "it gave no reason"
        raise BackendError(f"{trt.__name__} {trt.__version__} could not build an engine of {graph}: {reason}.")
    write_timings(measured, timing_cache)
    return bytes(plan)


def make_logger(trt: Any) -> Any:
    """Create a logger that passes warnings and errors to `logging` and stores the last error."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Log a message of TensorRT."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._errors.append(message)
                logger.debug("%s", message)

        def last(self) -> str:
            """Return the last error."""
            return self._errors[-1][:400] if self._errors else ""

    return Logger()


def read_facts(engine: Path) -> EngineFacts | None:
    """Read the JSON beside an engine; `None` if there is none, or it is malformed."""
    try:
        return from_plain(EngineFacts, json.loads(engine.with_suffix(".json").read_text(encoding="utf-8"))["engine"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_sound(engine: Path) -> bool:
    """Return whether an engine file is undamaged; warn if it is not."""
    try:
        expected = json.loads(engine.with_suffix(".json").read_text(encoding="utf-8"))["engine_sha256"]
        is_same = file_digest(engine) == expected
    except (OSError, ValueError, KeyError, TypeError):
        is_same = False
    if not is_same:
        logger.warning("the engine %s is damaged: it is built again", engine)
    return is_same


def _fitting(network: Any, profile: Profile) -> list[tuple[int, ...]]:
    """Return a profile's shapes, with the fixed sizes of the graph."""
    shape = next(
        tuple(network.get_input(n).shape) for n in range(network.num_inputs) if network.get_input(n).name == IMAGE_INPUT
    )
    return [tuple(f if f >= 0 else side for f, side in zip(shape, wanted, strict=True)) for wanted in profile.shapes]


def _store(folder: Path, stem: str, plan: bytes, facts: EngineFacts) -> Path:
    """Write an engine and its JSON; the engine last, so that what has its name is whole."""
    make_private(folder)
    engine = folder / f"{stem}.{facts.key}.engine"
    said = {"engine": attrs.asdict(facts), "engine_sha256": hashlib.sha256(plan).hexdigest()}
    _write(engine.with_suffix(".json"), json.dumps(said, indent=1).encode())
    _write(engine, plan)
    return engine


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as beside:
        beside.write_bytes(data)
