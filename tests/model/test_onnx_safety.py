"""ONNX files that reach outside of their folder, or claim more than they hold, are refused before they are opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleap_infer import Predictor
from sleap_infer.errors import ExportedModelError
from sleap_infer.model.onnx_graph import open_graph
from sleap_infer.model.onnx_safety import check_graph

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]


def save(path: Path, nodes: list[Any], constants: list[Any] | None = None) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [x], [y], constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def external(location: str, n_values: int = 4) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[n_values], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def add(constant: Any) -> tuple[list[Any], list[Any]]:
    return [helper.make_node("Add", ["x", "w"], ["y"])], [constant]


def inside_a_branch(constant: Any) -> tuple[list[Any], list[Any]]:
    """The constant in the graph of an If."""
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["z"])], "branch", [], [out], [constant])
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return [node], [numpy_helper.from_array(np.array(True), "yes")]


def as_a_node(constant: Any) -> tuple[list[Any], list[Any]]:
    return [helper.make_node("Constant", [], ["w"], value=constant), helper.make_node("Add", ["x", "w"], ["y"])], []


def claims(n_values: int) -> Any:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[n_values], raw_data=b"\0" * 16)


WAYS = (add, inside_a_branch, as_a_node)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("constant", "message"),
    [
        (external("/etc/passwd"), "outside of its folder"),
        (external("../secret.bin"), "outside of its folder"),
        (external("a/../../secret.bin"), "outside of its folder"),
        (external("..\\secret.bin"), "outside of its folder"),
        (external(""), "outside of its folder"),
        (external("link.bin"), "a link out of its folder"),
        (external("nothing.bin"), "which is not beside it"),
        (external("data.bin", 1 << 40), "claims 1,099,511,627,776 values in 16 bytes"),
        (claims(1 << 40), "claims 1,099,511,627,776 values"),
    ],
    ids=str,
)
def test_constants(
    tmp_path: Path, way: Callable[[Any], tuple[list[Any], list[Any]]], constant: Any, message: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "model" / "data.bin").write_bytes(b"\0" * 16)
    path = save(tmp_path / "model" / "model.onnx", *way(constant))
    for read in (check_graph, open_graph):
        with pytest.raises(ExportedModelError, match=message):
            read(path)


@pytest.mark.parametrize("operation", ["ConstantOfShape", "Expand"])
@pytest.mark.parametrize("as_node", [False, True])
def test_constants_that_a_graph_makes(tmp_path: Path, operation: str, as_node: bool) -> None:
    """Runtimes fold them when they open the graph: 4 TB of zeros from 16 bytes."""
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "s")
    made = [helper.make_node("Constant", [], ["s"], value=shape)] if as_node else []
    inputs = ["s"] if operation == "ConstantOfShape" else ["x", "s"]
    path = save(
        tmp_path / "model.onnx", [*made, helper.make_node(operation, inputs, ["y"])], [] if as_node else [shape]
    )
    with pytest.raises(ExportedModelError, match=rf"its operation {operation} makes"):
        open_graph(path)


def test_graphs_that_are_right(tmp_path: Path) -> None:
    """Weights beside the graph, and inside; exports of sleap-nn; a damaged file is left to the runtime."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "data.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    check_graph(save(tmp_path / "outside.onnx", *add(external("weights/data.bin"))))
    check_graph(save(tmp_path / "inside.onnx", *add(numpy_helper.from_array(np.zeros(4, np.float32), "w"))))
    for path in sorted((REPOSITORY / "tests" / "foreign" / "exports").rglob("model.onnx")):
        check_graph(path)
    (tmp_path / "damaged.onnx").write_bytes(b"\x3a\xff\xff")
    check_graph(tmp_path / "damaged.onnx")
    with pytest.raises(ExportedModelError, match="cannot be opened as an ONNX graph"):
        open_graph(tmp_path / "damaged.onnx")


def test_openvino_asks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")

    def refuse(path: Path) -> None:
        raise ExportedModelError(f"{path.name} was looked at")

    monkeypatch.setattr("sleap_infer.runners.graph.openvino.check_graph", refuse)
    with pytest.raises(ExportedModelError, match=r"model\.onnx was looked at"):
        Predictor.from_model_paths(REPOSITORY / "tests" / "foreign" / "exports" / "bottomup", backend="openvino")
