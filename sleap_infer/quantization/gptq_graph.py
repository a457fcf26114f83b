"""GPTQ for the layers of a graph: calibration inputs, rounded weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.quantization.activations import watch
from sleap_infer.quantization.gptq import bfloat16_grid, integer_grid, round_compensated, scales_of
from sleap_infer.quantization.layers import Layer, draw_rows, find_layers, from_matrices, to_matrices

N_IMAGES = 32
N_POSITIONS = 32768
"""Sampled positions per layer, over all images."""

SEED = 0


@frozen
class Rounded:
    """A layer in lower precision.

    Attributes:
        layer: the layer in the graph.
        weights: rounded, in their original shape.
        bias: with the remaining error, or `None`.
        scales: for int8, the step per output channel (O,).
    """

    layer: Layer
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    scales: NDArray[np.float32] | None = None


def round_layers(
    graph: Path, images: Sequence[NDArray[np.uint8]], precision: Literal["int8", "bf16"]
) -> tuple[Rounded, ...]:
    """Return the rounded weights of all network layers of a graph in fp32. The file is not changed.

    Args:
        graph: an ONNX file.
        images: batches (B, C, H, W); empty: no layer is rounded.
        precision: to round to.
    """
    import onnx
    from onnx import numpy_helper

    if not images:
        return ()
    model = onnx.load(str(graph))
    layers = find_layers(model)
    constants = {item.name: item for item in model.graph.initializer}
    moments = measure_moments(model, layers, images)
    found = []
    for layer in layers:
        weights = numpy_helper.to_array(constants[layer.weights])
        bias = None if layer.bias is None else numpy_helper.to_array(constants[layer.bias])
        found.append(_round(layer, weights, bias, moments.pop(layer.name), precision))
    return tuple(found)


def measure_moments(
    model: Any, layers: Iterable[Layer], images: Sequence[NDArray[np.uint8]]
) -> dict[str, NDArray[np.float32]]:
    """Return sums of products of the inputs of layers, with a 1 appended for the bias.

    Args:
        model: an `onnx.ModelProto` in fp32.
        layers: of its networks.
        images: batches (B, C, H, W).

    Returns:
        (G, K + 1, K + 1) by the layer's name.
    """
    layers = list(layers)
    generator = np.random.default_rng(SEED)
    n_rows = -(-N_POSITIONS // min(N_IMAGES, sum(map(len, images))))
    found: dict[str, NDArray[np.float32]] = {}
    for values in watch(model, {layer.source for layer in layers}, images, N_IMAGES):
        for layer in layers:
            rows = draw_rows(layer, values[layer.source], n_rows, generator)
            rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], axis=2)
            found[layer.name] = found.get(layer.name, np.float32(0)) + rows.swapaxes(1, 2) @ rows
    return found


def _round(
    layer: Layer,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    moments: NDArray[np.float32],
    precision: str,
) -> Rounded:
    matrices = to_matrices(layer, weights).astype(np.float64)
    n_groups, n_outputs, n_inputs = matrices.shape
    scales = np.stack([scales_of(matrix) for matrix in matrices])
    if layer.operation == "ConvTranspose":  # runtimes use one scale for the same output of all groups
        scales[:] = scales.max(axis=0)
    scales = scales.astype(np.float32).astype(np.float64)
    if bias is None:
        moments = moments[:, :-1, :-1]
    else:
        matrices = np.concatenate([matrices, bias.reshape(n_groups, n_outputs, 1).astype(np.float64)], axis=2)
    grids = [integer_grid(steps) if precision == "int8" else bfloat16_grid for steps in scales]
    done = np.stack(
        [
            round_compensated(matrix, products, grid, n_free=int(bias is not None))
            for matrix, products, grid in zip(matrices, moments, grids, strict=True)
        ]
    )
    n_scales = weights.shape[layer.axis]
    return Rounded(
        layer,
        from_matrices(layer, done[..., :n_inputs], weights.shape).astype(np.float32),
        None if bias is None else done[..., n_inputs].reshape(bias.shape).astype(np.float32),
        scales.ravel()[:n_scales].astype(np.float32) if precision == "int8" else None,
    )


def values_of(rounded: Iterable[Rounded]) -> Mapping[str, NDArray[np.float32]]:
    """Return weights and biases of layers by their names in the graph."""
    found: dict[str, NDArray[np.float32]] = {}
    for item in rounded:
        found[item.layer.weights] = item.weights
        if item.layer.bias is not None and item.bias is not None:
            found[item.layer.bias] = item.bias
    return found
