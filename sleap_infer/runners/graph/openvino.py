"""OpenVINO: exported models on CPUs (and Intel GPUs), without torch."""

from __future__ import annotations

import threading
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from sleap_infer.choices import Precision
from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import BackendNotInstalledError, DeviceError, ExportedModelError, OptionError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.model.onnx_safety import check_graph
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
from sleap_infer.runners.graph.openvino_precision import ARITHMETIC, FULL, find_arithmetic, has_arithmetic, keep_precise
from sleap_infer.runners.streams import StreamedRunner, Streams
from sleap_infer.system.runtimes import import_runtime, install_command

HINT = "INFERENCE_PRECISION_HINT"

_FIRST_USE = threading.Lock()
"""Two threads at once may not be the first to have OpenVINO look at numpy: they would wait for each other for good."""


class InferenceRunnerOpenVINO(StreamedRunner):
    """Runs an exported graph with OpenVINO on `cpu` or `gpu`, in the precision that it was exported in.

    Networks in fp16 and bf16 compute in 16 bits where the device has arithmetic for it, else in 32; what is before and
    behind them always does so in 32 bits.

    `backend_options` are properties of OpenVINO's compiled models (`INFERENCE_NUM_THREADS=2`,
    `INFERENCE_PRECISION_HINT="bf16"`). `streams=1` makes all CPU cores work on one image; if only
    `INFERENCE_NUM_THREADS` is given, there is one stream.

    Args:
        model: a compiled `openvino.CompiledModel` of an exported graph.
        spec: the model's facts, with what is fixed in the graph.
        settings: its resolved settings.
        returned: the large arrays that outputs carry; a graph gives no maps.
        streams: how CPU cores are divided.
    """

    backend: ClassVar[str | None] = "openvino"
    facts: ClassVar[BackendFacts] = FACTS["openvino"]
    _n_ahead: ClassVar[int] = 1

    def __init__(
        self,
        model: Any,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(spec, settings, returned, streams)
        require_export(spec, self.returned, "openvino")
        self.model = model
        self._here = threading.local()
        shape = model.input(0).partial_shape
        self._image_shape = [dim.get_length() if dim.is_static else None for dim in shape]
        self._names = [output.any_name for output in model.outputs]

    @classmethod
    def summary(cls) -> str:
        """Return OpenVINO's version, its devices, and the precisions that the CPU has arithmetic for."""
        openvino = require_openvino()
        core = openvino.Core()
        precisions = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        version = openvino.get_version().partition("-")[0]
        return f"OpenVINO {version} on {', '.join(core.available_devices)} ({precisions})"

    @classmethod
    def _require(cls, device: str) -> None:
        find_device(require_openvino().Core(), device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_export(opening.spec, opening.returned, "openvino")
        require_precision(opening.spec, opening.precision)
        openvino = require_openvino()
        core = openvino.Core()
        name = find_device(core, opening.device)
        graph = find_model_files(opening.path).weights
        check_graph(graph)
        try:
            model = core.read_model(str(graph))
        except RuntimeError as error:
            raise ExportedModelError(
                f"{graph} cannot be opened by OpenVINO {openvino.__version__} "
                f"({str(error).strip().splitlines()[-1][:160]}). Export the model again, or use backend='onnx'."
            ) from error
        _set_thresholds(model, opening.settings)
        model, numbers = _in_numbers(core, name, model, opening)
        streams, asked = Streams.read(opening, "INFERENCE_NUM_THREADS")
        division: dict[str, Any] = {}
        if name == "CPU":
            division = {
                "NUM_STREAMS": streams.n_streams,
                "INFERENCE_NUM_THREADS": streams.n_streams * streams.n_threads,
            }
        given = {HINT: numbers, "PERFORMANCE_HINT": "LATENCY", **division, **asked}
        try:
            compiled = core.compile_model(model, name, given)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise OptionError(f"OpenVINO does not take these options for {name}: {given} ({reason}).") from error
        streams = streams if name == "CPU" else Streams()
        return cls(compiled, opening.spec, opening.settings, opening.returned, streams)

    @property
    def device(self) -> str:
        """Return the device of the graph."""
        return str(self.model.get_property("EXECUTION_DEVICES")[0]).lower()

    def _work(self, images: Images) -> Candidates:
        check_size(images.shape, self._image_shape, self.spec)
        with self.stopwatch.timing("network"):
            return run_graph(self._run, images, self.spec)

    def _run(self, images: Images) -> dict[str, NDArray[Any]]:
        if not hasattr(self._here, "request"):
            self._here.request = self.model.create_infer_request()  # one for each thread
        found = self._here.request.infer({IMAGE_INPUT: images}, share_inputs=True)
        return {name: found[index] for index, name in enumerate(self._names)}

    def _close(self) -> None:
        self._here, self.model = threading.local(), None


def require_openvino() -> Any:
    """Import the openvino package.

    Raises:
        BackendNotInstalledError: it is not installed.
    """
    try:
        openvino = import_runtime("openvino")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"OpenVINO cannot be imported ({error}). Install it with: {install_command('openvino')}; if it is "
            "installed, run: sleap-infer doctor"
        ) from error
    with _FIRST_USE:
        openvino.Type.f32.to_dtype()
    return openvino


def find_device(core: Any, device: str) -> str:
    """OpenVINO's name of a device: `cpu` is `CPU`, `gpu:1` is `GPU.1`; `auto` is the CPU.

    Raises:
        DeviceError: OpenVINO does not have it here.
    """
    name = "CPU" if device == "auto" else device.upper().replace(":", ".")
    there = list(core.available_devices)
    if name not in there:
        raise DeviceError(
            f"OpenVINO has no device {device!r} here, only {', '.join(there).lower()}. Use device='cpu'; to find out "
            "more, run: sleap-infer doctor"
        )
    return name


def _set_thresholds(model: Any, settings: StageSettings) -> None:
    """Set thresholds, which OpenVINO treats as constants, before the graph is compiled."""
    opset13 = import_runtime("openvino.opset13")
    replace_node = import_runtime("openvino.utils").replace_node
    constants = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    for name, value in thresholds(settings, list(constants)).items():
        replace_node(constants[name], opset13.constant(value))


def _in_numbers(core: Any, name: str, model: Any, opening: Opening) -> tuple[Any, str]:
    """Return the model, marked if not fp32, and the arithmetic of its networks on a device."""
    facts, asked = opening.spec.exported, opening.backend_options.get(HINT)
    assert facts is not None
    arithmetic = find_arithmetic(core, name, facts) if asked is None else str(asked)
    if arithmetic == FULL:
        return model, FULL
    marked = keep_precise(core, model, facts)
    if marked is not None:
        return marked, arithmetic
    if asked is not None:
        return model, arithmetic
    message = (
        f"{opening.path} does not name the operations of its network: computing in 32-bit floats. To compute it in "
        f"{facts.precision}, export the model again."
    )
    reports().fall_back(Fallback("precision", facts.precision, "fp32", message), message)
    return model, FULL


def computes_lower(precision: Precision) -> bool:
    """Return whether OpenVINO computes blocks that are not quantized in 16 bits on this CPU.

    Raises:
        BackendNotInstalledError: OpenVINO is not installed.
    """
    numbers = ARITHMETIC.get(precision)
    return numbers is not None and has_arithmetic(require_openvino().Core(), "CPU", numbers)
