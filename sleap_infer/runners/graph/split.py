"""Split an exported graph at its networks, for runtimes that run only networks.

The parts run in order: what is before the first network, the network, what is between or behind. Networks are found by
the names of their operations (`model/blocks.py`). Operations that only read shapes are repeated in each part that
needs them, so that a network passes on arrays of floats only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from sleap_infer.config.plain import from_plain
from sleap_infer.errors import ExportedModelError
from sleap_infer.model.blocks import block_of

PARTS_NAME = "parts.json"
SHAPE_READERS = ("Shape", "Size")


@frozen
class Part:
    """A part of a graph in a file of its own.

    Attributes:
        name: file name, without a folder.
        is_network: whether it is a network; else it runs on ONNX Runtime.
        inputs: names of its inputs, those of the graph or outputs of earlier parts.
        outputs: names of its outputs.
    """

    name: str = field()
    is_network: bool
    inputs: tuple[str, ...] = field()
    outputs: tuple[str, ...]

    @name.validator
    def _check_name(self, _attribute: object, value: str) -> None:
        if not re.fullmatch(r"\d+\.\w+", value):
            raise ValueError(f"{value!r} is not the name of a part")

    @inputs.validator
    def _check_inputs(self, _attribute: object, value: tuple[str, ...]) -> None:
        if self.is_network and len(value) != 1:
            raise ValueError(f"the network {self.name} has {len(value)} inputs, expected 1")


def write_parts(parts: Iterable[Part], folder: Path) -> None:
    """Write the list of parts into their folder."""
    text = json.dumps([attrs.asdict(part) for part in parts], indent=1)
    (folder / PARTS_NAME).write_text(text, encoding="utf-8")


def read_parts(folder: Path) -> tuple[Part, ...]:
    """Read the list of parts from their folder.

    Raises:
        ExportedModelError: there is none, or it is malformed.
    """
    path = folder / PARTS_NAME
    try:
        return tuple(from_plain(Part, item) for item in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExportedModelError(f"{path} is not a list of the parts of a graph ({error}). Export again.") from error


def split_graph(graph: Path, folder: Path) -> tuple[Part, ...]:
    """Write the parts of a graph as ONNX files.

    Args:
        graph: an ONNX file whose operations are named after blocks (`graphs/blocks.py`).
        folder: where the parts are written: `0.onnx`, `1.onnx`, ...

    Returns:
        The parts, in the order in which they run.

    Raises:
        ExportedModelError: the graph names no network, as in exports of other programs.
    """
    import onnx

    model = _load(graph)
    levels = _Levels(model.graph)
    if not any(level % 2 for level in levels.parts):
        raise ExportedModelError(
            f"{graph} does not name the operations of its network, which only exports of sleap_infer do. Use "
            "backend='onnx', or export the trained model with sleap-infer."
        )
    parts = []
    for level in levels.parts:
        part, content = levels.cut(level)
        versions = {"opset_imports": model.opset_import, "ir_version": model.ir_version}
        onnx.save(onnx.helper.make_model(content, **versions), str(folder / part.name))
        parts.append(part)
    return tuple(parts)


def _load(graph: Path) -> Any:
    import onnx

    try:
        return onnx.load(str(graph))
    except Exception as error:  # of protobuf, which is not a dependency of its own
        raise ExportedModelError(
            f"{graph} cannot be read as an ONNX graph: it is damaged or incomplete ({str(error)[:160]}). Copy it "
            "again, or export the model again."
        ) from error


class _Levels:
    """The part of each operation: even numbers outside of networks, odd inside; -1 if it only reads shapes.

    Args:
        graph: an `onnx.GraphProto`.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.of_node: list[int] = []
        self._constants = {item.name: item for item in graph.initializer}
        self._types = {item.name: item for item in (*graph.value_info, *graph.input, *graph.output)}
        self._makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
        level_of: dict[str, int] = {}
        shapes: set[str] = set()
        for node in graph.node:
            level = max((level_of.get(name, 0) for name in node.input), default=0)
            sources = [name for name in node.input if name and name not in self._constants]
            reads_shapes = node.op_type in SHAPE_READERS or (bool(sources) and shapes.issuperset(sources))
            if reads_shapes:
                shapes.update(node.output)
            elif (block_of(node.name) is not None) != bool(level % 2):
                level += 1
            level_of |= dict.fromkeys(node.output, level)
            self.of_node.append(-1 if reads_shapes else level)

    @property
    def parts(self) -> list[int]:
        """Return the numbers of the parts in the order in which they run."""
        return sorted(set(self.of_node) - {-1})

    def cut(self, level: int) -> tuple[Part, Any]:
        """Return a part and its `onnx.GraphProto`."""
        from onnx import helper

        nodes = [self.graph.node[index] for index in self._operations(level)]
        if level % 2:
            nodes = self._sizes_from_input(nodes)
        made = {name for node in nodes for name in node.output}
        used = {name: None for node in nodes for name in node.input if name and name not in made}
        given = [item.name for item in self.graph.input]
        inputs = [name for name in used if name in given or name not in self._constants]
        outputs = self._passed_on(level)
        content = helper.make_graph(
            nodes,
            f"part {level}",
            [self._type(name) for name in inputs],
            [self._type(name) for name in outputs],
            [self._constants[name] for name in used if name in self._constants],
        )
        part = Part(f"{level}.onnx", bool(level % 2), tuple(inputs), tuple(outputs))
        return part, content

    def _sizes_from_input(self, nodes: list[Any]) -> list[Any]:
        """Have the operations of a network read sizes from its input, where they read the same ones elsewhere."""
        made = {name for node in nodes for name in node.output} | set(self._constants)
        values = [name for node in nodes if node.op_type not in SHAPE_READERS for name in node.input]
        given = sorted({name for name in values if name and name not in made})
        if len(given) != 1:
            raise ExportedModelError(f"A network of the graph takes {len(given)} inputs, expected 1: {given}.")
        found = []
        for node in nodes:
            if node.op_type == "Shape" and node.input[0] not in (*made, *given):
                places = slice(*(_attribute(node, name) for name in ("start", "end")))
                if self._sizes(node.input[0])[places] == self._sizes(given[0])[places]:
                    node = _copy_with_input(node, given[0])
            found.append(node)
        return found

    def _sizes(self, name: str) -> list[str]:
        """Return the dimensions of an array, numbers or expressions."""
        return [dim.dim_param or str(dim.dim_value) for dim in self._type(name).type.tensor_type.shape.dim]

    def _type(self, name: str) -> Any:
        if name not in self._types:
            raise ExportedModelError(f"The graph does not say of which type {name!r} is. Export the model again.")
        return self._types[name]

    def _passed_on(self, level: int) -> list[str]:
        """Return what later parts, or the caller, take from a part, in the order of its operations."""
        taken = {item.name for item in self.graph.output}
        for later in [number for number in self.parts if number > level]:
            taken |= {name for index in self._operations(later) for name in self.graph.node[index].input}
        own = [index for index, found in enumerate(self.of_node) if found == level]
        return [name for index in own for name in self.graph.node[index].output if name in taken]

    def _operations(self, level: int) -> list[int]:
        """Return the operations of a part, with those that read shapes for it."""
        waiting = [index for index, found in enumerate(self.of_node) if found == level]
        found = set(waiting)
        while waiting:
            for name in self.graph.node[waiting.pop()].input:
                index = self._makers.get(name)
                if index is not None and self.of_node[index] == -1 and index not in found:
                    found.add(index)
                    waiting.append(index)
        return sorted(found)


def _attribute(node: Any, name: str) -> int | None:
    return next((item.i for item in node.attribute if item.name == name), None)


def _copy_with_input(node: Any, name: str) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[0] = name
    return copy
