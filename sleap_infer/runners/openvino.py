"""OpenVINO: exported models on CPUs (and Intel GPUs), without torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from sleap_infer.candidates import Candidates
from sleap_infer.choices import Backend, Precision
from sleap_infer.errors import BackendNotInstalledError, DeviceError, ExportedModelError, OptionError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.options import ReturnOptions
from sleap_infer.runners.base import BaseInferenceRunner, Images
from sleap_infer.runners.graph_io import IMAGE_INPUT, check_size, require_export, run_graph, thresholds
from sleap_infer.settings import StageSettings

COMPUTES_IN: Mapping[Precision, str] = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's precision for what is not quantized. Left to itself it takes bf16 where a CPU has it."""

logger = logging.getLogger(__name__)


class InferenceRunnerOpenVINO(BaseInferenceRunner):
    """Runs an exported graph with OpenVINO on `cpu` or `gpu`, in the precision that it was exported in.

    `backend_options` are properties of OpenVINO's compiled models (`INFERENCE_NUM_THREADS=2`,
    `INFERENCE_PRECISION_HINT="bf16"`).

    Args:
        model: a compiled `openvino.CompiledModel` of an exported graph.
        spec: the model's facts, with what is fixed in the graph.
        settings: its resolved settings.
        returned: the heavy things that outputs carry; a graph gives no maps.
    """

    backend: ClassVar[Backend | None] = "openvino"

    def __init__(
        self, model: Any, spec: ModelSpec, settings: StageSettings, returned: ReturnOptions | None = None
    ) -> None:
        super().__init__(spec, settings, returned)
        require_export(spec, self.returned, "openvino")
        self.model = model
        self._request = model.create_infer_request()
        shape = model.input(0).partial_shape
        self._image_shape = [dim.get_length() if dim.is_static else None for dim in shape]
        self._names = [output.any_name for output in model.outputs]

    @classmethod
    def _open(
        cls,
        path: Path,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions,
        device: str,
        backend_options: Mapping[str, Any],
    ) -> Self:
        require_export(spec, returned, "openvino")
        openvino = require_openvino()
        core = openvino.Core()
        name = find_device(core, device)
        graph = find_model_files(path).weights
        try:
            model = core.read_model(str(graph))
        except RuntimeError as error:
            raise ExportedModelError(
                f"{graph} cannot be opened by OpenVINO {openvino.__version__} "
                f"({str(error).strip().splitlines()[-1][:160]}). Export the model again, or use backend='onnx'."
            ) from error
        _set_thresholds(model, settings)
        assert spec.exported is not None
        precision = COMPUTES_IN[spec.exported.precision]
        _say_if_slower(core, name, precision)
        given = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", **backend_options}
        try:
            return cls(core.compile_model(model, name, given), spec, settings, returned)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise OptionError(f"OpenVINO does not take these options for {name}: {given} ({reason}).") from error

    @property
    def device(self) -> str:
        """Where the graph runs."""
        return str(self.model.get_property("EXECUTION_DEVICES")[0]).lower()

    def _predict(self, images: Images) -> Candidates:
        check_size(images.shape, self._image_shape, self.spec)
        return run_graph(self._run, images, self.spec)

    def _run(self, images: Images) -> dict[str, NDArray[Any]]:
        found = self._request.infer({IMAGE_INPUT: images}, share_inputs=True)
        return {name: found[index] for index, name in enumerate(self._names)}

    def _close(self) -> None:
        self._request = self.model = None


def require_openvino() -> Any:
    """The openvino package.

    Raises:
        BackendNotInstalledError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise BackendNotInstalledError(
            f"OpenVINO cannot be imported ({error}). Install it with: pip install 'sleap-infer[openvino]'"
        ) from error
    return openvino


def find_device(core: Any, device: str) -> str:
    """OpenVINO's name of a device: `cpu` is `CPU`, `gpu:1` is `GPU.1`; `auto` is the CPU.

    Raises:
        DeviceError: OpenVINO does not have it here.
    """
    name = "CPU" if device == "auto" else device.upper().replace(":", ".")
    there = list(core.available_devices)
    if name not in there:
        raise DeviceError(f"OpenVINO has no device {device!r} here, only {', '.join(there).lower()}. Use device='cpu'.")
    return name


def _set_thresholds(model: Any, settings: StageSettings) -> None:
    """Thresholds, which OpenVINO takes for constants: give them their value before the graph is compiled."""
    from openvino import opset13
    from openvino.utils import replace_node

    constants = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    for name, value in thresholds(settings, list(constants)).items():
        replace_node(constants[name], opset13.constant(value))


def _say_if_slower(core: Any, name: str, precision: str) -> None:
    """Say where a CPU has no arithmetic in bf16, and computes in 32 bits instead."""
    if precision == "bf16" and "BF16" not in core.get_property(name, "OPTIMIZATION_CAPABILITIES"):
        logger.warning("%s has no bf16 arithmetic: computing in 32-bit floats, which is slower.", name)
