"""View convolutions as matrix products: im2col inputs and (out, in) weights.

Grouped layers are stacks of matrices. Transposed convolutions are convolutions of images with zeros between pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.graphs.blocks import WEIGHTED
from sleap_infer.model.blocks import block_of

CONVOLUTIONS = ("Conv", "ConvTranspose")


@frozen
class Layer:
    """An operation of a network with constant weights that no other operation uses.

    Attributes:
        name: of the operation.
        block: of the network.
        operation: one of `WEIGHTED`.
        source: name of its input tensor.
        target: name of its output tensor.
        weights: name of its weights.
        bias: name of its bias, or `None`.
        axis: output axis of the weights; for transposed convolutions, outputs of a group.
        n_groups: of channels.
        strides: (vertical, horizontal).
        dilations: (vertical, horizontal).
        kernel: (height, width).
        pads: (top, left, bottom, right), zeros around the input.
    """

    name: str
    block: str
    operation: str
    source: str
    target: str
    weights: str
    bias: str | None = None
    axis: int = 0
    n_groups: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


def find_layers(model: Any) -> list[Layer]:
    """Return the network layers of a graph (an `onnx.ModelProto`) in order, without unsupported forms."""
    import onnx

    shapes = {
        item.name: tuple(item.dims) for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT
    }
    taken: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            taken[name] = taken.get(name, 0) + 1
    own = {name: shape for name, shape in shapes.items() if taken.get(name) == 1}
    found = [_read(node, own) for node in model.graph.node if node.op_type in WEIGHTED]
    return [layer for layer in found if layer is not None]


def _read(node: Any, shapes: dict[str, tuple[int, ...]]) -> Layer | None:
    import onnx

    block = block_of(node.name)
    shape = shapes.get(node.input[1])
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if block is None or shape is None or (bias is not None and bias not in shapes):
        return None
    given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    layer = Layer(node.name, block, node.op_type, node.input[0], node.output[0], node.input[1], bias)
    if node.op_type in CONVOLUTIONS:
        return _with_geometry(layer, shape, given)
    is_plain = not given.get("transA") and given.get("alpha", 1.0) == 1.0 and given.get("beta", 1.0) == 1.0
    if len(shape) != 2 or not is_plain:
        return None
    return attrs.evolve(layer, axis=0 if given.get("transB") else 1)


def _with_geometry(layer: Layer, shape: tuple[int, ...], given: Mapping[str, Any]) -> Layer | None:
    """Return a convolution with its geometry; `None` for unsupported forms."""
    if len(shape) != 4 or given.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in given:
        return None
    kernel, strides, dilations = shape[2:], *(given.get(name, (1, 1)) for name in ("strides", "dilations"))
    pads = given.get("pads", (0, 0, 0, 0))
    if layer.operation == "ConvTranspose":
        extent = [dilation * (side - 1) for dilation, side in zip(dilations, kernel, strict=True)] * 2
        extra = (0, 0, *given.get("output_padding", (0, 0)))
        pads = [far - pad + more for far, pad, more in zip(extent, pads, extra, strict=True)]
    if min(pads) < 0:
        return None
    return attrs.evolve(
        layer,
        axis=int(layer.operation == "ConvTranspose"),
        n_groups=given.get("group", 1),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        kernel=(kernel[0], kernel[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
    )


def to_matrices(layer: Layer, weights: NDArray[Any]) -> NDArray[Any]:
    """Return weights as (G, O, K): groups, outputs per group, inputs per output."""
    if layer.operation == "ConvTranspose":
        inputs, outputs, *kernel = weights.shape
        split = weights[:, :, ::-1, ::-1].reshape(layer.n_groups, inputs // layer.n_groups, outputs, *kernel)
        return split.swapaxes(1, 2).reshape(layer.n_groups, outputs, -1)
    rows = weights if layer.axis == 0 else weights.T
    return rows.reshape(layer.n_groups, len(rows) // layer.n_groups, -1)


def from_matrices(layer: Layer, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return weights (G, O, K) in their original shape."""
    if layer.operation == "ConvTranspose":
        inputs, outputs, *kernel = shape
        split = matrices.reshape(layer.n_groups, outputs, inputs // layer.n_groups, *kernel)
        return np.ascontiguousarray(split.swapaxes(1, 2).reshape(shape)[:, :, ::-1, ::-1])
    return np.ascontiguousarray(matrices.reshape(shape) if layer.axis == 0 else matrices.reshape(shape[::-1]).T)


def draw_rows(
    layer: Layer, seen: NDArray[np.float32], n_rows: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return the inputs of a layer at random output positions (im2col).

    Args:
        layer: of a network.
        seen: its input: (B, C, H, W) for convolutions, (..., K) for others.
        n_rows: number of positions.
        generator: draws the positions.

    Returns:
        (G, n_rows, K); its product with `to_matrices`, plus the bias, is the output.
    """
    if layer.operation not in CONVOLUTIONS:
        flat = seen.reshape(-1, seen.shape[-1])
        return flat[generator.integers(len(flat), size=n_rows)][None]
    strides = layer.strides
    if layer.operation == "ConvTranspose":
        seen, strides = _apart(seen, strides), (1, 1)
    top, left, bottom, right = layer.pads
    height, width = seen.shape[2] + top + bottom, seen.shape[3] + left + right
    offsets = [dilation * np.arange(side) for dilation, side in zip(layer.dilations, layer.kernel, strict=True)]
    sides = [
        (whole - last[-1] - 1) // stride + 1
        for whole, last, stride in zip((height, width), offsets, strides, strict=True)
    ]
    images, rows, columns = (generator.integers(n, size=n_rows) for n in (len(seen), *sides))
    y, is_row = _inside(rows[:, None] * strides[0] + offsets[0] - top, seen.shape[2])
    x, is_column = _inside(columns[:, None] * strides[1] + offsets[1] - left, seen.shape[3])
    patches = seen[images[:, None, None], :, y[:, :, None], x[:, None, :]]
    patches *= (is_row[:, :, None] & is_column[:, None, :])[..., None]
    by_channel = patches.transpose(0, 3, 1, 2).reshape(n_rows, layer.n_groups, -1)
    return np.ascontiguousarray(by_channel.swapaxes(0, 1))


def _apart(images: NDArray[np.float32], strides: tuple[int, int]) -> NDArray[np.float32]:
    """Insert zeros between pixels."""
    batch, channels, height, width = images.shape
    wide = np.zeros((batch, channels, (height - 1) * strides[0] + 1, (width - 1) * strides[1] + 1), np.float32)
    wide[:, :, :: strides[0], :: strides[1]] = images
    return wide


def _inside(positions: NDArray[Any], side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return positions clipped to the image, and whether each was inside."""
    return positions.clip(0, side - 1), (positions >= 0) & (positions < side)
