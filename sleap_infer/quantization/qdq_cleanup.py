"""Remove Q/DQ pairs in front of operators that stay in float.

Rounded pixels of a map are often equal to their neighbours, and then no pixel is a peak. Also, ONNX Runtime would
automatically quantize convolutions between rounded tensors, with one scale for all weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sleap_infer.graphs.blocks import WEIGHTED

ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def remove_qdq(graph: Any, quantized: Collection[str]) -> None:
    """Remove the rounding in front of operations that are not quantized, in place.

    Args:
        graph: an `onnx.GraphProto` with `ROUNDING` around every input and output of quantized operations.
        quantized: names of these operations. Those without weights count only if one with weights follows.
    """
    rounded = _with_weights_behind(graph, quantized)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name not in rounded and node.op_type not in ROUNDING:
            for number, name in enumerate(node.input):
                node.input[number] = _before_rounding(name, makers)
    for operation in reversed(ROUNDING):
        taken = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
        for node in [node for node in graph.node if node.op_type == operation and node.output[0] not in taken]:
            graph.node.remove(node)


def _with_weights_behind(graph: Any, quantized: Collection[str]) -> set[str]:
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    found: set[str] = set()

    def is_behind(tensor: str) -> bool:
        return any(
            is_behind(node.output[0]) if node.op_type in ROUNDING else node.name in found
            for node in consumers.get(tensor, ())
        )

    for node in reversed(graph.node):
        if node.name in quantized and (node.op_type in WEIGHTED or is_behind(node.output[0])):
            found.add(node.name)
    return found


def _before_rounding(tensor: str, makers: Mapping[str, Any]) -> str:
    """Return the tensor before rounding; itself if it is not rounded, or a constant."""
    maker = makers.get(tensor)
    if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in makers:
        return tensor
    return str(makers[maker.input[0]].input[0])
