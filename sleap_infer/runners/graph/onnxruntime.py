"""ONNX Runtime: exported models without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import DeviceError, OptionError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.model.onnx_graph import ERRORS_ONLY, open_graph, require_onnxruntime
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.reports import Fallback, reports
from sleap_infer.runners.base import Images, Opening
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.graph.io import (
    IMAGE_INPUT,
    check_size,
    require_export,
    require_precision,
    run_graph,
    thresholds,
)
from sleap_infer.runners.graph.onnxruntime_bound import BoundSession
from sleap_infer.runners.streams import StreamedRunner, Streams

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class InferenceRunnerONNX(StreamedRunner):
    """Runs an exported graph with ONNX Runtime on `cpu`, `cuda` or `cuda:N`; with CUDA, it never falls back to the CPU.

    `backend_options` are attributes of `onnxruntime.SessionOptions` (`intra_op_num_threads=2`), or else options of the
    execution provider (`cudnn_conv_algo_search="HEURISTIC"`; `enable_cuda_graph=1` replays each size of batch as one
    launch). `streams=1` makes all CPU cores work on one image; if only `intra_op_num_threads` is given, there is one
    stream. `provider="tensorrt"` uses ONNX Runtime's TensorRT provider, which needs TensorRT 10. Graphs take uint8;
    float images are rounded. On a GPU, memory of inputs and outputs is allocated once.

    Args:
        session: an opened `onnxruntime.InferenceSession` of an exported graph.
        spec: the exported model's facts.
        settings: its resolved settings.
        returned: the large arrays that outputs carry; a graph has no maps.
        records: whether the session was opened with `enable_cuda_graph`.
        streams: how CPU cores are divided; the session has the threads of one stream.
    """

    backend: ClassVar[str | None] = "onnx"
    facts: ClassVar[BackendFacts] = FACTS["onnx"]
    _depends_on_batch: ClassVar[bool] = True

    def __init__(
        self,
        session: Any,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        records: bool = False,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(spec, settings, returned, streams)
        require_export(spec, self.returned, "onnx")
        self.session = session
        inputs = {item.name: item.shape for item in session.get_inputs()}
        inputs |= {item.name: item.shape for item in session.get_overridable_initializers()}
        self._image_shape = inputs.get(IMAGE_INPUT, [])
        self._thresholds = thresholds(settings, list(inputs))
        self._names = [item.name for item in session.get_outputs()]
        self._bound = None
        if self.device != "cpu":
            self.streams = Streams()
            self._bound = BoundSession(session, self.device, self._thresholds, records)

    @classmethod
    def summary(cls) -> str:
        """Return ONNX Runtime's version and its execution providers."""
        onnxruntime = require_onnxruntime()
        built = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
        return f"ONNX Runtime {onnxruntime.__version__}, built for {built}"

    @classmethod
    def _require(cls, device: str) -> None:
        find_provider(device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_export(opening.spec, opening.returned, "onnx")
        require_precision(opening.spec, opening.precision)
        streams, given = Streams.read(opening, "intra_op_num_threads")
        options, for_provider = session_options(given, streams.n_threads)
        by_tensorrt = read_provider(for_provider.pop("provider", None))
        provider, own = find_provider("cuda" if by_tensorrt and opening.device == "auto" else opening.device)
        if provider == CPU and (for_provider or by_tensorrt):
            raise OptionError(
                f"backend option {next(iter(for_provider), 'provider')!r} is unknown: neither "
                "onnxruntime.SessionOptions nor the CPU has it."
            )
        if by_tensorrt:
            providers: list[Any] = [(TENSORRT, {"device_id": own["device_id"], **for_provider}), (CUDA, own), CPU]
        else:
            providers = [(provider, {**own, **for_provider}), *([CPU] if provider != CPU else [])]
        session = open_graph(find_model_files(opening.path).weights, providers, options)
        _check_provider(session, TENSORRT if by_tensorrt else provider, "cuda" if by_tensorrt else opening.device)
        records = str(for_provider.get("enable_cuda_graph", 0)) in ("1", "True")
        return cls(session, opening.spec, opening.settings, opening.returned, records, streams)

    @property
    def device(self) -> str:
        """Return the device of the graph."""
        if self.session.get_providers()[0] not in (CUDA, TENSORRT):
            return "cpu"
        return f"cuda:{self.session.get_provider_options()[CUDA].get('device_id', 0)}"

    def infer_bound(self, images: Any) -> dict[str, Any]:
        """Run the graph on images on its device, and leave the outputs there.

        Args:
            images: (B, C, H, W) uint8 from `preprocess_image`; anything with `__dlpack__`, such as a CUDA
                tensor, or an `onnxruntime.OrtValue`.

        Returns:
            The graph's own outputs by name as `onnxruntime.OrtValue`, which have `__dlpack__` and `numpy()`.
        """
        onnxruntime = require_onnxruntime()
        value = images if isinstance(images, onnxruntime.OrtValue) else onnxruntime.OrtValue.from_dlpack(images)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(IMAGE_INPUT, value)
        for name, threshold in self._thresholds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(threshold))
        kind, _, index = self.device.partition(":")
        for name in self._names:
            binding.bind_output(name, kind, int(index or 0))
        self.session.run_with_iobinding(binding)
        return dict(zip(self._names, binding.get_outputs(), strict=True))

    def _work(self, images: Images) -> Candidates:
        check_size(images.shape, self._image_shape, self.spec)
        with self.stopwatch.timing("network"):
            return run_graph(self._run, images, self.spec)

    def _run(self, images: Images) -> dict[str, NDArray[Any]]:
        if self._bound is not None:
            return self._bound.run(images)
        fed = {IMAGE_INPUT: images, **self._thresholds}
        return dict(zip(self._names, self.session.run(self._names, fed), strict=True))

    def _close(self) -> None:
        self.session = self._bound = None


def session_options(given: Mapping[str, Any], n_threads: int) -> tuple[Any, dict[str, Any]]:
    """`SessionOptions` with our defaults and what was given for them, and the rest, which is for the provider.

    Raises:
        OptionError: a value is of the wrong type.
    """
    options = require_onnxruntime().SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = n_threads
    # Threads that spin while they wait would take the cores from decoding and grouping.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    rest = {}
    for name, value in given.items():
        if not hasattr(options, name):
            rest[name] = value
            continue
        kind = type(getattr(options, name))
        try:
            setattr(options, name, kind(value))
        except (TypeError, ValueError) as error:
            raise OptionError(f"backend option {name}={value!r}: expected a value of type {kind.__name__}.") from error
    return options, rest


def read_provider(name: Any) -> bool:
    """Return whether ONNX Runtime's TensorRT provider is asked for.

    Raises:
        OptionError: another one is.
    """
    if name not in (None, "cuda", "tensorrt"):
        raise OptionError(f"backend option provider={name!r}: expected 'cuda' or 'tensorrt'.")
    return name == "tensorrt"


def find_provider(device: str) -> tuple[str, dict[str, Any]]:
    """ONNX Runtime's provider for a device, and its options.

    Raises:
        DeviceError: there is no such device here.
    """
    onnxruntime = require_onnxruntime()
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return CPU, {}
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "auto" and not has_cuda:
        return CPU, {}
    if device != "auto" and (kind != "cuda" or (index and not index.isdigit())):
        raise DeviceError(f"ONNX Runtime is not run on {device!r} here. Use auto, cpu, cuda or cuda:N.")
    if not has_cuda:
        raise DeviceError(
            f"Device {device!r} is not there: this ONNX Runtime {onnxruntime.__version__} was built without CUDA. "
            "Install onnxruntime-gpu instead of onnxruntime, or use device='cpu'."
        )
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN from the packages of PyTorch or NVIDIA, where these are installed
    return CUDA, {"device_id": int(index or 0), "use_tf32": 0}


def _check_provider(session: Any, wanted: str, device: str) -> None:
    """ONNX Runtime goes on without a provider that it cannot load; we do so only where any device will do, and say it.

    Raises:
        DeviceError: a device was asked for that is not used.
    """
    if session.get_providers()[0] == wanted:
        return
    version = require_onnxruntime().__version__
    if wanted == TENSORRT:
        raise DeviceError(
            f"ONNX Runtime {version} could not use its TensorRT provider. It needs an NVIDIA GPU, CUDA 13, cuDNN 9 and "
            "TensorRT 10 (libnvinfer.so.10; TensorRT 11 does not serve it). Use backend='tensorrt' instead, or run: "
            "sleap-infer doctor"
        )
    found = (
        f"ONNX Runtime {version} could not use CUDA. It needs an NVIDIA driver, CUDA 13 and cuDNN 9: "
        "pip install 'onnxruntime-gpu[cuda,cudnn]'; to find out more, run: sleap-infer doctor"
    )
    if device != "auto":
        raise DeviceError(f"{found}; or use device='cpu'.")
    reports().fall_back(Fallback("device", "cuda", "cpu", f"{found}."), f"{found}. Running on the CPU.")
