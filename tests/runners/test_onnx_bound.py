"""ONNX Runtime on memory of its device: the code that a GPU uses, with the CPU as the device."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sleap_infer.config.kinds import model_kinds
from sleap_infer.errors import DeviceError, OptionError
from sleap_infer.export import ExportResult
from sleap_infer.model import onnx_graph as graph
from sleap_infer.runners import find_runner
from sleap_infer.runners.graph import onnxruntime as module
from sleap_infer.runners.graph.onnxruntime_bound import MOST, BoundSession


@pytest.mark.parametrize("kind", model_kinds())
def test_outputs_are_those_of_a_plain_run(kind: str, exports: Mapping[str, ExportResult]) -> None:
    runner: Any = find_runner("onnx").from_model_path(exports[kind].directory, device="cpu", peak_threshold=0.1)
    bound = BoundSession(runner.session, "cpu", runner._thresholds)
    rng = np.random.default_rng(0)
    shapes = [(2, 1, 96, 96), (1, 1, 96, 96), (2, 1, 96, 96), (3, 3, 64, 128)]
    for shape in [*shapes, *[(1, 1, 16 * side, 32) for side in range(2, 2 + MOST)], shapes[0]]:
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        found, expected = bound.run(images), runner._run(images)
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
    assert len(bound._bound) == MOST


def test_outputs_are_not_written_over(exports: Mapping[str, ExportResult]) -> None:
    """A batch's outputs are its own, also when the next batch is of the same size."""
    runner: Any = find_runner("onnx").from_model_path(exports["centroid"].directory, device="cpu")
    bound = BoundSession(runner.session, "cpu", runner._thresholds)
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (1, 1, 96, 96), dtype=np.uint8) for _ in range(2))
    one = bound.run(first)
    kept = {name: values.copy() for name, values in one.items()}
    bound.run(second)
    for name, values in kept.items():
        np.testing.assert_array_equal(one[name], values)


def test_a_provider_that_is_not_there(exports: Mapping[str, ExportResult], monkeypatch: pytest.MonkeyPatch) -> None:
    path = exports["centroid"].directory
    opener = find_runner("onnx")
    with pytest.raises(OptionError, match="'cuda' or 'tensorrt'"):
        opener.from_model_path(path, backend_options={"provider": "rocm"})
    with pytest.raises(DeviceError, match="without CUDA"):
        opener.from_model_path(path, backend_options={"provider": "tensorrt"})
    with pytest.raises(OptionError, match="enable_cuda_graph"):
        opener.from_model_path(path, device="cpu", backend_options={"enable_cuda_graph": 1})
    # With CUDA built in but no library that works, ONNX Runtime goes on with the CPU and only prints so.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [module.TENSORRT, module.CUDA, module.CPU])
    monkeypatch.setattr(module, "open_graph", lambda path, providers, options: graph.open_graph(path))
    with pytest.raises(DeviceError, match=r"libnvinfer\.so\.10"):
        opener.from_model_path(path, backend_options={"provider": "tensorrt"})
    with pytest.raises(DeviceError, match="sleap-infer doctor"):
        opener.from_model_path(path, device="cuda")


def test_what_a_gpu_is_opened_with(exports: Mapping[str, ExportResult], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def open_graph(path: Any, providers: Any, options: Any) -> Any:
        seen.append(providers)
        session = graph.open_graph(path)
        return SimpleNamespace(
            get_providers=lambda: [providers[0][0], module.CPU],
            get_provider_options=lambda: {module.CUDA: {"device_id": 1}},
            get_inputs=session.get_inputs,
            get_outputs=session.get_outputs,
            get_overridable_initializers=session.get_overridable_initializers,
        )

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [module.TENSORRT, module.CUDA, module.CPU])
    monkeypatch.setattr(module, "open_graph", open_graph)
    monkeypatch.setattr(module, "BoundSession", lambda *given: given)
    path, opener = exports["centroid"].directory, find_runner("onnx")
    runner: Any = opener.from_model_path(path, device="cuda:1", backend_options={"enable_cuda_graph": 1})
    assert seen[-1] == [(module.CUDA, {"device_id": 1, "use_tf32": 0, "enable_cuda_graph": 1}), module.CPU]
    assert runner.device == "cuda:1"
    assert runner._bound[3] is True
    opener.from_model_path(path, backend_options={"provider": "tensorrt", "trt_fp16_enable": 0})
    assert [item[0] for item in seen[-1][:2]] == [module.TENSORRT, module.CUDA]
    assert seen[-1][0][1] == {"device_id": 0, "trt_fp16_enable": 0}


@pytest.mark.needs_cuda
@pytest.mark.parametrize("options", [{}, {"enable_cuda_graph": 1}])
@pytest.mark.parametrize("kind", model_kinds())
def test_a_real_gpu_gives_the_candidates_of_the_cpu(
    kind: str, options: dict[str, Any], exports: Mapping[str, ExportResult]
) -> None:
    path = exports[kind].directory
    here = find_runner("onnx").from_model_path(path, device="cpu")
    there = find_runner("onnx").from_model_path(path, device="cuda", backend_options=options)
    rng = np.random.default_rng(0)
    for size in (2, 1, 2, 2):
        images = rng.integers(0, 256, (size, 1, 96, 96), dtype=np.uint8)
        expected, found = here.infer(images), there.infer(images)
        for name, values in expected.items():
            if name.endswith("vals"):
                np.testing.assert_allclose(np.sort(found[name]), np.sort(values), atol=1e-3)
