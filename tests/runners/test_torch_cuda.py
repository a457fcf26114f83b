"""Batches in flight: the code that feeds a GPU, on pretended streams; and on a real one where there is one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from pretend_cuda import pretend
from tiny_model import change, checkpoint_of, tiny_config, write_model
from torch._dynamo.testing import CompileCounter
from torch.overrides import TorchFunctionMode

from sleap_infer import Outputs, Predictor
from sleap_infer.config.kinds import model_kinds
from sleap_infer.errors import DeviceMemoryError, OptionError
from sleap_infer.frames import open_source
from sleap_infer.model import load_network, read_spec
from sleap_infer.model.settings import ImageSettings, read_options, resolve
from sleap_infer.poses.preprocess import take_crops
from sleap_infer.runners import find_runner
from sleap_infer.runners.torch.compiled import COMPILERS
from sleap_infer.runners.torch.compiled_code import check_code_directory
from sleap_infer.runners.torch.cuda_graphs import MOST, Replays
from sleap_infer.runners.torch.cuda_queue import CudaQueue
from sleap_infer.runners.torch.pose_network import PoseNetwork
from sleap_infer.runners.torch.runner import LEAST_CAPACITY, InferenceRunnerTorch

KINDS = model_kinds()
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
ON_CROPS = ("centered_instance", "multi_class_topdown")


@pytest.fixture(scope="module")
def frames(videos: Path) -> np.ndarray:
    """(B, 1, H, W) frames of two flies."""
    with open_source(videos / "two_flies.mp4", frames=range(5)) as source:
        (batch,) = source.batches(5)
    return batch.images


@pytest.fixture
def on_streams(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives a runner the queue of a GPU."""
    pretend(monkeypatch)

    def give(runner: Any, n_slots: int = 2) -> InferenceRunnerTorch:
        runner._queue = CudaQueue(torch.device("cpu"), exactly=True, n_slots=n_slots)
        return runner

    return give


def images_for(kind: str, frames: np.ndarray) -> np.ndarray:
    return frames[:, :, 50:130, 50:130] if kind in ON_CROPS else frames


def same(found: list[Outputs], expected: list[Outputs], atol: float = 1e-4) -> None:
    for one, other in zip(found, expected, strict=True):
        for name in ("pred_keypoints", "pred_centroids", "instance_scores"):
            if (wanted := getattr(other, name)) is not None:
                np.testing.assert_allclose(getattr(one, name), wanted, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_poses_are_those_of_the_simple_way(kind: str, models: Path, frames: np.ndarray, on_streams: Any) -> None:
    images = images_for(kind, frames)
    plain, queued = (
        find_runner("torch").from_model_path(models / kind, device="cpu", backend_options={"streams": 1})
        for _ in range(2)
    )
    on_streams(queued)
    assert queued.runs_beside
    assert not plain.runs_beside
    same(queued.predict(images), plain.predict(images))
    inputs, geometry = queued.preprocess_image(images)
    started = [queued.start(inputs[:n]) for n in (5, 1, 3, 4)]  # more than there are slots, of several sizes
    for n, pending in zip((5, 1, 3, 4), started, strict=True):
        same(queued.postprocess_results(pending(), geometry), plain.predict(images[:n]))
    queued.close()


def test_more_peaks_than_the_capacity(models: Path, frames: np.ndarray, on_streams: Any) -> None:
    """Such a batch is run again; one with few peaks after it has the larger capacity.

    Peaks of the animals only: those of noise come, go and move with the last bits, as their patches sum to almost zero.
    """
    plain = find_runner("torch").from_model_path(models / "bottomup", device="cpu")
    expected = plain.predict(frames)
    assert max(np.isfinite(out.pred_peak_values).sum(axis=0).max() for out in expected) == 2, "two flies"
    queued = on_streams(find_runner("torch").from_model_path(models / "bottomup", device="cpu"))
    queued._capacity = 1
    same(queued.predict(frames), expected)
    assert queued._capacity == LEAST_CAPACITY
    same(queued.predict(frames[:1]), expected[:1])
    limited = find_runner("torch").from_model_path(models / "bottomup", device="cpu", max_peaks_per_node=1)
    expected = limited.predict(frames)
    queued = on_streams(limited)
    same(queued.predict(frames), expected)
    assert limited.infer(frames)["peaks"].shape[2] == 1


def test_a_device_without_memory(models: Path, frames: np.ndarray, on_streams: Any) -> None:
    """A typed error, and the next batch goes through."""
    runner = on_streams(find_runner("torch").from_model_path(models / "bottomup", device="cpu"))
    look = runner._find

    def full(images: torch.Tensor, capacity: int) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    runner._find = full
    with pytest.raises(DeviceMemoryError, match="smaller batch_size"):
        runner.predict(frames)
    runner._find = look
    assert len(runner.predict(frames[:1])) == 1


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("kind", ON_CROPS)
def test_a_pipeline_of_two_networks(
    kind: str, scale: float, models: Path, videos: Path, on_streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [models / "centroid", models / kind]
    options = {"device": "cpu", "backend_options": {"streams": 1}, "input_scaling": scale, "batch_size": 3}
    with Predictor.from_model_paths(paths, **options, crop_batch_size=4) as plain:
        expected = plain.predict(videos / "two_flies.mp4", as_labels=False, frames=range(10))
    with Predictor.from_model_paths(paths, **options, crop_batch_size=4) as queued:
        for runner in queued.runners:
            on_streams(runner)
        assert len(queued._stages()) == len(plain._stages()) + 1
        same(queued.predict(videos / "two_flies.mp4", as_labels=False, frames=range(10)), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.7, 1.3])
def test_crops_on_a_device_are_those_of_the_host(dtype: Any, scale: float) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, 40, 50), np.uint8)
    images = images if dtype == np.uint8 else (images / np.float32(255)).astype(np.float32)
    which, first = rng.integers(0, 2, 20), rng.integers(-30, 60, (20, 2))
    settings = ImageSettings(input_scaling=scale, pad_to_stride=16)
    expected = take_crops(images, which, first, 21, settings)
    found = take_crops(*map(torch.from_numpy, (images, which, first)), 21, settings)
    assert found.numpy().dtype == dtype
    # Floats are resized as the integers they came from; the host resizes them as they are.
    atol = 0 if dtype == np.uint8 or scale == 1.0 else 1.01 / 255
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=atol)


class Waits(TorchFunctionMode):
    """Notes what makes a GPU wait for the host, or the host for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in ("new_tensor", "tensor", "item", "cpu", "tolist", "__bool__", "__int__", "__float__", "nonzero"):
            self.found.append(name)
        if name == "__getitem__":
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            self.found += ["a list as index" for part in parts if isinstance(part, list)]
            self.found += ["a mask as index" for part in parts if getattr(part, "dtype", None) == torch.bool]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_waits_between_the_pixels_and_the_candidates(
    kind: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU stands for a GPU here, where all places are taken for used.
    monkeypatch.setattr("sleap_infer.ops.pafs._positions_used", lambda peaks: peaks.shape[2])
    spec = read_spec(models / kind)
    settings = resolve([spec], read_options([spec], spec.row.pipeline, {})).stages[0]
    network = PoseNetwork(load_network(models / kind), spec, settings)
    images = torch.zeros(2, 1, 96, 96, dtype=torch.uint8)
    with torch.inference_mode():
        network(images, capacity=8)  # constants are made once
        with Waits() as waits:
            network(images, capacity=8)
    assert waits.found == []
    with torch.inference_mode(), Waits() as waits:
        network(images)  # which counts the peaks, where there may be several
    assert waits.found == ["__int__"] * bool(spec.row.capacity)


def test_a_short_batch_is_replayed_as_a_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    seen = []

    def function(images: torch.Tensor, capacity: int) -> dict[str, torch.Tensor]:
        seen.append(tuple(images.shape))
        return {"mean": images.float().mean(dim=(1, 2, 3))}

    replays = Replays(function, records=False, at_once=4)
    for values in ([1, 2, 3, 4], [4], [5, 6], [1, 2, 3, 4, 5]):
        images = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
        assert replays(images, 8)["mean"].tolist() == values
    assert set(seen[:6]) == {(4, 1, 4, 4)}
    assert seen[-1] == (5, 1, 4, 4)
    for side in range(5, 40):
        replays(torch.zeros(3, 1, side, 4), 8)
    assert seen[-1] == (4, 1, 39, 4)
    assert len(replays._recordings) == MOST


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A network of two blocks with random weights and peaks above 0, compiled in half the time of a trained one."""
    config = change(tiny_config("single_instance"), "model_config/backbone_config/unet/max_stride", 4)
    network = write_model(tmp_path / "small", config)
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.startswith("head_layers") and name.endswith("bias"):
                values += 1
    torch.save(checkpoint_of(network), tmp_path / "small" / "best.ckpt")
    return tmp_path / "small"


@needs_compiler
@pytest.mark.slow
def test_more_sizes_than_pytorch_compiles_by_itself(small_model: Path) -> None:
    """Beyond eight it would go on without compiling, and say so only on the side."""
    torch._dynamo.reset()
    counter = CompileCounter()
    runner: Any = find_runner("torch_compile").from_model_path(small_model, device="cpu")
    runner.module.network.compile(dynamic=False, fullgraph=True, backend=counter)
    for side in range(1, 11):
        runner.predict(np.zeros((1, 16 * side, 16, 1), np.uint8))
    assert counter.frame_count == 10


@needs_compiler
@pytest.mark.slow
def test_compiled_networks_give_the_same_and_are_kept(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Maps and peaks of a random network; peaks are whole pixels, since integrals of noise are not stable."""
    caplog.set_level("INFO", logger="sleap_infer.progress")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path))
    torch._dynamo.reset()
    frames = np.random.default_rng(0).integers(0, 256, (5, 1, 64, 64), np.uint8)
    options: Any = {"device": "cpu", "refinement": "none", "return_confmaps": True}
    expected = find_runner("torch").from_model_path(small_model, **options).predict(frames)
    found = find_runner("torch_compile").from_model_path(small_model, **options).predict(frames)
    assert all(np.isfinite(out.pred_keypoints).all() for out in expected)
    same(found, expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.pred_confmaps, other.pred_confmaps, atol=1e-6)
    assert "compiling for 4 images of 64 x 64" in caplog.text
    assert "compiled in" in caplog.text
    (library, *_) = (tmp_path / "compiled").rglob("*.so")
    content = library.read_bytes()
    library.unlink()  # this process still has it open
    library.write_bytes(content[:1000])
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    check_code_directory()  # as another process does
    assert f"{library.name} has changed" in caplog.text
    assert not library.exists(), "PyTorch makes it again"


def test_bf16_on_the_cpu_keeps_its_budget(models: Path, frames: np.ndarray) -> None:
    runner = find_runner("torch").from_model_path(models / "bottomup", device="cpu", precision="bf16")
    assert runner.precision == "bf16"
    expected = find_runner("torch").from_model_path(models / "bottomup", device="cpu").predict(frames)
    distances = [
        np.linalg.norm(np.asarray(a.pred_keypoints) - np.asarray(b.pred_keypoints), axis=-1).ravel()
        for a, b in zip(runner.predict(frames), expected, strict=True)
    ]
    assert 0 < np.nanpercentile(np.concatenate(distances), 95) < 0.5


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_that_the_cpu_does_not_have(precision: str, models: Path) -> None:
    with pytest.raises(OptionError, match=precision):
        find_runner("torch").from_model_path(models / "centroid", device="cpu", precision=precision)
    with pytest.raises(OptionError, match="int8"):
        Predictor.from_model_paths(models / "centroid", backend="onnx", precision="int8")


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every upload and every launch is late by milliseconds, at random."""
    from sleap_infer.runners.torch import cuda_queue as torch_cuda

    rng, upload = np.random.default_rng(0), torch_cuda.CudaQueue._upload

    def late(queue: CudaQueue, *given: Any) -> torch.Tensor:
        torch.cuda._sleep(int(rng.integers(0, 10_000_000)))
        return upload(queue, *given)

    monkeypatch.setattr(torch_cuda.CudaQueue, "_upload", late)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("backend", ["torch", "torch_compile"])
def test_delays_between_the_streams_change_nothing(backend: str, models: Path, videos: Path, sleepy: None) -> None:
    paths, video = [models / "centroid", models / "centered_instance"], videos / "two_flies.mp4"
    with Predictor.from_model_paths(paths, device="cpu") as plain:
        expected = plain.predict(video, as_labels=False)
    with Predictor.from_model_paths(paths, backend=backend, device="cuda", batch_size=3) as predictor:
        same(predictor.predict(video, as_labels=False), expected, atol=0.05)


@pytest.mark.needs_cuda
def test_the_device_waits_for_nothing_but_the_results(models: Path, frames: np.ndarray) -> None:
    runner: Any = find_runner("torch").from_model_path(models / "bottomup", device="cuda")
    runner.predict(frames)
    inputs, _ = runner.preprocess_image(frames)
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = runner.start(inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert attrs.asdict(runner.settings)
    assert pending()["peaks"].shape[0] == len(frames)
