"""One contract for all backends: same candidates, same poses, same errors. A row per backend."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sleap_infer import BaseInferenceRunner, FakeRunner, Outputs
from sleap_infer.config import kinds
from sleap_infer.errors import BackendError, BackendNotInstalledError, DeviceError, ImageError, OptionError
from sleap_infer.export import ExportResult
from sleap_infer.frames import open_source
from sleap_infer.runners import find_runner
from sleap_infer.runners.registry import BUILT_IN
from sleap_infer.runners.torch.compiled import COMPILERS

KINDS = kinds.model_kinds()
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
BACKENDS = ["torch", "onnx", "mnn", "openvino", pytest.param("torch_compile", marks=needs_compiler)]
CHECKED = [(backend, kind) for backend in ("torch", "onnx", "mnn", "openvino") for kind in KINDS] + [
    pytest.param("torch_compile", "bottomup", marks=[needs_compiler, pytest.mark.exhaustive])
]


@pytest.fixture(scope="module")
def flies(videos: Path) -> np.ndarray:
    """(B, H, W, 1) frames of two flies."""
    with open_source(videos / "two_flies.mp4", frames=range(3)) as source:
        (batch,) = source.batches(3)
    return batch.images.transpose(0, 2, 3, 1)


def points(outputs: list[Outputs]) -> list[np.ndarray]:
    found = [out.pred_centroids if out.pred_keypoints is None else out.pred_keypoints for out in outputs]
    return [np.asarray(value) for value in found]


def test_every_backend_has_a_row() -> None:
    named = {row if isinstance(row, str) else row.values[0] for row in BACKENDS} | {"tensorrt"}  # in test_tensorrt
    assert named == set(BUILT_IN)
    for name in named:
        assert find_runner(name).backend == name


@pytest.mark.parametrize(("backend", "kind"), CHECKED)
def test_candidates_are_complete_and_poses_those_of_torch(
    backend: str, kind: str, models: Path, exports: Mapping[str, ExportResult], flies: np.ndarray
) -> None:
    path = exports[kind].directory if find_runner(backend).facts.runs_exports else models / kind
    images = flies[:, 50:130, 50:130] if kind in ("centered_instance", "multi_class_topdown") else flies
    with find_runner(backend).from_model_path(path, device="cpu") as runner:
        inputs, geometry = runner.preprocess_image(images)
        candidates = runner.infer(inputs)
        assert set(kinds.KINDS[kind].arrays) == set(candidates)
        assert all(isinstance(value, np.ndarray) and len(value) == 3 for value in candidates.values())
        outputs = runner.postprocess_results(candidates, geometry)
        smaller = runner.predict(images[:1])
        assert runner.device == "cpu"
    with find_runner("torch").from_model_path(models / kind, device="cpu") as reference:
        expected = reference.predict(images)
    for found, wanted in zip(points(outputs), points(expected), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)
    np.testing.assert_allclose(points(smaller)[0], points(expected)[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["bottomup"])
def test_all_forms_of_images_give_the_same(kind: str, models: Path, flies: np.ndarray) -> None:
    import torch

    runner = find_runner("torch").from_model_path(models / kind, device="cpu")
    expected = points(runner.predict(flies))
    assert len(expected) == 3
    assert expected[0].shape[0] == 2
    for images in (
        flies.transpose(0, 3, 1, 2),
        flies[..., 0][:, None],
        [flies[0, ..., 0], flies[1:, ..., 0]],
        list(flies),
        [flies[:1], flies[1:]],
        torch.from_numpy(flies),
        {"image": torch.from_numpy(np.ascontiguousarray(flies.transpose(0, 3, 1, 2)))},
        flies.astype(np.float32) / np.float32(255),
        flies.astype(np.float64),
        flies[:, ::-1][:, ::-1],
    ):
        for found, wanted in zip(points(runner.predict(images)), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_images_of_several_sizes_in_one_call(models: Path, flies: np.ndarray) -> None:
    runner = find_runner("torch").from_model_path(models / "bottomup", device="cpu")
    outputs = runner.predict([flies[0], flies[0, :100], flies[0, :100], flies[0]])
    assert [out.frame_idx for out in outputs] == [0, 1, 2, 3]
    np.testing.assert_array_equal(points(outputs)[0], points(outputs)[3])
    assert outputs[1].original_image.shape == (1, 100, 192)
    with pytest.raises(ImageError, match="2 different sizes"):
        runner.preprocess_image([flies[0], flies[0, :100]])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8)[..., None, None], "x", []]
)
def test_what_is_no_image(image: object, models: Path) -> None:
    runner = find_runner("torch").from_model_path(models / "single_instance", device="cpu")
    with pytest.raises(ImageError):
        runner.predict(image)


def test_heavy_things_come_on_request(models: Path, flies: np.ndarray) -> None:
    runner = find_runner("torch").from_model_path(
        models / "bottomup", device="cpu", return_confmaps=True, return_pafs=True, return_images=True
    )
    (out,) = runner.predict(flies[0])
    assert out.pred_confmaps.shape == (5, 96, 96)
    assert out.pred_pafs.shape == (8, 48, 48)
    assert out.processed_image.shape == (1, 192, 192)
    (light,) = find_runner("torch").from_model_path(models / "bottomup", device="cpu").predict(flies[0])
    assert light.pred_confmaps is None
    assert light.processed_image is None
    assert light.original_image is not None


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:-3", "xpu", ""])
def test_a_device_that_is_not_there(device: str, models: Path) -> None:
    with pytest.raises(DeviceError, match=r"cpu"):
        find_runner("torch").from_model_path(models / "single_instance", device=device)


@pytest.mark.parametrize(("backend", "module"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed(
    backend: str, module: str, exports: Mapping[str, ExportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendNotInstalledError, match="pip install"):
        find_runner(backend).from_model_path(exports["centroid"].directory)


def test_options_reach_the_runtime(models: Path, exports: Mapping[str, ExportResult]) -> None:
    path = exports["centroid"].directory
    onnx = find_runner("onnx").from_model_path(path, backend_options={"intra_op_num_threads": 1})
    assert onnx.session.get_session_options().intra_op_num_threads == 1
    openvino = find_runner("openvino").from_model_path(path, backend_options={"INFERENCE_NUM_THREADS": 1})
    assert openvino.model.get_property("INFERENCE_NUM_THREADS") == 1
    assert str(openvino.model.get_property("INFERENCE_PRECISION_HINT")).strip("<>").endswith("float32'")
    for backend, wrong in (
        ("onnx", {"intra_op_num_threads": "many"}),
        ("onnx", {"no_such_thing": 1}),
        ("openvino", {"NO_SUCH_THING": 1}),
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            find_runner(backend).from_model_path(path, backend_options=wrong)
    with pytest.raises(OptionError, match=r"streams and num_threads.*found threads"):
        find_runner("torch").from_model_path(models / "centroid", device="cpu", backend_options={"threads": 1})


def test_a_backend_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="one of: torch, torch_compile, onnx, mnn, openvino, tensorrt"):
        find_runner("tensorflow")


def test_compiling_without_a_compiler(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BackendNotInstalledError, match=r"apt install g\+\+"):
        find_runner("torch_compile").from_model_path(models / "single_instance", device="cpu")


@needs_compiler
@pytest.mark.slow
def test_a_partial_batch_is_not_compiled_again(models: Path, flies: np.ndarray) -> None:
    import torch
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    runner = find_runner("torch_compile").from_model_path(models / "single_instance", device="cpu")
    runner.module.network.compile(dynamic=False, backend=counter)
    rgb = np.repeat(flies, 3, axis=-1)
    runner.predict(rgb)
    compiled = counter.frame_count
    (short,) = runner.predict(rgb[:1])
    assert counter.frame_count == compiled > 0
    np.testing.assert_allclose(short.pred_keypoints, runner.predict(rgb)[0].pred_keypoints, atol=1e-4)


def test_cuda_computes_in_true_32_bits() -> None:
    import torch

    from sleap_infer.runners.torch.cuda_queue import exact

    with exact(True):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32
    with exact(False):
        assert torch.backends.cudnn.allow_tf32


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_poses_of_the_cpu(kind: str, models: Path, flies: np.ndarray) -> None:
    images = flies[:, 50:130, 50:130] if kind in ("centered_instance", "multi_class_topdown") else flies
    there, here = (find_runner("torch").from_model_path(models / kind, device=name) for name in ("cuda", "cpu"))
    for found, wanted in zip(points(there.predict(images)), points(here.predict(images)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.01)


def test_a_fake_runner_takes_a_function(models: Path) -> None:
    real = find_runner("torch").from_model_path(models / "single_instance", device="cpu")
    peaks = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    fake = FakeRunner(lambda images: {"peaks": peaks, "peak_vals": np.ones((1, 5))}, real.spec, real.settings)
    (out,) = fake.predict(np.zeros((192, 192, 3), np.uint8))
    np.testing.assert_array_equal(out.pred_keypoints, peaks)
    np.testing.assert_array_equal(out.instance_scores, [5])
    with pytest.raises(TypeError, match="gave no peak_vals"):
        FakeRunner(lambda images: {"peaks": peaks}, real.spec, real.settings).predict(np.zeros((192, 192), np.uint8))
    with pytest.raises(BackendError, match="constructor"):
        FakeRunner.from_model_path(models / "single_instance")


def test_the_contract_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseInferenceRunner(None, None)  # type: ignore[abstract, arg-type]
