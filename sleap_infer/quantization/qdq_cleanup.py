"""In a graph that is quantized in part, all that is not sees what it did before it was rounded to 8 bits.

Cells of a map that are rounded are often as high as their neighbours, and then no peak is. And ONNX Runtime quantizes
convolutions between rounded tensors by itself, to one scale for all of their weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sleap_infer.graphs.blocks import WEIGHTED

ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def unround_others(graph: Any, quantized: Collection[str]) -> None:
    """Take the rounding away from what is not quantized, in place.

    Args:
        graph: an `onnx.GraphProto` with `ROUNDING` around every tensor that a quantized operation sees or gives.
        quantized: names of these operations. Those without weights count only if one with weights comes behind.
    """
    rounded = _with_weights_behind(graph, quantized)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name not in rounded and node.op_type not in ROUNDING:
            for place, name in enumerate(node.input):
                node.input[place] = _before_rounding(name, makers)
    for operation in reversed(ROUNDING):
        taken = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
        for node in [node for node in graph.node if node.op_type == operation and node.output[0] not in taken]:
            graph.node.remove(node)


def _with_weights_behind(graph: Any, quantized: Collection[str]) -> set[str]:
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    found: set[str] = set()

    def is_behind(tensor: str) -> bool:
        return any(
            is_behind(node.output[0]) if node.op_type in ROUNDING else node.name in found
            for node in takers.get(tensor, ())
        )

    for node in reversed(graph.node):
        if node.name in quantized and (node.op_type in WEIGHTED or is_behind(node.output[0])):
            found.add(node.name)
    return found


def _before_rounding(tensor: str, makers: Mapping[str, Any]) -> str:
    """The tensor that another one is after rounding; itself, if it was not rounded, or is a constant."""
    maker = makers.get(tensor)
    if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in makers:
        return tensor
    return str(makers[maker.input[0]].input[0])
