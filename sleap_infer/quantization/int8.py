"""Static int8 quantization of the network in a graph (QDQ), with ONNX Runtime's tool.

Weights are signed, with one scale per output channel. Activations are unsigned with a zero point, which is fastest on
CPUs; or symmetric around zero with biases in fp32, as TensorRT requires. Operations before and after the network are
not quantized.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.errors import BackendNotInstalledError, OptionError
from sleap_infer.graphs.blocks import QUANTIZED, layer_groups
from sleap_infer.graphs.weights import write_weights
from sleap_infer.model.onnx_graph import ERRORS_ONLY
from sleap_infer.quantization.gptq_graph import Rounded, values_of
from sleap_infer.quantization.qdq_cleanup import remove_qdq
from sleap_infer.runners.graph.io import IMAGE_INPUT
from sleap_infer.system.runtimes import import_runtime, install_command

SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}


@frozen
class Ranges:
    """Ranges of all activations of a graph, measured once on real images.

    Attributes:
        graph: the graph in fp32.
        tensors: ranges by tensor name, in the tool's format.
        groups: names of operations by group of layers, in execution order.
    """

    graph: Path
    tensors: Any
    groups: Mapping[str, tuple[str, ...]]


def measure_ranges(graph: Path, images: Sequence[NDArray[np.uint8]]) -> Ranges:
    """Run a graph in fp32 on images and measure the range of every activation of its network.

    Args:
        graph: an ONNX file.
        images: batches (B, C, H, W).

    Raises:
        BackendNotInstalledError: the quantization tool is missing.
        OptionError: there are no images, or the graph has no layer that can be quantized.
    """
    calibrate = _tool("calibrate")
    import_runtime("onnxruntime").set_default_logger_severity(ERRORS_ONLY)
    if not images:
        raise OptionError("int8 needs images to measure ranges on, and the calibration frames gave none.")
    groups = layer_groups(graph)
    if not groups:
        raise OptionError(f"{graph} has no layer that can be quantized.")
    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            graph,
            list(QUANTIZED),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=calibrate.CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(images, _takes_any_number(graph)))
        return Ranges(graph, calibrator.compute_data(), groups)


def quantize(
    ranges: Ranges,
    output: Path,
    excluded: Iterable[str] = (),
    symmetric: bool = False,
    rounded: Sequence[Rounded] = (),
) -> None:
    """Write a graph whose network is quantized, except for some groups of layers.

    Args:
        ranges: of the graph in fp32.
        output: file to write.
        excluded: names of groups that stay in fp32.
        symmetric: whether activations are symmetric around zero, for TensorRT.
        rounded: layers with weights rounded with GPTQ; weights of others are rounded to nearest.
    """
    import onnx
    from onnx import helper

    quantization = _tool("qdq_quantizer")
    types = _tool("quant_utils").QuantType
    model = onnx.load(str(ranges.graph))
    properties = {item.key: item.value for item in model.metadata_props}
    excluded = set(excluded)
    chosen = [name for group, names in ranges.groups.items() if group not in excluded for name in names]
    every = [node.name for node in model.graph.node]
    rounded = [item for item in rounded if item.layer.name in chosen]
    write_weights(model, values_of(rounded))
    quantizer = quantization.QDQQuantizer(
        onnx.shape_inference.infer_shapes(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=types.QInt8,
        activation_qType=types.QInt8 if symmetric else types.QUInt8,
        tensors_range=ranges.tensors,
        nodes_to_quantize=chosen,
        nodes_to_exclude=sorted(set(every) - set(chosen)),
        op_types_to_quantize=list(QUANTIZED),
        extra_options={
            "ForceQuantizeNoInputCheck": False,
            "QDQKeepRemovableActivations": True,
            "TensorQuantOverrides": {item.layer.weights: _steps(item) for item in rounded},
            **(SYMMETRIC if symmetric else {}),
        },
    )
    if chosen:
        quantizer.quantize_model()
        remove_qdq(quantizer.model.model.graph, chosen)
    helper.set_model_props(quantizer.model.model, properties)
    onnx.save(quantizer.model.model, str(output))


def _steps(item: Rounded) -> list[dict[str, Any]]:
    """Return the scales of a layer's weights in the tool's format."""
    assert item.scales is not None
    return [{"axis": item.layer.axis, "scale": scale, "zero_point": np.int8(0)} for scale in item.scales]


def _takes_any_number(graph: Path) -> bool:
    import onnx

    inputs = {item.name: item for item in onnx.load(str(graph), load_external_data=False).graph.input}
    return not inputs[IMAGE_INPUT].type.tensor_type.shape.dim[0].dim_value


class _Reader:
    """Feed batches of images to the calibration tool; one by one if the graph allows it, to save memory."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], one_by_one: bool) -> None:
        single = (batch[number : number + 1] for batch in images for number in range(len(batch)))
        self._images = single if one_by_one else iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next input, or `None` after the last."""
        images = next(self._images, None)
        return None if images is None else {IMAGE_INPUT: np.ascontiguousarray(images)}


def _tool(module: str) -> Any:
    try:
        return import_runtime(f"onnxruntime.quantization.{module}")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"Quantizing needs {error.name}, which is not installed. Install it with: {install_command('export')}"
        ) from error
