"""Networks in other numbers than 32-bit floats. What comes before and after them always stays in 32 bits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

LEAST_WEIGHTS = 256
"""Smaller arrays (biases, norms) are not worth rounding."""


def round_weights(network: nn.Module) -> nn.Module:
    """Round large weights to bfloat16, in place; they stay 32-bit numbers, which any runtime takes."""
    with torch.no_grad():
        for weights in network.parameters():
            if weights.numel() >= LEAST_WEIGHTS:
                weights.copy_(weights.bfloat16().float())
    return network


def store_as_bfloat16(path: Path) -> None:
    """Store weights that are bfloat16 numbers as such, half as large, with a cast to 32 bits behind each.

    Runtimes do that cast once, when they open the graph.
    """
    import ml_dtypes
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    casts = []
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if values.dtype != np.float32 or values.size < LEAST_WEIGHTS:
            continue
        rounded = values.astype(ml_dtypes.bfloat16)
        if not np.array_equal(rounded.astype(np.float32), values):
            continue
        stored = f"{item.name}_bfloat16"
        casts.append(helper.make_node("Cast", [stored], [item.name], name=f"{stored}_cast", to=onnx.TensorProto.FLOAT))
        shape = list(item.dims)
        item.Clear()
        item.CopyFrom(
            helper.make_tensor(stored, onnx.TensorProto.BFLOAT16, shape, rounded.view(np.uint16).tobytes(), raw=True)
        )
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)
    onnx.save(model, str(path))
