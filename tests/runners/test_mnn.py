"""MNN: graphs are split at their networks, networks are converted once, and poses are those of other backends."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from traces import run, strace

from sleap_infer import Predictor
from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.errors import BackendNotInstalledError, ExportedModelError, OptionError, UnsupportedModelError
from sleap_infer.export import ExportResult, export
from sleap_infer.runners import find_runner
from sleap_infer.runners.graph import mnn_parts
from sleap_infer.runners.graph.mnn_network import MnnNetwork
from sleap_infer.runners.graph.split import PARTS_NAME, Part, read_parts, split_graph
from sleap_infer.system.cache_directory import CACHE_VARIABLE, cache_directory
from sleap_infer.system.cache_entries import seal

LAYER = "network/encoder_stack.0/"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def export_of_centroid(exports: Mapping[str, ExportResult], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(exports["centroid"].directory, tmp_path / "centroid")


def write_network(path: Path, nodes: list[Any], *, made: str = "y") -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "16*h", "16*w"])
    out = helper.make_tensor_value_info(made, TensorProto.FLOAT, None)
    between = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, "16*h", "16*w"])
    graph = helper.make_graph(nodes, "graph", [image], [out], value_info=[between])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def random_images(spec: Any, n_images: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    shape = (n_images, spec.backbone.in_channels, *size)
    return np.random.default_rng(n_images).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["single_instance", "bottomup", "multi_class_topdown"])
def test_parts_give_the_bits_of_the_graph(kind: str, exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    graph = exports[kind].graph
    parts = split_graph(graph, tmp_path)
    assert [part.is_network for part in parts] == [False, True, False]
    session = onnxruntime.InferenceSession(graph)
    images = random_images(exports[kind].spec, 2)
    names = [item.name for item in session.get_outputs()]
    expected = session.run(names, {"image": images})
    values: dict[str, np.ndarray] = {"image": images, "peak_threshold": np.array(0.2, np.float32)}
    for part in parts:
        onnx.checker.check_model(str(tmp_path / part.name), full_check=True)
        fed = {name: values[name] for name in part.inputs}
        found = onnxruntime.InferenceSession(tmp_path / part.name).run(list(part.outputs), fed)
        values |= zip(part.outputs, found, strict=True)
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_two_networks_in_one_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["a"], name="before"),
        helper.make_node("Relu", ["a"], ["b"], name="network/centroid.head_layers.0/relu"),
        helper.make_node("Shape", ["b"], ["size"], name="network/centroid.head_layers.0/shape"),
        helper.make_node("Sqrt", ["b"], ["c"], name="between"),
        helper.make_node("Relu", ["c"], ["d"], name="network/centered.head_layers.0/relu"),
        helper.make_node("Expand", ["d", "size"], ["y"], name="after"),
    ]
    graph = write_network(tmp_path / "model.onnx", nodes)
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    onnx.save(model, graph)
    parts = split_graph(graph, tmp_path)
    assert [(part.is_network, part.inputs, part.outputs) for part in parts] == [
        (False, ("image",), ("a",)),
        (True, ("a",), ("b",)),
        (False, ("b",), ("c",)),
        (True, ("c",), ("d",)),
        (False, ("b", "d"), ("y",)),  # reads the shape of b again: a network passes on floats only
    ]


@pytest.mark.parametrize("n_images", [1, 4, 7])
def test_any_number_and_size_of_images(n_images: int, exports: Mapping[str, ExportResult]) -> None:
    path = exports["bottomup"].directory
    with find_runner("mnn").from_model_path(path) as mnn, find_runner("onnx").from_model_path(path) as reference:
        for size in ((96, 128), (64, 64), (96, 128)):
            images = random_images(reference.spec, n_images, size)
            found, expected = mnn.infer(images), reference.infer(images)
            for name, value in expected.items():
                assert found[name].shape == value.shape
            np.testing.assert_allclose(found["peak_vals"], expected["peak_vals"], atol=1e-4)


@pytest.mark.parametrize("kind", ["bottomup", "centered_instance"])
def test_results_do_not_depend_on_the_batch(kind: str, exports: Mapping[str, ExportResult]) -> None:
    with find_runner("mnn").from_model_path(exports[kind].directory) as runner:
        images = random_images(runner.spec, 7, (80, 80))
        together = runner.infer(images)
        for number in range(7):
            for name, value in runner.infer(images[number : number + 1]).items():
                np.testing.assert_array_equal(value[0], together[name][number], err_msg=name)


def test_many_threads_give_the_bits_of_one(exports: Mapping[str, ExportResult]) -> None:
    """A session of MNN that two threads share gives wrong values without an error."""
    path = exports["bottomup"].directory
    with find_runner("mnn").from_model_path(path, backend_options={"streams": 4}) as runner:
        sets = [random_images(runner.spec, 3, size) for size in ((96, 128), (64, 64), (128, 96), (64, 96)) * 4]
        expected = [runner.infer(images) for images in sets]
        with ThreadPoolExecutor(8) as pool:
            for found, wanted in zip(pool.map(runner.infer, sets * 3), expected * 3, strict=True):
                for name, value in wanted.items():
                    np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_it_is_converted_once(
    exports: Mapping[str, ExportResult], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exports["centroid"].directory
    find_runner("mnn").from_model_path(path).close()
    (entry,) = cache_directory("mnn").iterdir()
    assert sorted(item.name for item in entry.iterdir()) == [
        "0.onnx",
        "1.mnn",
        "2.onnx",
        mnn_parts.GRAPH_SUM,
        PARTS_NAME,
        "sums.json",
    ]
    monkeypatch.setattr(mnn_parts, "make_parts", lambda *given: pytest.fail("converted again"))
    find_runner("mnn").from_model_path(path).close()


def test_a_damaged_entry_is_made_again(exports: Mapping[str, ExportResult]) -> None:
    path = exports["centroid"].directory
    find_runner("mnn").from_model_path(path).close()
    (entry,) = cache_directory("mnn").iterdir()
    whole = (entry / "1.mnn").read_bytes()
    (entry / "1.mnn").write_bytes(whole[:100])
    find_runner("mnn").from_model_path(path).close()
    assert len((entry / "1.mnn").read_bytes()) == len(whole)


def test_an_export_has_its_networks(
    models: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (made,) = export(models / "single_instance", tmp_path / "out", ExportOptions(format="mnn", n_frames=2))
    assert made.report is not None
    assert "for MNN mnn/1.mnn" in str(made)
    images = random_images(made.spec, 2)
    with find_runner("mnn").from_model_path(made.directory) as runner:
        expected = runner.infer(images)["peaks"]
    assert not list(cache.rglob("*.mnn"))
    network = made.directory / mnn_parts.FOLDER / "1.mnn"
    network.write_bytes(network.read_bytes()[:200])
    with find_runner("mnn").from_model_path(made.directory) as runner:
        np.testing.assert_array_equal(runner.infer(images)["peaks"], expected)
    assert list(cache.rglob("*.mnn"))
    assert "is damaged (1.mnn has changed)" in caplog.text


def test_an_operation_that_mnn_does_not_have(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["x"], name=LAYER + "relu"),
        helper.make_node("Hardmax", ["x"], ["y"], name=LAYER + "hardmax"),
    ]
    graph = write_network(tmp_path / "model.onnx", nodes)
    with pytest.raises(
        UnsupportedModelError, match=r"does not run Hardmax, found in .*model\.onnx\. Use backend='onnx'"
    ):
        mnn_parts.make_parts(graph, tmp_path / "parts")


def test_a_network_that_computes_other_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Relu", ["image"], ["y"], name=LAYER + "relu")]
    graph = write_network(tmp_path / "model.onnx", nodes)
    mnn_parts.make_parts(graph, tmp_path / "parts")
    run_it = MnnNetwork.run
    monkeypatch.setattr(MnnNetwork, "run", lambda self, images: {"y": 1.01 * run_it(self, images)["y"]})
    with pytest.raises(ExportedModelError, match=r"differs on MNN .*: y by 0\.01"):
        mnn_parts.make_parts(graph, tmp_path / "again")


def test_a_graph_of_another_program(tmp_path: Path) -> None:
    graph = write_network(tmp_path / "model.onnx", [helper.make_node("Relu", ["image"], ["y"], name="relu")])
    with pytest.raises(ExportedModelError, match="does not name the operations of its network"):
        split_graph(graph, tmp_path)


def test_a_list_of_parts_that_is_malformed(tmp_path: Path) -> None:
    elsewhere = {"name": "../1.onnx", "is_network": False, "inputs": [], "outputs": []}
    no_input = {"name": "1.mnn", "is_network": True, "inputs": [], "outputs": ["y"]}
    for found in ([{"name": 3}], {"a": 1}, [elsewhere], [no_input]):
        (tmp_path / PARTS_NAME).write_text(json.dumps(found))
        with pytest.raises(ExportedModelError, match="not a list of the parts"):
            read_parts(tmp_path)


@pytest.mark.parametrize("name", ["graph.sha256", PARTS_NAME])
def test_a_folder_of_parts_from_elsewhere(
    name: str, export_of_centroid: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksums are right, and its content is not ours."""
    folder = export_of_centroid / mnn_parts.FOLDER
    mnn_parts.make_parts(export_of_centroid / "model.onnx", folder)
    (folder / name).write_bytes(b"\xff\xfe")
    seal(folder)
    find_runner("mnn").from_model_path(export_of_centroid).close()
    assert "is damaged" in caplog.text
    assert list(cache.rglob("*.mnn"))
    (folder / "sums.json").write_text('{"../model.onnx": "0"}')
    find_runner("mnn").from_model_path(export_of_centroid).close()
    assert "outside of its folder" in caplog.text


def test_a_damaged_graph(export_of_centroid: Path) -> None:
    graph = export_of_centroid / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:5000])
    with pytest.raises(ExportedModelError, match="damaged"):
        find_runner("mnn").from_model_path(export_of_centroid)


def test_options(exports: Mapping[str, ExportResult], models: Path, tmp_path: Path) -> None:
    path = exports["centroid"].directory
    runner = find_runner("mnn").from_model_path(path, backend_options={"numThread": 2})
    assert (runner.n_streams, runner.streams.n_threads) == (1, 2)
    with pytest.raises(OptionError, match="'precision' is unknown: MNN has streams and numThread"):
        find_runner("mnn").from_model_path(path, backend_options={"precision": "low"})
    with pytest.raises(OptionError, match="MNN computes in fp32"):
        Predictor.from_model_paths(models / "centroid", backend="mnn", precision="bf16")
    with pytest.raises(OptionError, match="format 'mnn' is for fp32"):
        export(models / "centroid", tmp_path / "out", ExportOptions(format="mnn", precision="int8"))


def test_an_export_of_lower_precision(export_of_centroid: Path) -> None:
    metadata = export_of_centroid / "export_metadata.json"
    metadata.write_text(metadata.read_text().replace('"fp32"', '"bf16"'))
    with pytest.raises(OptionError, match="was exported in bf16"):
        find_runner("mnn").from_model_path(export_of_centroid)


def test_without_the_package(exports: Mapping[str, ExportResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MNN", None)
    with pytest.raises(BackendNotInstalledError, match=r"pip install .*\[mnn\]"):
        find_runner("mnn").from_model_path(exports["centroid"].directory)


def test_a_session_whose_network_fails(tmp_path: Path) -> None:
    (tmp_path / "1.mnn").write_bytes(b"nothing")
    with pytest.raises(ExportedModelError, match="cannot be opened by MNN"):
        MnnNetwork(tmp_path / "1.mnn", Part("1.mnn", True, ("image",), ("y",)), (1, 1, 8, 8))


FIRST_USE = """
import sys
from sleap_infer.runners import find_runner
find_runner("mnn").from_model_path(sys.argv[1]).close()
bad = [name for name in sys.modules if "aliyun" in name or name.startswith("MNN.tools")]
assert [name for name in bad if sys.modules[name] is not None] == []
try:
    import MNN.tools.mnnconvert
except ImportError:
    print("blocked")
"""


def test_an_output_that_the_network_does_not_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["image"], ["y"], name=LAYER + "relu")]
    (part,) = mnn_parts.make_parts(write_network(tmp_path / "model.onnx", nodes), tmp_path / "parts")
    with pytest.raises(ExportedModelError, match="cannot be opened by MNN"):
        MnnNetwork(tmp_path / "parts" / part.name, Part("1.mnn", True, part.inputs, ("other",)), (1, 1, 16, 16))


def test_without_stdout(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    """As of a service that was started with its stdout closed."""
    code = "import os, sys\nos.close(1)\nfrom sleap_infer.runners import find_runner\n"
    code += "find_runner('mnn').from_model_path(sys.argv[1]).close()"
    assert run(["-c", code, str(exports["centroid"].directory)], tmp_path).code == 0


@pytest.mark.skipif(not strace(), reason="needs strace")
def test_nothing_is_sent_installed_or_printed(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    found = run(["-c", FIRST_USE, str(exports["centroid"].directory)], tmp_path)
    assert found.code == 0, found.text
    assert found.text.splitlines()[-1] == "blocked"
    assert "The device supports" not in found.text
    assert found.connections == ()
    assert found.processes == ()
    assert all("/mnn/" in name for name in found.files), found.files


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("unet_rgb", marks=pytest.mark.exhaustive),
        pytest.param("unet_stem2", marks=pytest.mark.exhaustive),
        pytest.param("convnext_small_arch", marks=pytest.mark.exhaustive),
        pytest.param("swint_small_arch", marks=pytest.mark.exhaustive),
    ],
)
def test_other_architectures(name: str, corpus: Path) -> None:
    """Random weights: the values of the highest peaks are compared."""
    path, rng = corpus / "models" / name, np.random.default_rng(0)
    mnn, reference = (
        Predictor.from_model_paths(path, backend=backend, device="cpu", peak_threshold=0.0)
        for backend in ("mnn", "onnx")
    )
    with mnn, reference:
        for n_images in (1, 4, 7):
            channels = mnn.runners[0].spec.backbone.in_channels
            images = rng.integers(0, 256, (n_images, channels, 128, 160), dtype=np.uint8)
            found, expected = (one.runners[0].infer(images) for one in (mnn, reference))
            for key in [name for name in expected if name.endswith("_vals")]:
                least = 1e-4 * float(np.nanmax(np.abs(expected[key])))
                highest = [np.sort(values[key], axis=-1) for values in (found, expected)]
                np.testing.assert_allclose(*highest, atol=least, rtol=0)
