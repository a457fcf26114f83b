"""Cross-layer equalization: rescale channels to similar ranges without changing the outputs of the network.

A channel after a Relu is multiplied by a factor, and the weights that consume it are divided by it, so that one scale
fits all channels of a tensor. Nagel et al. 2019 (arXiv:1906.04721), with the factors of SmoothQuant (Xiao et al. 2022,
arXiv:2211.10438).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.graphs.weights import write_weights
from sleap_infer.quantization.activations import watch
from sleap_infer.quantization.layers import CONVOLUTIONS, Layer, find_layers

MAX_FACTOR = 32.0
"""Largest factor of a channel, relative to the geometric mean of its tensor."""

N_IMAGES = 64
"""Number of images on which the ranges of channels are measured."""

Floats: TypeAlias = NDArray[np.float64]


@frozen
class Link:
    """Channels between layers that can be scaled.

    Attributes:
        tensor: output of the Relu.
        producer: the layer before it.
        consumers: the layers after it, each with the index of its first channel among theirs.
    """

    tensor: str
    producer: Layer
    consumers: tuple[tuple[Layer, int], ...]


def equalize(graph: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    """Equalize the networks of a graph in fp32, in place.

    Args:
        graph: an ONNX file.
        images: batches (B, C, H, W) for the ranges of channels.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(graph))
    links = find_links(model)
    if not links or not images:
        return
    ranges: dict[str, Floats] = {}
    for values in watch(model, [link.tensor for link in links], images, N_IMAGES):
        for name, seen in values.items():
            ranges[name] = np.maximum(ranges.get(name, 0.0), seen.max(axis=(0, 2, 3)))
    weights = {
        item.name: numpy_helper.to_array(item).astype(np.float64)
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT
    }
    for link in links:
        _scale(link, factors(ranges[link.tensor], _largest_weights(link, weights)), weights)
    changed = {
        name for link in links for layer in (link.producer, *(t for t, _ in link.consumers)) for name in _names(layer)
    }
    write_weights(model, weights, changed)
    onnx.save(model, str(graph))


def factors(ranges: Floats, weights: Floats) -> Floats:
    """Return the factor of each channel (C,), which makes its range and its weights similar.

    Args:
        ranges: largest activation of each channel (C,).
        weights: largest weight that consumes each channel (C,).

    >>> factors(np.array([1.0, 4.0]), np.array([1.0, 1.0])).tolist()
    [1.0, 0.5]
    """
    scaled = np.ones(len(ranges))
    used = (ranges > 0) & (weights > 0)
    if used.any():
        scaled[used] = np.sqrt(weights[used] / ranges[used])
        middle = np.exp(np.log(scaled[used]).mean())
        scaled = scaled.clip(middle / MAX_FACTOR, middle * MAX_FACTOR)
    return scaled


def find_links(model: Any) -> list[Link]:
    """Return the channels of a graph (an `onnx.ModelProto`) that can be scaled."""
    wiring = _Wiring.of(model)
    links = []
    for node in model.graph.node:
        producer = wiring.layers.get(node.input[0]) if node.op_type == "Relu" else None
        if producer is None or len(wiring.readers[producer.target]) != 1:
            continue
        consumers = wiring.consumers(node.output[0], 0)
        if consumers:
            links.append(Link(node.output[0], producer, tuple(consumers)))
    return links


@frozen
class _Wiring:
    """Connections between layers and channels.

    Attributes:
        layers: layers whose channels can be scaled, by output tensor.
        readers: operations by input tensor.
        n_channels: by tensor, where known.
        outputs: output tensors of the graph.
    """

    layers: Mapping[str, Layer]
    readers: Mapping[str, Sequence[Any]]
    n_channels: Mapping[str, int]
    outputs: frozenset[str]

    @classmethod
    def of(cls, model: Any) -> _Wiring:
        """Read a graph (an `onnx.ModelProto`)."""
        import onnx

        readers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        known = onnx.shape_inference.infer_shapes(model).graph.value_info
        dims = {item.name: item.type.tensor_type.shape.dim for item in known}
        n_channels = {name: dim[1].dim_value for name, dim in dims.items() if len(dim) == 4 and dim[1].dim_value}
        layers = {layer.target: layer for layer in find_layers(model) if _is_plain(layer)}
        return cls(layers, readers, n_channels, frozenset(item.name for item in model.graph.output))

    def consumers(self, tensor: str, first: int) -> list[tuple[Layer, int]] | None:
        """Return the layers that consume a tensor, its first channel being their `first`; `None` if others do, too."""
        if tensor in self.outputs:
            return None
        found = []
        for node in self.readers.get(tensor, ()):
            layer = self.layers.get(node.output[0])
            if layer is not None and layer.source == tensor:
                found.append((layer, first))
                continue
            before = self._before(node, tensor)
            behind = None if before is None else self.consumers(node.output[0], first + before)
            if behind is None:
                return None
            found += behind
        return found

    def _before(self, node: Any, tensor: str) -> int | None:
        """Return how many channels an operation puts before those of a tensor; `None` if it changes the channels."""
        if node.op_type in ("MaxPool", "Resize"):
            return 0 if node.input[0] == tensor else None
        axis = next((item.i for item in node.attribute if item.name == "axis"), None)
        names = list(node.input)
        if node.op_type != "Concat" or axis != 1 or names.count(tensor) != 1:
            return None
        earlier = [self.n_channels.get(name) for name in names[: names.index(tensor)]]
        return None if None in earlier else sum(filter(None, earlier))


def _is_plain(layer: Layer) -> bool:
    return layer.operation in CONVOLUTIONS and layer.n_groups == 1


def _largest_weights(link: Link, weights: Mapping[str, Floats]) -> Floats:
    """Return the largest weight that consumes each channel, relative to the largest of its layer."""
    n_channels = weights[link.producer.weights].shape[link.producer.axis]
    largest = np.zeros(n_channels)
    for layer, first in link.consumers:
        sizes = np.abs(weights[layer.weights]).max(axis=(layer.axis, 2, 3))
        largest = np.maximum(largest, sizes[first : first + n_channels] / max(sizes.max(), np.finfo(np.float32).tiny))
    return largest


def _scale(link: Link, by: Floats, weights: dict[str, Floats]) -> None:
    """Multiply the channels of a link, and divide the weights that consume them."""
    producer = link.producer
    weights[producer.weights] *= np.expand_dims(by, tuple({0, 1, 2, 3} - {producer.axis}))
    if producer.bias is not None:
        weights[producer.bias] *= by
    for layer, first in link.consumers:
        channels = slice(first, first + len(by))
        inputs_first = weights[layer.weights].swapaxes(0, 1 - layer.axis)
        inputs_first[channels] /= by[:, None, None, None]


def _names(layer: Layer) -> tuple[str, ...]:
    return (layer.weights,) if layer.bias is None else (layer.weights, layer.bias)
