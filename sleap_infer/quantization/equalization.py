"""Channels of networks brought to about the same reach, for lower precision: what the network gives stays as it is.

A channel behind a Relu may be made larger, and the weights that take it as much smaller. Where all channels reach about
as far, a scale that they share fits all of them. After cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721),
with the factors of SmoothQuant (Xiao et al. 2022, arXiv:2211.10438).
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
"""A channel is not made larger or smaller than by this."""

N_IMAGES = 64

Floats: TypeAlias = NDArray[np.float64]


@frozen
class Link:
    """Channels between layers that can be scaled.

    Attributes:
        tensor: behind the Relu.
        giver: the layer before it.
        takers: layers behind it, with the place of its first channel among theirs.
    """

    tensor: str
    giver: Layer
    takers: tuple[tuple[Layer, int], ...]


def equalize(graph: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    """Equalize the networks of a 32-bit graph, in place.

    Args:
        graph: an ONNX file.
        images: batches (B, C, H, W) to see on how far channels reach.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(graph))
    links = find_links(model)
    if not links or not images:
        return
    reach: dict[str, Floats] = {}
    for values in watch(model, [link.tensor for link in links], images, N_IMAGES):
        for name, seen in values.items():
            reach[name] = np.maximum(reach.get(name, 0.0), seen.max(axis=(0, 2, 3)))
    weights = {
        item.name: numpy_helper.to_array(item).astype(np.float64)
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT
    }
    for link in links:
        _scale(link, factors(reach[link.tensor], _taken(link, weights)), weights)
    changed = {name for link in links for layer in (link.giver, *(t for t, _ in link.takers)) for name in _names(layer)}
    write_weights(model, weights, changed)
    onnx.save(model, str(graph))


def factors(reach: Floats, taken: Floats) -> Floats:
    """What each channel is multiplied by, that its reach and the weights that take it become alike.

    Args:
        reach: largest value of each channel (C,).
        taken: largest weight for each channel (C,).

    >>> factors(np.array([1.0, 4.0]), np.array([1.0, 1.0])).tolist()
    [1.0, 0.5]
    """
    scaled = np.ones(len(reach))
    used = (reach > 0) & (taken > 0)
    if used.any():
        scaled[used] = np.sqrt(taken[used] / reach[used])
        middle = np.exp(np.log(scaled[used]).mean())
        scaled = scaled.clip(middle / MAX_FACTOR, middle * MAX_FACTOR)
    return scaled


def find_links(model: Any) -> list[Link]:
    """The channels that can be scaled in a graph (an `onnx.ModelProto`)."""
    wiring = _Wiring.of(model)
    links = []
    for node in model.graph.node:
        giver = wiring.layers.get(node.input[0]) if node.op_type == "Relu" else None
        if giver is None or len(wiring.readers[giver.target]) != 1:
            continue
        takers = wiring.takers(node.output[0], 0)
        if takers:
            links.append(Link(node.output[0], giver, tuple(takers)))
    return links


@frozen
class _Wiring:
    """Which layers see which channels.

    Attributes:
        layers: whose channels can be scaled, by the tensor that they give.
        readers: operations by each tensor that they take.
        n_channels: by tensor, where it is known.
        outputs: tensors that leave the graph.
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

    def takers(self, tensor: str, first: int) -> list[tuple[Layer, int]] | None:
        """All layers behind a tensor whose first channel is their `first`; `None` where something else is."""
        if tensor in self.outputs:
            return None
        found = []
        for node in self.readers.get(tensor, ()):
            layer = self.layers.get(node.output[0])
            if layer is not None and layer.source == tensor:
                found.append((layer, first))
                continue
            before = self._before(node, tensor)
            behind = None if before is None else self.takers(node.output[0], first + before)
            if behind is None:
                return None
            found += behind
        return found

    def _before(self, node: Any, tensor: str) -> int | None:
        """How many channels an operation puts before those of a tensor; `None` where it does not hand them on."""
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


def _taken(link: Link, weights: Mapping[str, Floats]) -> Floats:
    """The largest weight that each channel meets, as a share of all of its layer's."""
    n_channels = weights[link.giver.weights].shape[link.giver.axis]
    largest = np.zeros(n_channels)
    for layer, first in link.takers:
        sizes = np.abs(weights[layer.weights]).max(axis=(layer.axis, 2, 3))
        largest = np.maximum(largest, sizes[first : first + n_channels] / max(sizes.max(), np.finfo(np.float32).tiny))
    return largest


def _scale(link: Link, by: Floats, weights: dict[str, Floats]) -> None:
    """Scale the channels of a link, and what takes them back."""
    giver = link.giver
    weights[giver.weights] *= np.expand_dims(by, tuple({0, 1, 2, 3} - {giver.axis}))
    if giver.bias is not None:
        weights[giver.bias] *= by
    for layer, first in link.takers:
        channels = slice(first, first + len(by))
        inputs_first = weights[layer.weights].swapaxes(0, 1 - layer.axis)
        inputs_first[channels] /= by[:, None, None, None]


def _names(layer: Layer) -> tuple[str, ...]:
    return (layer.weights,) if layer.bias is None else (layer.weights, layer.bias)
