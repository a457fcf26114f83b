"""Facts in the constants of an ONNX file of sleap-nn, read without onnx or onnxruntime.

Their metadata leave out the size that a graph was traced with; it is in the Resize or the crop grid of the graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen

from sleap_infer.errors import ExportedModelError
from sleap_infer.model.readers.texts import explain

INSIDE_KEY = "sleap_nn_metadata"
"""Property of a graph with its metadata as JSON; `training_config` beside it is YAML, or JSON of two YAML texts."""

Nodes: TypeAlias = dict[str, tuple[str, list[str]]]
"""Operations of a graph with the names of their inputs, by the names of their outputs."""


@frozen
class GraphFile:
    """Facts that only the graph contains.

    Attributes:
        sha256: of the file.
        properties: the texts that travel inside.
        input_size: (height, width) that frames, or crops, are resized to first, whatever they are; `None` if they
            are not.
        crop_side: side of the crops that are cut inside.
        cropped_size: (height, width) of the frames that these crops are right for.
    """

    sha256: str
    properties: dict[str, str]
    input_size: tuple[int, int] | None = None
    crop_side: int | None = None
    cropped_size: tuple[int, int] | None = None

    def config_hash(self) -> str | None:
        """Return the hash of the training configuration, if the metadata inside have it."""
        try:
            return str(json.loads(self.properties[INSIDE_KEY])["training_config_hash"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return None


def read_graph_file(path: Path) -> GraphFile:
    """Read the texts and constants of an ONNX file that describe its input images.

    Raises:
        ExportedModelError: it is not an ONNX file, or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportedModelError(f"{path} cannot be read: {explain(error)}.") from error
    try:
        model = list(protobuf_fields(memoryview(data)))
        nodes, tensors = _read_nodes(next(value for number, value in model if number == 7))
        texts = {protobuf_texts(pair, 1)[0]: "".join(protobuf_texts(pair, 2)) for number, pair in model if number == 14}
        side, cropped = next((found for tensor in tensors.values() if (found := _crop_grid(tensor))), (None, None))
        return GraphFile(hashlib.sha256(data).hexdigest(), texts, _input_size(nodes, tensors), side, cropped)
    except (ValueError, LookupError, TypeError, StopIteration) as error:
        raise ExportedModelError(
            f"{path} cannot be opened as an ONNX graph: it is damaged or of another format ({error}). Copy it again."
        ) from error


def _read_nodes(graph: memoryview) -> tuple[Nodes, dict[str, memoryview]]:
    """Return the operations of a graph, and its constants by name, as stored in the file."""
    nodes: Nodes = {}
    tensors = {}
    for number, value in protobuf_fields(graph):
        if number == 5:
            tensors[protobuf_texts(value, 8)[0]] = value
        elif number == 1:
            inputs, outputs, operation = protobuf_texts(value, 1), protobuf_texts(value, 2), protobuf_texts(value, 4)[0]
            nodes |= {output: (operation, inputs) for output in outputs}
            if operation == "Constant":
                attribute = dict(protobuf_fields(dict(protobuf_fields(value))[5]))
                tensors |= {output: attribute[5] for output in outputs if 5 in attribute}
    return nodes, tensors


def _input_size(nodes: Nodes, tensors: Mapping[str, memoryview]) -> tuple[int, int] | None:
    """Return the size that images are resized to: the `sizes` of the Resize that follows the division by 255."""
    for operation, inputs in nodes.values():
        if operation == "Resize" and len(inputs) > 3 and nodes.get(inputs[0], ("",))[0] == "Div":
            made_by, parts = nodes.get(inputs[3], ("", []))
            name = parts[-1] if made_by == "Concat" else inputs[3]
            sizes = _values(tensors[name], "<i8") if name in tensors else []
            if len(sizes) >= 2:
                return int(sizes[-2]), int(sizes[-1])
    return None


def _crop_grid(tensor: memoryview) -> tuple[int, tuple[int, int]] | None:
    """Of the constant that crops are sampled by, (1, 1, S, S, 2): S, and the (height, width) of its frames.

    It holds positions from -S / width to S / width, and the same of the height.
    """
    shape = [size for key, value in protobuf_fields(tensor) if key == 1 for size in protobuf_integers(value)]
    if len(shape) != 5 or shape[:2] != [1, 1] or shape[4] != 2 or shape[2] != shape[3]:
        return None
    extent = np.abs(_values(tensor, "<f4")[:2])
    return (
        (shape[2], (round(shape[2] / extent[1]), round(shape[2] / extent[0]))) if extent.all() and len(extent) else None
    )


def _values(tensor: memoryview, kind: str) -> Any:
    return np.frombuffer(dict(protobuf_fields(tensor)).get(9, b""), kind)


def protobuf_texts(message: memoryview, key: int) -> list[str]:
    """Return the texts under a number of a message."""
    return [str(value, "utf-8") for number, value in protobuf_fields(message) if number == key]


def protobuf_integers(value: int | memoryview) -> Iterable[int]:
    """Decode an integer, or several packed ones."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def protobuf_fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    r"""Yield number and value (an int, or bytes) of each field of a message in the encoding of Protocol Buffers.

    >>> (one, two) = protobuf_fields(memoryview(b"\x08\x96\x01\x12\x01a"))
    >>> one, two[0], bytes(two[1])
    ((1, 150), 2, b'a')
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[wire]
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Decode a varint of up to ten bytes; return it and its end."""
    value = 0
    for shift in range(0, 70, 7):
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without end")


def without_initializers(data: bytes, names: Iterable[str]) -> bytes:
    """Return an ONNX file in which some inputs have no default.

    Args:
        data: the file.
        names: of inputs.
    """
    unwanted = set(names)

    def is_kept(number: int, value: Any) -> bool:
        return number != 5 or not unwanted.intersection(protobuf_texts(value, 8))

    parts = []
    for number, value in protobuf_fields(memoryview(data)):
        if number == 7:
            value = b"".join(_written(n, v) for n, v in protobuf_fields(value) if is_kept(n, v))
        parts.append(_written(number, value))
    return b"".join(parts)


def _written(number: int, value: int | bytes | memoryview) -> bytes:
    """Encode a field."""
    if isinstance(value, int):
        return _written_varint(number << 3) + _written_varint(value)
    return _written_varint(number << 3 | 2) + _written_varint(len(value)) + bytes(value)


def _written_varint(value: int) -> bytes:
    r"""Encode a varint of Protocol Buffers.

    >>> _written_varint(150)
    b'\x96\x01'
    """
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
