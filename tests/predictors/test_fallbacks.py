"""What is used other than asked for is a fact that a program can ask for; progress is no warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest

from sleap_infer import Predictor
from sleap_infer.errors import DeviceError
from sleap_infer.export import ExportResult
from sleap_infer.model import read_spec
from sleap_infer.predictors.auto import select
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.factory import reverted_blocks
from sleap_infer.reports import Fallback, Reports, reporting_to, reports
from sleap_infer.runners import find_runner
from sleap_infer.runners.graph import onnxruntime, openvino, openvino_precision

PROGRESS = "sleap_infer.progress"


def test_reports_are_those_of_what_is_opened(caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    mine = Reports(lines.append)
    with reporting_to(mine):
        kept = reports()
        with reporting_to(Reports()):
            reports().fall_back(Fallback("device", "cuda", "cpu", "Another predictor."))
        assert reports() is mine
    assert reports() is not mine
    for _ in range(2):
        kept.fall_back(Fallback("device", "cuda", "cpu", "There is none."))
    kept.progress("compiling")
    assert mine.fallbacks == (Fallback("device", "cuda", "cpu", "There is none."),)
    assert lines == ["compiling"]
    assert "device cuda: cpu is used instead. There is none." in caplog.text
    with pytest.raises(AttributeError):
        mine.fallbacks[0].used = "cuda"  # type: ignore[misc]


def test_decoding_on_the_cpu(models: Path, videos: Path) -> None:
    path = models / "single_instance"
    with Predictor.from_model_paths(path, backend="torch", device="cpu", decoder="nvdec") as predictor:
        assert predictor.fallbacks == ()
        for _ in range(2):
            predictor.predict(videos / "one_fly.mp4", frames=[0])
        (fallback,) = predictor.fallbacks
    assert (fallback.what, fallback.asked, fallback.used) == ("decoder", "nvdec", "cpu")
    assert "one_fly.mp4" in fallback.why
    assert "frames cannot stay on cpu" in fallback.why


def test_a_remembered_backend_that_does_not_run(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "load", lambda *_: Choice("openvino", None, 2, "it was the fastest"))

    def gone(cls: type, device: str) -> None:
        raise DeviceError("the device is gone")

    monkeypatch.setattr(openvino.InferenceRunnerOpenVINO, "_require", classmethod(gone))
    with Predictor.from_model_paths(models / "single_instance") as predictor:
        (fallback,) = predictor.fallbacks
        assert predictor.describe()["backend"] == "torch"
    assert (fallback.what, fallback.asked, fallback.used) == ("backend", "openvino", "torch")
    assert "the device is gone" in fallback.why


def test_onnxruntime_without_cuda() -> None:
    found = Reports()
    session = SimpleNamespace(get_providers=lambda: [onnxruntime.CPU])
    with reporting_to(found):
        onnxruntime._check_provider(session, onnxruntime.CUDA, "auto")
    (fallback,) = found.fallbacks
    assert (fallback.what, fallback.asked, fallback.used) == ("device", "cuda", "cpu")


def test_openvino_without_the_arithmetic(exports: Mapping[str, ExportResult], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_spec(exports["bottomup"].directory).exported
    assert facts is not None
    monkeypatch.setattr(openvino_precision, "has_arithmetic", lambda *_: False)
    found = Reports()
    with reporting_to(found):
        assert openvino_precision.find_arithmetic(None, "CPU", attrs.evolve(facts, precision="bf16")) == "f32"
    (fallback,) = found.fallbacks
    assert (fallback.what, fallback.asked, fallback.used) == ("precision", "bf16", "fp32")


def test_blocks_that_the_export_check_reverted(exports: Mapping[str, ExportResult]) -> None:
    spec = read_spec(exports["bottomup"].directory)
    assert spec.exported is not None
    assert reverted_blocks(spec) == []
    reverted = attrs.evolve(spec, exported=attrs.evolve(spec.exported, precision="int8", kept=("head_layers.0",)))
    (fallback,) = reverted_blocks(reverted)
    assert (fallback.what, fallback.asked) == ("precision", "int8")
    assert "head_layers.0" in fallback.why


def test_progress_is_info_and_a_callback(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path))
    caplog.set_level(logging.INFO, logger=PROGRESS)
    lines: list[str] = []
    path = models / "single_instance"
    with Predictor.from_model_paths(path, backend="onnx", device="cpu", on_progress=lines.append) as predictor:
        assert predictor.fallbacks == ()
        predictor.live(np.zeros((96, 96), np.uint8))
    (line,) = lines
    assert line.startswith(f"exporting {path}")
    records = [record for record in caplog.records if "exporting" in record.getMessage()]
    assert [(record.name, record.levelno) for record in records] == [(PROGRESS, logging.INFO)]


def test_a_runner_reports_without_a_predictor(models: Path) -> None:
    runner: Any = find_runner("torch").from_model_path(models / "single_instance", device="cpu")
    assert len(runner.predict(np.zeros((96, 96), np.uint8))) == 1
