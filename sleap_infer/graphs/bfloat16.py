"""Round weights of networks to bfloat16. Operations before and after networks stay in fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sleap_infer.graphs.weights import write_weights
from sleap_infer.model.blocks import block_of, is_kept

LEAST_WEIGHTS = 256
"""Smaller arrays (biases, norms) are not rounded."""


def round_weights(
    graph: Path, output: Path, excluded: Collection[str] = (), changed: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Round large weights of networks to bfloat16 and store them in it, each followed by a cast to fp32.

    Runtimes apply the casts once, when they open the graph.

    Args:
        graph: an ONNX file in fp32.
        output: file to write; may be the same.
        excluded: names of blocks that stay in fp32.
        changed: new values of constants by name; all other weights are rounded to nearest.
    """
    import ml_dtypes
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(graph))
    write_weights(model, changed or {})
    blocks: dict[str, set[str | None]] = {}
    for node in model.graph.node:
        for name in node.input:
            blocks.setdefault(name, set()).add(block_of(node.name))
    casts = []
    for item in model.graph.initializer:
        consumers = blocks.get(item.name, {None})
        values = numpy_helper.to_array(item)
        if values.dtype != np.float32 or values.size < LEAST_WEIGHTS:
            continue
        if any(block is None or is_kept(block, excluded) for block in consumers):
            continue
        stored = f"{item.name}_bfloat16"
        casts.append(helper.make_node("Cast", [stored], [item.name], name=f"{stored}_cast", to=onnx.TensorProto.FLOAT))
        lower, shape = values.astype(ml_dtypes.bfloat16), list(item.dims)
        item.Clear()
        item.CopyFrom(
            helper.make_tensor(stored, onnx.TensorProto.BFLOAT16, shape, lower.view(np.uint16).tobytes(), raw=True)
        )
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)
    onnx.save(model, str(output))
