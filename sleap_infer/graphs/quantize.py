"""Static quantization of a graph's network to 8 bits (QDQ), with ONNX Runtime's own tool.

Weights are signed, with one scale per output channel. Activations are unsigned, with a zero point, which is the fastest
on CPUs; or symmetric around zero, with biases left in 32 bits, which is all that TensorRT takes. What comes before and
after the network stays as it is.
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
from sleap_infer.graphs.writing import SCOPES
from sleap_infer.model.graph import ERRORS_ONLY
from sleap_infer.runners.graph_io import IMAGE_INPUT

QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "Concat", "Resize", "Add", "Relu")
"""Operations that are quantized, inside of networks."""

STACKS = ("stem_stack", "encoder_stack", "decoder_stack", "features")
"""Lists in networks whose members are blocks."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Those of them that have weights."""

SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}


@frozen
class Ranges:
    """The ranges of all activations of a graph, measured once on real images.

    Attributes:
        graph: the 32-bit graph.
        tensors: ranges by tensor name, as the tool has them.
        groups: names of operations by group of layers, in the order in which they run.
    """

    graph: Path
    tensors: Any
    groups: Mapping[str, tuple[str, ...]]


def measure_ranges(graph: Path, images: Sequence[NDArray[np.uint8]]) -> Ranges:
    """Run a 32-bit graph on images and note the range of every activation of its network.

    Args:
        graph: an ONNX file.
        images: batches (B, C, H, W).

    Raises:
        BackendNotInstalledError: the quantization tool is missing.
        OptionError: there are no images, or the graph has no layer that can be quantized.
    """
    calibrate = _tool("calibrate")
    import onnxruntime

    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
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
        calibrator.collect_data(_Reader(images))
        return Ranges(graph, calibrator.compute_data(), groups)


def quantize(ranges: Ranges, output: Path, kept: Iterable[str] = (), symmetric: bool = False) -> None:
    """Write a graph whose network is quantized but for some groups of layers.

    Args:
        ranges: of the 32-bit graph.
        output: file to write.
        kept: names of groups that stay in 32 bits.
        symmetric: in the form that TensorRT takes.
    """
    import onnx
    from onnx import helper

    quantization = _tool("qdq_quantizer")
    types = _tool("quant_utils").QuantType
    model = onnx.load(str(ranges.graph))
    properties = {item.key: item.value for item in model.metadata_props}
    kept = set(kept)
    chosen = [name for group, names in ranges.groups.items() if group not in kept for name in names]
    every = [node.name for node in model.graph.node]
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
        extra_options={"ForceQuantizeNoInputCheck": False, **(SYMMETRIC if symmetric else {})},
    )
    if chosen:
        quantizer.quantize_model()
    helper.set_model_props(quantizer.model.model, properties)
    onnx.save(quantizer.model.model, str(output))


def layer_groups(graph: Path) -> dict[str, tuple[str, ...]]:
    """Operations of the networks in a graph that can be quantized, by block: `encoder_stack.0`, `head_layers.0`.

    Where two networks are in one graph, the name of the network comes first: `centroid.encoder_stack.0`. What has no
    weights adds no error of its own, and goes with the block with weights that ran before it.
    """
    import onnx

    found: dict[str, list[str]] = {}
    nodes = []
    for node in onnx.load(str(graph), load_external_data=False).graph.node:
        group = group_of(next((item.value for item in node.metadata_props if item.key == SCOPES), ""))
        if group is not None and node.op_type in QUANTIZED:
            nodes.append((group, node.name))
            if node.op_type in WEIGHTED:
                found.setdefault(group, [])
    last = next(iter(found), None)
    for group, name in nodes:
        last = group if group in found else last
        if last is not None:
            found[last].append(name)
    return {group: tuple(names) for group, names in found.items()}


def group_of(scopes: str) -> str | None:
    """The block of a network that an operation is in, from the exporter's note; `None` outside of networks.

    >>> group_of("['', 'body', 'body.pose_network.network.backbone.encoders.0.encoder_stack.1.blocks']")
    'encoder_stack.1'
    >>> group_of("['', 'body', 'body.pose_network.network.backbone.middle_blocks.0.blocks.conv0']")
    'middle_blocks.0'
    >>> group_of("['', 'body', 'body.centroid.network.head_layers.0', 'conv']")
    'centroid.head_layers.0'
    >>> group_of("['', 'body', 'body.pose_network', 'max']") is None
    True
    """
    names = [name.strip(" '\"[]") for name in scopes.split(",")]
    inside = [name for name in names if ".network." in f"{name}."]
    if not inside:
        return None
    deepest = max(inside, key=len)
    owner, _, path = deepest.partition(".network")
    parts = [part for part in path.split(".") if part and part != "backbone" and part != "network"]
    first = max((place for place, part in enumerate(parts) if part in STACKS), default=0)
    block = ".".join(parts[first : first + 2]) or "between blocks"
    network = owner.rpartition(".")[2]
    return block if network == "pose_network" else f"{network}.{block}"


class _Reader:
    """Batches of images as the calibration tool takes them."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input, or `None` behind the last."""
        images = next(self._images, None)
        return None if images is None else {IMAGE_INPUT: np.ascontiguousarray(images)}


def _tool(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"onnxruntime.quantization.{module}")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"Quantizing needs {error.name}, which is not installed. Install: pip install 'sleap-infer[export]'"
        ) from error
