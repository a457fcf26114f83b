"""Check an ONNX file before a runtime opens it: no files outside of its folder, no more memory than it has bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sleap_infer.errors import ExportedModelError
from sleap_infer.model.readers.sleap_nn_exports.onnx_constants import protobuf_fields, protobuf_integers, protobuf_texts
from sleap_infer.model.readers.texts import explain

MOST_VALUES = 1 << 28
"""Values of a constant that a graph makes of a shape; runtimes make them when they open it."""

FILLERS: Mapping[str, int] = {"ConstantOfShape": 0, "Expand": 1}
"""Operations that make large arrays of small ones, and which of their inputs is the shape."""


def check_graph(path: Path) -> None:
    """Refuse an ONNX file that would read other files than those beside it, or take far more memory than it has bytes.

    Damaged files pass: the runtime that opens them raises the error.

    Raises:
        ExportedModelError: the file cannot be read, or is not safe to open.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportedModelError(f"{path} cannot be read: {explain(error)}.") from error
    try:
        reason = next((reason for reason in _dangers(memoryview(data), path.parent)), None)
    except (ValueError, LookupError, TypeError, RecursionError):
        return
    if reason is not None:
        raise ExportedModelError(
            f"{path} is not safe to open: {reason}. Copy it again from its source, or export the model again."
        )


def _dangers(model: memoryview, folder: Path) -> Iterator[str]:
    for number, value in protobuf_fields(model):
        if number == 7:
            yield from _dangers_of_graph(value, folder)
        elif number == 25:  # a function, which has its nodes where a graph has its name
            yield from _dangers_of_nodes([node for key, node in protobuf_fields(value) if key == 7], {}, folder)


def _dangers_of_graph(graph: memoryview, folder: Path) -> Iterator[str]:
    fields = list(protobuf_fields(graph))
    constants = {name: value for number, value in fields if number == 5 for name in protobuf_texts(value, 8)}
    for tensor in constants.values():
        yield from _dangers_of_tensor(tensor, folder)
    if any(number == 15 for number, _ in fields):
        yield "it has sparse constants, which no export has"
    yield from _dangers_of_nodes([value for number, value in fields if number == 1], constants, folder)


def _dangers_of_nodes(nodes: list[memoryview], constants: Mapping[str, memoryview], folder: Path) -> Iterator[str]:
    known = dict(constants)
    for node in nodes:
        for attribute in (value for number, value in protobuf_fields(node) if number == 5):
            for number, value in protobuf_fields(attribute):
                if number in (5, 10):
                    known |= dict.fromkeys(protobuf_texts(node, 2), value)
                    yield from _dangers_of_tensor(value, folder)
                elif number in (6, 11):
                    yield from _dangers_of_graph(value, folder)
    for node in nodes:
        operation, inputs = "".join(protobuf_texts(node, 4)), protobuf_texts(node, 1)
        position = FILLERS.get(operation)
        if position is not None and len(inputs) > position and inputs[position] in known:
            shape = _int64s(known[inputs[position]])
            if prod(max(side, 1) for side in shape) > MOST_VALUES:
                yield f"its operation {operation} makes a constant of {shape} values"


def _dangers_of_tensor(tensor: memoryview, folder: Path) -> Iterator[str]:
    fields = list(protobuf_fields(tensor))
    name = "".join(protobuf_texts(tensor, 8))
    n_values = prod(size for number, value in fields if number == 1 for size in protobuf_integers(value))
    elsewhere = [value for number, value in fields if number == 13]
    if elsewhere or any(number == 14 and value == 1 for number, value in fields):
        entries = {"".join(protobuf_texts(pair, 1)): "".join(protobuf_texts(pair, 2)) for pair in elsewhere}
        yield from _dangers_of_file(name, entries.get("location", ""), n_values, folder)
    elif n_values > 2 * len(tensor):  # two of the smallest values go into a byte
        yield f"its constant {name!r} claims {n_values:,} values in {len(tensor):,} bytes"


def _dangers_of_file(name: str, location: str, n_values: int, folder: Path) -> Iterator[str]:
    relative = PurePosixPath(location)
    path = folder / location
    if not location or relative.is_absolute() or ".." in relative.parts or "\\" in location:
        yield f"the values of its constant {name!r} are in {location!r}, outside of its folder"
    elif path.exists() and not path.resolve().is_relative_to(folder.resolve()):
        yield f"the values of its constant {name!r} are in {location!r}, a link out of its folder"
    elif not path.is_file():
        yield f"the values of its constant {name!r} are in {location!r}, which is not beside it"
    elif n_values > 2 * path.stat().st_size:
        yield f"its constant {name!r} claims {n_values:,} values in {path.stat().st_size:,} bytes of {location!r}"


def _int64s(tensor: memoryview) -> list[int]:
    fields: list[tuple[int, Any]] = list(protobuf_fields(tensor))
    raw = b"".join(bytes(value) for number, value in fields if number == 9)
    if raw:
        return [int(value) for value in np.frombuffer(raw, "<i8")] if len(raw) % 8 == 0 else []
    return [value for number, part in fields if number == 7 for value in protobuf_integers(part)]
