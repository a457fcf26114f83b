"""Benchmarks of real models in real processes, as short as they can be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sleap_infer.benchmark.plan import BenchmarkOptions
from sleap_infer.benchmark.report.baseline import compare
from sleap_infer.benchmark.report.html import as_html
from sleap_infer.benchmark.report.schema import Report, Row, as_json, read_report
from sleap_infer.benchmark.run import run_benchmark
from sleap_infer.frames import open_source


def check_row(row: Row, n_repeats: int) -> None:
    """What every row that was measured has."""
    assert row.status == "agrees", row.reason
    assert row.agreement is not None
    assert row.agreement.n_points > 0
    assert row.agreement.max_px <= 0.01
    assert row.device == "cpu"
    figures = (row.end_to_end_fps, row.forward_ms, row.host_mb)
    for figure in figures:
        assert figure is not None
        assert len(figure.values) == n_repeats
        assert 0 < figure.low <= figure.median <= figure.high
    assert row.cold_start_s is not None
    parts = (row.cold_start_s.python, row.cold_start_s.imports, row.cold_start_s.opening, row.cold_start_s.first_pose)
    for number, total in enumerate(row.cold_start_s.total.values):
        assert total == pytest.approx(sum(part.values[number] for part in parts))
    assert row.device_mb is None


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Report:
    """A benchmark of an exported model, which needs no PyTorch."""
    model = tmp_path_factory.mktemp("model") / "exported"
    shutil.copytree(videos.parent / "doctor", model)
    lines: list[str] = []
    options = BenchmarkOptions(
        models=(model,),
        video=str(videos / "two_flies.mp4"),
        backends=("torch", "onnx", "openvino"),
        batch_sizes=(1,),
        n_frames=6,
        repeats=2,
        device="cpu",
    )
    report = run_benchmark(options, "sleap-infer benchmark ...", lines.append)
    assert lines[0] == "checking backends"
    assert lines[-1] == "repeat 2 of 2: openvino fp32 b1"
    return report


def test_every_row_is_measured_and_ranked(exported: Report) -> None:
    assert [row.name for row in exported.rows] == ["onnx fp32 b1", "openvino fp32 b1"]
    for row in exported.rows:
        check_row(row, 2)
        assert row.build_seconds is None
    assert sorted(row.rank or 0 for row in exported.rows) == [1, 2]
    for row in exported.rows:
        assert row.latency_ms is not None
        assert row.latency_ms.n_frames == 6
        assert row.latency_ms.p50.median <= row.latency_ms.p90.median <= row.latency_ms.p99.median


def test_what_does_not_run_an_exported_model_says_so(exported: Report) -> None:
    (absent,) = exported.absent
    assert (absent.backend, absent.precision) == ("torch", "fp32")
    assert "exported graph" in absent.reason


def test_an_exported_model_is_its_own_reference_and_all_its_frames_are_judged(exported: Report) -> None:
    settings = exported.settings
    assert settings.reference == "onnx fp32 on cpu"
    assert (settings.n_frames, settings.n_judged, settings.n_calibration) == (6, 6, 0)
    assert exported.model.format == "onnx"
    assert len(exported.model.sha256[0]) == 64


def test_it_is_a_report_like_any_other(exported: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(as_json(exported), encoding="utf-8")
    assert read_report(path) == exported
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 1
    assert "onnx fp32 b1" in as_html(exported)
    assert compare(exported, exported).regressions == ()


@pytest.fixture
def images(tmp_path: Path, videos: Path) -> Path:
    """A folder of eight images, each a frame of a video."""
    with open_source(videos / "one_fly.mp4", range(8)) as source:
        for number, batch in enumerate(source.batches(1)):
            picture = np.ascontiguousarray(batch.images[0].transpose(1, 2, 0)[..., ::-1])
            assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    return tmp_path


@pytest.mark.exhaustive
def test_a_trained_model_is_exported_and_compared_with_pytorch(models: Path, images: Path) -> None:
    options = BenchmarkOptions(
        models=(models / "single_instance",),
        video=str(images),
        backends=("torch", "onnx"),
        precisions=("fp32",),
        batch_sizes=(3,),
        n_frames=4,
        repeats=1,
        device="cpu",
    )
    report = run_benchmark(options, "")
    torch, onnx = report.rows
    for row in report.rows:
        check_row(row, 1)
        assert row.latency_ms is None
    assert torch.build_seconds is None
    assert onnx.build_seconds is not None
    assert onnx.build_seconds > 0
    assert report.absent == ()
    assert report.settings.reference == "torch fp32 on cpu"
    settings = report.settings
    assert (settings.n_frames, settings.n_judged, settings.n_calibration) == (4, 2, 2)
    assert (report.video.n_frames, report.video.n_bytes) == (8, None)
