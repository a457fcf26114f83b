"""The TensorRT runner on a pretended GPU, and as much of the real TensorRT as works without one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pretend_tensorrt
import pytest
from pretend_tensorrt import GPU, PretendCuda

from sleap_infer import Outputs, Predictor
from sleap_infer.config.kinds import model_kinds
from sleap_infer.errors import (
    BackendError,
    BackendNotInstalledError,
    DeviceError,
    DeviceMemoryError,
    OptionError,
    UnsupportedModelError,
)
from sleap_infer.export import ExportResult
from sleap_infer.frames import open_source
from sleap_infer.runners import find_runner
from sleap_infer.runners.tensorrt import cuda
from sleap_infer.runners.tensorrt import engines as trt_engines
from sleap_infer.runners.tensorrt import runner as trt
from sleap_infer.runners.tensorrt.engines import Profile, read_facts

KINDS = model_kinds()
ON_CROPS = ("centered_instance", "multi_class_topdown")


@pytest.fixture(scope="module")
def frames(videos: Path) -> np.ndarray:
    """(B, 1, H, W) frames of two flies."""
    with open_source(videos / "two_flies.mp4", frames=range(7)) as source:
        (batch,) = source.batches(7)
    return batch.images


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[PretendCuda]:
    """A pretended GPU with TensorRT, and an empty cache."""

    class Ours(PretendCuda):
        made: list[PretendCuda] = []  # noqa: RUF012

        def __init__(self, index: int) -> None:
            super().__init__(index)
            self.made.append(self)

    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trt, "Cuda", Ours)
    monkeypatch.setattr(trt, "find_gpu", lambda device: GPU)
    monkeypatch.setattr(trt, "require_tensorrt", lambda flavour=None: pretend_tensorrt.tensorrt())
    monkeypatch.setattr(trt, "make_logger", lambda module: None)
    monkeypatch.setattr(trt_engines, "build_engine", pretend_tensorrt.build_engine)
    return Ours


@pytest.fixture
def model(exports: Mapping[str, ExportResult], tmp_path: Path) -> Path:
    """An exported directory of its own, without engines."""
    return shutil.copytree(exports["bottomup"].directory, tmp_path / "bottomup")


def close(found: list[Outputs], expected: list[Outputs], atol: float = 1e-3) -> None:
    for one, other in zip(found, expected, strict=True):
        name = "pred_centroids" if other.pred_keypoints is None else "pred_keypoints"
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_poses_are_those_of_onnx(
    kind: str, exports: Mapping[str, ExportResult], frames: np.ndarray, gpu: Any, tmp_path: Path
) -> None:
    path = shutil.copytree(exports[kind].directory, tmp_path / "model")
    images = frames[:, :, 50:130, 50:130] if kind in ON_CROPS else frames
    expected = find_runner("onnx").from_model_path(path, device="cpu").predict(images)
    with find_runner("tensorrt").from_model_path(path) as runner:
        assert runner.device == "cuda:0"
        assert runner.runs_beside
        close(runner.predict(images), expected)
        close(runner.predict(images[:2]), expected[:2])
        close(
            runner.predict(images[:, :, :64, :64]),
            find_runner("onnx").from_model_path(path).predict(images[:, :, :64, :64]),
        )
    (used,) = gpu.made
    assert not used.memory
    assert not used.streams
    assert not used.in_use


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delays_between_the_streams_change_nothing(
    seed: int, model: Path, frames: np.ndarray, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "seed", seed)
    expected = find_runner("onnx").from_model_path(model, device="cpu").predict(frames)
    with find_runner("tensorrt").from_model_path(model) as runner:
        inputs, geometry = runner.preprocess_image(frames)
        parts = [slice(0, 3), slice(3, 4), slice(1, 3), slice(0, 3), slice(4, 7), slice(2, 5), slice(0, 3), slice(5, 6)]
        started = [(part, runner.start(inputs[part])) for part in parts]
        for part, pending in reversed(started):
            close(runner.postprocess_results(pending(), geometry), expected[part])
    (used,) = gpu.made
    assert used.n_captured > 0
    assert used.n_replayed > 0


def test_without_events_delays_would_change_poses(
    model: Path, frames: np.ndarray, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the test above can fail."""
    monkeypatch.setattr(gpu, "seed", 0)
    monkeypatch.setattr(gpu, "waits", False)
    expected = find_runner("onnx").from_model_path(model, device="cpu").predict(frames)
    with find_runner("tensorrt").from_model_path(model) as runner:
        found = [runner.predict(frames[first : first + 2]) for first in range(5)]
    with pytest.raises((AssertionError, ValueError)):
        close(
            [outputs for two in found for outputs in two],
            [expected[n] for first in range(5) for n in (first, first + 1)],
        )


def test_a_pipeline_of_two_engines(
    models: Path, videos: Path, exports: Mapping[str, ExportResult], gpu: Any, tmp_path: Path
) -> None:
    names, video = ("centroid", "centered_instance"), videos / "two_flies.mp4"
    paths = [shutil.copytree(exports[name].directory, tmp_path / name) for name in names]
    with Predictor.from_model_paths(paths, backend="onnx", device="cpu") as plain:
        expected = plain.predict(video, as_labels=False)
    gpu.seed = 3
    with Predictor.from_model_paths(paths, backend="tensorrt", batch_size=3, crop_batch_size=4) as predictor:
        close(predictor.predict(video, as_labels=False), expected)
        assert predictor.describe()["backend"] == "tensorrt"
    (engine,) = paths[1].glob("*.engine")
    facts = read_facts(engine)
    assert facts is not None
    assert facts.profile.batch == (1, 4, 4)


def test_another_threshold_needs_no_other_engine(model: Path, frames: np.ndarray, gpu: Any) -> None:
    for threshold in (0.2, 0.6):
        expected = find_runner("onnx").from_model_path(model, device="cpu", peak_threshold=threshold).predict(frames)
        with find_runner("tensorrt").from_model_path(model, peak_threshold=threshold) as runner:
            close(runner.predict(frames), expected)
    assert len(list(model.glob("*.engine"))) == 1


def test_an_engine_is_built_once_and_again_when_anything_changes(
    model: Path, frames: np.ndarray, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_and_run() -> int:
        with find_runner("tensorrt").from_model_path(model) as runner:
            runner.predict(frames[:2])
        return len(list(model.glob("*.engine")))

    assert [open_and_run(), open_and_run()] == [1, 1]
    (path,) = model.glob("*.engine")
    facts = read_facts(path)
    assert facts is not None
    assert (facts.gpu, facts.driver, facts.version, facts.precision) == ("Pretended GPU", "13.0", "11.0", "fp32")
    said = json.loads(path.with_suffix(".json").read_text())
    assert said["engine"]["profile"]["batch"] == [1, 4, 4]
    for changed in ({"driver": "13.1"}, {"name": "Another"}, {"compute_capability": "8.6"}):
        monkeypatch.setattr(trt, "find_gpu", lambda device, changed=changed: attrs.evolve(GPU, **changed))
        open_and_run()
    assert len(list(model.glob("*.engine"))) == 4
    monkeypatch.setattr(trt, "find_gpu", lambda device: GPU)
    newer = pretend_tensorrt.tensorrt()
    newer.__version__ = "11.1"
    monkeypatch.setattr(trt, "require_tensorrt", lambda flavour=None: newer)
    assert open_and_run() == 5


def test_a_damaged_engine_is_built_again(model: Path, frames: np.ndarray, gpu: Any, caplog: Any) -> None:
    with find_runner("tensorrt").from_model_path(model) as runner:
        expected = runner.predict(frames)
    (engine,) = model.glob("*.engine")
    engine.write_bytes(b"half")
    with find_runner("tensorrt").from_model_path(model) as runner:
        close(runner.predict(frames), expected)
    assert "damaged" in caplog.text
    engine.with_suffix(".json").write_text("{}")
    with find_runner("tensorrt").from_model_path(model) as runner:
        close(runner.predict(frames), expected)


@pytest.mark.parametrize("how", ["flipped", "truncated", "others may write"])
def test_engines_that_cannot_be_trusted(
    how: str, model: Path, frames: np.ndarray, gpu: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are code: built again where they are damaged, in the cache where others may write beside the graph."""
    with find_runner("tensorrt").from_model_path(model) as runner:
        expected = runner.predict(frames)
    (engine,) = model.glob("*.engine")
    data = engine.read_bytes()
    if how == "others may write":
        model.chmod(0o777)
    else:
        engine.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if how == "flipped" else data[: len(data) // 2])
    caplog.clear()
    caplog.set_level("INFO", logger="sleap_infer.progress")
    with find_runner("tensorrt").from_model_path(model) as runner:
        close(runner.predict(frames), expected)
    assert "building" in caplog.text
    assert ("is damaged" in caplog.text) == (how != "others may write")
    assert len(list((tmp_path / "cache").rglob("*.engine"))) == (how == "others may write")


def test_where_the_graph_lies_cannot_be_written(
    model: Path, frames: np.ndarray, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = trt_engines._store

    def only_the_cache(folder: Path, *given: Any) -> Path:
        if folder == model:
            raise PermissionError(13, "Permission denied")
        return store(folder, *given)

    monkeypatch.setattr(trt_engines, "_store", only_the_cache)
    for _ in range(2):
        with find_runner("tensorrt").from_model_path(model) as runner:
            assert len(runner.predict(frames[:1])) == 1
    assert not list(model.glob("*.engine"))
    assert len(list((tmp_path / "cache").rglob("*.engine"))) == 1
    monkeypatch.setenv("SLEAP_INFER_CACHE", "/proc/nowhere")
    with (
        find_runner("tensorrt").from_model_path(model) as runner,
        pytest.raises(BackendError, match="SLEAP_INFER_CACHE"),
    ):
        runner.predict(frames[:1])


def test_more_images_than_an_engine_takes(model: Path, frames: np.ndarray, gpu: Any) -> None:
    with find_runner("tensorrt").from_model_path(model) as runner:
        first = runner.predict(frames[:1])
        (engine,) = model.glob("*.engine")
        facts = read_facts(engine)
        assert facts is not None
        assert facts.profile.batch == (1, 4, 4)
        many = runner.predict(np.concatenate([frames, frames]))
    close(many[7:8], first)
    assert len(list(model.glob("*.engine"))) == 1


def test_many_sizes_of_batches_go_through_few_contexts(model: Path, frames: np.ndarray, gpu: Any) -> None:
    """Three are filled up to four, and one that is recorded is never changed: the pretended context would say so."""
    expected = find_runner("onnx").from_model_path(model, device="cpu").predict(frames)
    with find_runner("tensorrt").from_model_path(model) as runner:
        for size in (3, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 1, 3, 3, 1):
            close(runner.predict(frames[:size]), expected[:size])
        (queue,) = runner._queues.values()  # type: ignore[attr-defined]
        assert queue._sizes == {4}
    (used,) = gpu.made
    assert used.n_captured == 3  # one for each slot
    assert not used.memory


def test_an_engine_that_fails_in_the_middle(
    model: Path, frames: np.ndarray, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typed error, and the next batch goes through the same slots."""
    expected = find_runner("onnx").from_model_path(model, device="cpu").predict(frames[:2])
    with find_runner("tensorrt").from_model_path(model) as runner:
        runner.predict(frames[:2])
        with monkeypatch.context() as patched:
            patched.setattr(pretend_tensorrt.Context, "execute_async_v3", lambda context, stream: False)
            with pytest.raises(BackendError, match="refused execute_async_v3"):
                runner.predict(frames[:2])
        close(runner.predict(frames[:2]), expected)


def test_what_tensorrt_does_not_run(model: Path, models: Path, gpu: Any) -> None:
    with pytest.raises(OptionError, match="flavour, cuda_graph"):
        find_runner("tensorrt").from_model_path(model, backend_options={"threads": 2})
    with pytest.raises(UnsupportedModelError, match="export"):
        find_runner("tensorrt").from_model_path(models / "bottomup")
    with pytest.raises(OptionError, match="was exported in fp32"):
        find_runner("tensorrt").from_model_path(model, precision="fp16")


# The real thing, as far as it goes without a GPU ---------------------------------------------------------------------


def test_no_gpu_is_said_before_tensorrt_is_touched(model: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"no NVIDIA .*sleap-infer doctor"):
        find_runner("tensorrt").from_model_path(model)
    with pytest.raises(DeviceError, match="not run on 'cpu'"):
        find_runner("tensorrt").from_model_path(model, device="cpu")
    monkeypatch.setattr("sleap_infer.graphs.cache.cached_graph", None)  # nothing is exported before
    with pytest.raises(DeviceError, match="doctor"):
        Predictor.from_model_paths(models / "centroid", backend="tensorrt")


def test_every_call_of_cuda_exists_and_fails_with_words() -> None:
    """cuda-python checks names, numbers and types of arguments before it asks the driver, which is not here."""
    there = cuda.Cuda(0)
    host = np.zeros(16, np.uint8)
    for call in (
        there.use,
        there.stream,
        there.event,
        lambda: there.pinned(16),
        lambda: there.allocate(16),
        lambda: there.free(0x100),
        lambda: there.upload(0x100, host, 0),
        lambda: there.download(host, 0x100, 0),
        lambda: there.record(0, 0),
        lambda: there.wait(0, 0),
        lambda: there.synchronize(0),
        lambda: there.synchronize_stream(0),
        lambda: there.capture(0, lambda: None),
        lambda: there.replay(0, 0),
        lambda: there.destroy(streams=[0], events=[], graphs=[]),
        lambda: there.destroy(streams=[], events=[0], graphs=[]),
        lambda: there.destroy(streams=[], events=[], graphs=[0]),
    ):
        with pytest.raises(BackendError, match=r"CUDA failed on cuda:0: cuda\w+ says \d+, "):
            call()


def test_words_for_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    there = cuda.Cuda(0)
    runtime = there._runtime
    monkeypatch.setattr(
        there, "_runtime", type("R", (), {"cudaMalloc": staticmethod(lambda n: (runtime.cudaError_t(2), 0))})
    )
    with pytest.raises(DeviceMemoryError, match="smaller batch_size"):
        there.allocate(1 << 40)


def test_tensorrt_is_not_installed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in trt_engines.FLAVOURS:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendNotInstalledError, match=r"pypi\.nvidia\.com"):
        find_runner("tensorrt").from_model_path(model)
    with pytest.raises(OptionError, match="tensorrt_rtx"):
        trt_engines.require_tensorrt("trt")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendNotInstalledError, match="cuda-python"):
        cuda.find_gpu("cuda")


def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="no tensorrt-rtx: pip install tensorrt-rtx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_engine_of_every_kind(kind: str, exports: Mapping[str, ExportResult]) -> None:
    side = 80 if kind in ON_CROPS else 192
    graph, profile = exports[kind].graph, Profile.of((4, 1, side, side), 4)
    assert len(trt_engines.build_engine(rtx(), graph, profile)) > 100_000


def test_a_graph_that_tensorrt_refuses(tmp_path: Path, exports: Mapping[str, ExportResult]) -> None:
    from sleap_infer.errors import ExportedModelError

    graph = tmp_path / "model.onnx"
    graph.write_bytes(exports["centroid"].graph.read_bytes().replace(b"Conv", b"Cunv"))
    with pytest.raises(ExportedModelError, match="does not take"):
        trt_engines.build_engine(rtx(), graph, Profile.of((1, 1, 192, 192), 1))
    good = exports["centroid"].graph
    with pytest.raises(BackendError, match="could not build"):
        trt_engines.build_engine(rtx(), good, Profile((4, 2, 1), (1, 1, 1), (192,) * 3, (192,) * 3))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", KINDS)
def test_a_real_gpu_gives_the_poses_of_the_cpu(
    kind: str, exports: Mapping[str, ExportResult], frames: np.ndarray, tmp_path: Path
) -> None:
    trt_engines.require_tensorrt()
    path = shutil.copytree(exports[kind].directory, tmp_path / "model")
    images = frames[:, :, 50:130, 50:130] if kind in ON_CROPS else frames
    expected = find_runner("onnx").from_model_path(path, device="cpu").predict(images)
    with find_runner("tensorrt").from_model_path(path) as runner:
        for _ in range(3):
            close(runner.predict(images), expected, 0.05)
