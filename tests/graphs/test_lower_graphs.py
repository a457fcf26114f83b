"""Graphs in lower precision: equalized, rounded by what they see, and rounded nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from sleap_infer.export import ExportResult
from sleap_infer.frames import open_source
from sleap_infer.graphs.bfloat16 import round_weights
from sleap_infer.model.blocks import block_of
from sleap_infer.quantization.activations import watch
from sleap_infer.quantization.equalization import equalize, find_links
from sleap_infer.quantization.gptq_graph import round_layers, values_of
from sleap_infer.quantization.int8 import Ranges, measure_ranges, quantize
from sleap_infer.quantization.layers import find_layers

KINDS = ["single_instance", "centroid", "bottomup", "multi_class_bottomup"]


@pytest.fixture(scope="module")
def images(videos: Path) -> list[np.ndarray]:
    with open_source(videos / "two_flies.mp4", range(0, 48, 6)) as source:
        frames = [np.asarray(image)[None, :, :96, :128] for batch in source.batches(1) for image in batch.images]
    return [np.concatenate(frames[:4]), np.concatenate(frames[4:])]


@pytest.fixture(scope="module")
def equalized(
    exports: Mapping[str, ExportResult], images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("equalized") / "model.onnx"
    place.write_bytes(exports["bottomup"].graph.read_bytes())
    equalize(place, images)
    return place


@pytest.fixture(scope="module")
def ranges(equalized: Path, images: list[np.ndarray]) -> Ranges:
    return measure_ranges(equalized, images)


def maps_of(graph: Path, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What the heads of a graph give."""
    model = onnx.load(str(graph))
    heads = [node.output[0] for node in model.graph.node if "head_layers" in node.name and node.op_type == "Conv"]
    found = list(watch(model, heads, images, at_most=100))
    return {head: np.concatenate([values[head] for values in found]) for head in heads}


def off(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    return float(np.mean([np.sqrt(np.mean((found[name] - expected[name]) ** 2)) for name in expected]))


@pytest.mark.parametrize("kind", KINDS)
def test_equalized_networks_give_the_same(
    exports: Mapping[str, ExportResult], images: list[np.ndarray], tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "model.onnx"
    place.write_bytes(exports[kind].graph.read_bytes())
    model = onnx.load(str(place))
    links = find_links(model)
    assert len(links) >= 0.7 * sum(node.op_type == "Relu" for node in model.graph.node)
    expected = maps_of(place, images)
    equalize(place, images)
    assert place.read_bytes() != exports[kind].graph.read_bytes()
    for name, values in maps_of(place, images).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5 * np.abs(expected[name]).max())


def test_channels_reach_as_far_as_each_other(
    exports: Mapping[str, ExportResult], images: list[np.ndarray], equalized: Path
) -> None:
    def unevenness(graph: Path) -> float:
        model = onnx.load(str(graph))
        tensors = [link.tensor for link in find_links(model)]
        values = list(watch(model, tensors, images, at_most=8))
        reach = {name: np.max([each[name].max(axis=(0, 2, 3)) for each in values], axis=0) for name in tensors}
        return float(np.mean([np.log(each[each > 0]).std() for each in reach.values()]))

    assert unevenness(equalized) < 0.7 * unevenness(exports["bottomup"].graph)


def test_int8_is_nearer_equalized_and_compensated(
    exports: Mapping[str, ExportResult], images: list[np.ndarray], equalized: Path, ranges: Ranges, tmp_path: Path
) -> None:
    expected = maps_of(exports["bottomup"].graph, images)
    quantize(measure_ranges(exports["bottomup"].graph, images), tmp_path / "plain.onnx")
    quantize(ranges, tmp_path / "better.onnx", rounded=round_layers(equalized, images, "int8"))
    plain, better = (off(maps_of(tmp_path / f"{name}.onnx", images), expected) for name in ("plain", "better"))
    assert better < 0.75 * plain


def test_bf16_weights_are_nearer_compensated(
    exports: Mapping[str, ExportResult], images: list[np.ndarray], tmp_path: Path
) -> None:
    graph = exports["bottomup"].graph
    expected = maps_of(graph, images)
    round_weights(graph, tmp_path / "plain.onnx")
    round_weights(graph, tmp_path / "better.onnx", changed=values_of(round_layers(graph, images, "bf16")))
    plain, better = (off(maps_of(tmp_path / f"{name}.onnx", images), expected) for name in ("plain", "better"))
    assert better < 0.6 * plain


def test_without_images_nothing_is_rounded_by_them(exports: Mapping[str, ExportResult]) -> None:
    assert round_layers(exports["bottomup"].graph, [], "bf16") == ()


def test_weights_lie_on_the_scales_that_the_graph_says(
    ranges: Ranges, images: list[np.ndarray], tmp_path: Path
) -> None:
    rounded = round_layers(ranges.graph, images, "int8")
    quantize(ranges, tmp_path / "q.onnx", rounded=rounded)
    stored = {
        item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(str(tmp_path / "q.onnx")).graph.initializer
    }
    assert len(rounded) == len(find_layers(onnx.load(str(ranges.graph))))
    for item in rounded:
        scales, whole = (stored[f"{item.layer.weights}_{what}"] for what in ("scale", "quantized"))
        shape = [1] * whole.ndim
        shape[item.layer.axis] = -1
        np.testing.assert_allclose(whole * scales.reshape(shape), item.weights, rtol=1e-5)


@pytest.mark.parametrize("kept", [[], ["middle_blocks.0"], ["head_layers.0", "head_layers.1"], ["decoder_stack.1"]])
def test_what_is_not_quantized_sees_nothing_rounded(ranges: Ranges, tmp_path: Path, kept: list[str]) -> None:
    quantize(ranges, tmp_path / "q.onnx", kept)
    graph = onnx.load(str(tmp_path / "q.onnx")).graph
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        sources = [makers[name].op_type for name in node.input if name in makers]
        if block_of(node.name) in kept or (block_of(node.name) is None and node.op_type != "QuantizeLinear"):
            assert node.op_type == "DequantizeLinear" or "DequantizeLinear" not in sources, node.name
    quantized = [node for node in graph.node if node.op_type == "Conv" and block_of(node.name) not in kept]
    assert quantized
    assert all(
        makers[node.input[0]].op_type == makers[node.input[1]].op_type == "DequantizeLinear" for node in quantized
    )


def test_runtimes_do_not_quantize_what_is_kept(ranges: Ranges, images: list[np.ndarray], tmp_path: Path) -> None:
    """ONNX Runtime quantizes the weights of convolutions between rounded tensors of its own accord."""
    quantize(ranges, tmp_path / "q.onnx", ["middle_blocks.0"])
    found = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
        found.append(session.run(["peak_vals"], {"image": images[0], "peak_threshold": np.array(-1.0, np.float32)})[0])
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)
