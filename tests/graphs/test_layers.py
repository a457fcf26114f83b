"""Layers as matrices give what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sleap_infer.quantization.layers import draw_rows, find_layers, from_matrices, to_matrices

N_ROWS = 50
CONVOLUTIONS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("Conv", (6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("Conv", (6, 4, 1, 1), {}),
    ("Conv", (6, 4, 3, 5), {"pads": [0, 2, 1, 3], "strides": [2, 3], "dilations": [2, 1]}),
    ("Conv", (6, 2, 3, 3), {"pads": [1, 1, 1, 1], "group": 2}),
    ("Conv", (4, 1, 7, 7), {"pads": [3, 3, 3, 3], "group": 4}),
    ("ConvTranspose", (4, 6, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2], "output_padding": [1, 1]}),
    ("ConvTranspose", (4, 6, 2, 2), {"strides": [2, 2]}),
    ("ConvTranspose", (4, 3, 3, 4), {"pads": [0, 1, 1, 2], "strides": [3, 2], "group": 2}),
]


def one_layer(operation: str, shape: tuple[int, ...], given: dict[str, Any], n_outputs: int | None) -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    constants = {"w": rng.normal(size=shape)} | ({"b": rng.normal(size=n_outputs)} if n_outputs else {})
    node = helper.make_node(operation, ["x", *constants], ["y"], name="network/block/layer", **given)
    graph = helper.make_graph(
        [node],
        "one layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


@pytest.mark.parametrize(("operation", "shape", "given"), CONVOLUTIONS)
def test_rows_of_convolutions(operation: str, shape: tuple[int, ...], given: dict[str, Any]) -> None:
    groups = given.get("group", 1)
    n_outputs = shape[0] if operation == "Conv" else shape[1] * groups
    model = one_layer(operation, shape, given, n_outputs)
    (layer,) = find_layers(model)
    constants = constants_of(model)
    x = np.random.default_rng(1).normal(size=(3, 4, 11, 13)).astype(np.float32)
    expected = run(model, x)
    rows = draw_rows(layer, x, N_ROWS, np.random.default_rng(2))
    matrices = to_matrices(layer, constants["w"])
    assert rows.shape == (groups, N_ROWS, matrices.shape[2])
    found = (rows @ matrices.swapaxes(1, 2)).swapaxes(0, 1).reshape(N_ROWS, -1) + constants["b"]
    places = np.random.default_rng(2)
    image, row, column = (places.integers(n, size=N_ROWS) for n in (len(x), *expected.shape[2:]))
    np.testing.assert_allclose(found, expected[image, :, row, column], atol=1e-4)
    np.testing.assert_array_equal(from_matrices(layer, matrices, shape), constants["w"])


@pytest.mark.parametrize(
    ("operation", "shape", "given"),
    [("Gemm", (5, 4), {"transB": 1}), ("Gemm", (4, 5), {}), ("MatMul", (4, 5), {})],
)
def test_rows_of_products(operation: str, shape: tuple[int, ...], given: dict[str, Any]) -> None:
    model = one_layer(operation, shape, given, 5 if operation == "Gemm" else None)
    (layer,) = find_layers(model)
    constants = constants_of(model)
    x = np.random.default_rng(1).normal(size=(7, 4) if operation == "Gemm" else (2, 3, 7, 4)).astype(np.float32)
    expected = run(model, x).reshape(-1, 5)
    matrices = to_matrices(layer, constants["w"])
    found = draw_rows(layer, x, N_ROWS, np.random.default_rng(2))[0] @ matrices[0].T + constants.get("b", 0)
    which = np.random.default_rng(2).integers(len(expected), size=N_ROWS)
    np.testing.assert_allclose(found, expected[which], atol=1e-5)
    np.testing.assert_array_equal(from_matrices(layer, matrices, shape), constants["w"])


def test_odd_forms_are_left_out() -> None:
    plain = one_layer("Conv", (6, 4, 3, 3), {}, 6)
    assert len(find_layers(plain)) == 1
    outside = one_layer("Conv", (6, 4, 3, 3), {}, 6)
    outside.graph.node[0].name = "layer"
    shared = one_layer("Conv", (4, 4, 3, 3), {"pads": [1, 1, 1, 1]}, 4)
    shared.graph.node.append(helper.make_node("Conv", ["y", "w", "b"], ["z"], name="network/block/again"))
    for odd in (
        outside,
        shared,
        one_layer("Conv", (6, 4, 3, 3), {"auto_pad": "SAME_UPPER"}, 6),
        one_layer("Conv", (6, 4, 3), {}, 6),
        one_layer("Gemm", (4, 5), {"transA": 1}, 5),
        one_layer("Gemm", (4, 5), {"alpha": 0.5}, 5),
        one_layer("ConvTranspose", (4, 6, 1, 1), {"pads": [1, 1, 1, 1]}, 6),
    ):
        assert find_layers(odd) == []
