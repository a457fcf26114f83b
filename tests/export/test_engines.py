"""Exports with TensorRT engines: the real builder of tensorrt-rtx, which needs no GPU; the gate on a pretended one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pretend_tensorrt
import pytest
from pretend_tensorrt import GPU, PretendCuda

from sleap_infer.checks import validate as validating
from sleap_infer.cli.export import split_ranges
from sleap_infer.cli.parameters import read_batch_size, read_size
from sleap_infer.config.kinds import model_kinds
from sleap_infer.errors import (
    BackendNotInstalledError,
    DeviceError,
    ExportDiffersError,
    ExportedModelError,
    OptionError,
)
from sleap_infer.export import ExportOptions, ExportResult, engines, export
from sleap_infer.frames import open_source
from sleap_infer.model import read_spec
from sleap_infer.quantization.int8 import measure_ranges, quantize
from sleap_infer.runners.tensorrt import engines as trt_engines
from sleap_infer.runners.tensorrt import runner as trt
from sleap_infer.runners.tensorrt.engines import Profile, read_facts

KINDS = model_kinds()
ON_CROPS = ("centered_instance", "multi_class_topdown")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="no tensorrt-rtx: pip install tensorrt-rtx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *(pytest.param(k, "fp16", marks=[] if k == "centroid" else pytest.mark.exhaustive) for k in KINDS),
        pytest.param("bottomup", "bf16", marks=pytest.mark.exhaustive),
    ],
)
def test_every_kind_is_built_in_half(
    kind: str, precision: Any, models: Path, videos: Path, tmp_path: Path, rtx: None
) -> None:
    options = ExportOptions(precision=precision, format="tensorrt", validate=False)
    (made,) = export(models / kind, tmp_path / kind, options, videos / "two_flies.mp4")
    (engine,) = made.engines
    facts = read_facts(engine)
    assert facts is not None
    assert engine.stat().st_size > 100_000
    assert facts.precision == precision
    assert (facts.flavour, facts.gpu) == ("tensorrt_rtx", "any")
    assert facts.profile.batch[2] == (16 if kind in ON_CROPS else 4)
    assert facts.profile.channels == (1, made.spec.backbone.in_channels, 3)
    assert engine.name in str(made)


@pytest.mark.parametrize(
    "kind", [k if k in ("centroid", "bottomup") else pytest.param(k, marks=pytest.mark.exhaustive) for k in KINDS]
)
def test_every_kind_is_built_in_int8(
    kind: str, exports: Mapping[str, ExportResult], videos: Path, tmp_path: Path, rtx: None
) -> None:
    """In the symmetric form; TensorRT refuses the other one."""
    with open_source(videos / "two_flies.mp4", frames=range(2)) as source:
        images = [
            batch.images[:, :, 48:128, 48:128] if kind in ON_CROPS else batch.images for batch in source.batches(2)
        ]
    ranges, graph, profile = (
        measure_ranges(exports[kind].graph, images),
        tmp_path / "m.onnx",
        Profile.of(images[0].shape, 4),
    )
    quantize(ranges, graph, symmetric=True)
    trt = trt_engines.require_tensorrt("tensorrt_rtx")
    assert len(trt_engines.build_engine(trt, graph, profile)) > 100_000
    if kind == "centroid":
        quantize(ranges, graph)
        with pytest.raises(ExportedModelError, match="--format tensorrt"):
            trt_engines.build_engine(trt, graph, profile)


@pytest.mark.exhaustive
def test_int8_is_exported_in_the_form_that_engines_take(models: Path, videos: Path, tmp_path: Path, rtx: None) -> None:
    video = videos / "two_flies.mp4"
    options = ExportOptions(precision="int8", format="tensorrt", n_frames=4, calibration_frames=8)
    (made,) = export(models / "centroid", tmp_path / "m", options, video)
    facts = read_facts(made.engines[0])
    assert facts is not None
    assert facts.precision == "int8"
    assert made.report is not None
    assert made.report.verdict == "PASS"


@pytest.mark.exhaustive
@pytest.mark.parametrize("second", ON_CROPS)
def test_two_models_in_one_engine(second: str, models: Path, tmp_path: Path, rtx: None) -> None:
    options = ExportOptions(
        fused=True, precision="fp16", validate=False, format="tensorrt", size_range=((64, 64), (192, 192), (320, 256))
    )
    (made,) = export([models / "centroid", models / second], tmp_path / "m", options)
    facts = read_facts(made.engines[0])
    assert facts is not None
    assert facts.profile.height == (64, 192, 320)


def test_a_pipeline_is_built_for_the_size_of_its_video(models: Path, videos: Path, tmp_path: Path, rtx: None) -> None:
    options = ExportOptions(format="both", n_frames=4, batch_range=(1, 2, 6))
    said: list[str] = []
    made = export(
        [models / "centroid", models / "centered_instance"],
        tmp_path / "m",
        options,
        videos / "two_flies.mp4",
        said.append,
    )
    first, second = (read_facts(item.engines[0]) for item in made)
    assert first is not None
    assert second is not None
    assert first.profile.shapes == ((1, 1, 96, 96), (2, 1, 96, 96), (6, 3, 96, 96))  # the centroid model halves frames
    assert second.profile.height == (80, 80, 80)
    assert any("built but not run" in line for line in said)
    assert made[0].report is not None
    assert made[0].report.backend == "onnx"
    assert made[0].report.verdict == "PASS"


@pytest.mark.exhaustive
def test_fp16_backs_off_to_what_keeps_the_budget(models: Path, videos: Path, tmp_path: Path) -> None:
    """First the heads stay in 32 bits, then all does."""
    video = videos / "two_flies.mp4"

    def made(budget: float | None) -> tuple[Any, list[str]]:
        said: list[str] = []
        options = ExportOptions(precision="fp16", n_frames=4, max_error_px=budget, overwrite=True)
        (result,) = export(models / "centroid", tmp_path / "m", options, video, said.append)
        return result, [line for line in said if line.startswith("exceeds the error budget")]

    half, said = made(None)
    assert said == []
    assert half.report.verdict == "PASS"
    full, said = made(1e-5)
    assert [line.rpartition("again ")[2] for line in said] == ["with the heads in fp32", "in fp32"]
    facts = read_spec(full.directory).exported
    assert facts is not None
    assert (facts.precision, facts.kept) == ("fp32", ())
    (mixed,) = export(
        models / "centroid",
        tmp_path / "mixed",
        ExportOptions(precision="fp16", full_heads=True, n_frames=4),
        video,
    )
    assert mixed.report is not None
    assert 1e-5 < mixed.report.poses.p95_px < 0.1
    assert "blocks in fp32: heads" in str(mixed)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pretended GPU, and what it is given to build."""
    built: list[Path] = []

    def build(module: Any, graph: Path, profile: Any, timings: Any = None) -> bytes:
        built.append(graph)
        return pretend_tensorrt.build_engine(module, graph, profile)

    for module in (trt, engines, validating):
        monkeypatch.setattr(module, "find_gpu", lambda device: GPU)
    for module in (trt, engines):
        monkeypatch.setattr(module, "require_tensorrt", lambda flavour=None: pretend_tensorrt.tensorrt())
    monkeypatch.setattr(trt, "Cuda", PretendCuda)
    monkeypatch.setattr(trt, "make_logger", lambda module: None)
    monkeypatch.setattr(trt_engines, "build_engine", build)
    return built


def test_the_gate_runs_the_engine(models: Path, videos: Path, tmp_path: Path, gpu: list[Path]) -> None:
    options = ExportOptions(format="tensorrt", n_frames=4)
    (made,) = export(models / "centroid", tmp_path / "m", options, videos / "two_flies.mp4")
    assert made.report is not None
    assert made.report.backend == "tensorrt"
    assert made.report.verdict == "PASS"
    assert len(gpu) == 1  # the gate took the engine that was built


def test_an_engine_that_differs_is_not_put_in_place(
    models: Path, videos: Path, tmp_path: Path, gpu: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph does not: only running the engine shows it. fp16 backs off twice before."""

    class Off(pretend_tensorrt.Engine):
        def __init__(self, plan: bytes) -> None:
            super().__init__(plan)
            run = self.session.run

            def moved(names: Any, fed: Any) -> list[Any]:
                centroids, *others = run(names, fed)
                return [centroids + 3, *others]

            self.session = type("Session", (), {"run": staticmethod(moved)})

    monkeypatch.setattr(pretend_tensorrt, "Engine", Off)
    options = ExportOptions(format="both", precision="fp16", n_frames=4)
    said: list[str] = []
    with pytest.raises(ExportDiffersError, match="FAIL"):
        export(models / "centroid", tmp_path / "m", options, videos / "two_flies.mp4", said.append)
    assert sum(line.startswith("exceeds the error budget") for line in said) == 2
    assert len(gpu) == 3
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": "tensorrt", "self_contained": True}, "--input-size HEIGHTxWIDTH"),
        ({"format": "tensorrt", "layout": "flat"}, "flat"),
        ({"batch_range": (1, 2, 3)}, "--format tensorrt"),
        ({"format": "tensorrt", "batch_range": (3, 2, 1), "input_size": (96, 96)}, "go up"),
        ({"format": "tensorrt", "size_range": ((96, 96), (64, 64), (128, 128))}, "go up"),
    ],
)
def test_what_does_not_go_with_engines(
    given: dict[str, Any], words: str, models: Path, tmp_path: Path, rtx: None
) -> None:
    with pytest.raises(OptionError, match=words):
        export(models / "centroid", tmp_path / "m", ExportOptions(**given))
    assert not (tmp_path / "m").exists()


def test_tensorrt_without_a_gpu_builds_nothing(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ExportOptions(format="tensorrt", input_size=(96, 96))
    monkeypatch.setattr(engines, "require_tensorrt", lambda: pretend_tensorrt.tensorrt())
    with pytest.raises(DeviceError, match="let backend='tensorrt' build them"):
        export(models / "centroid", tmp_path / "m", options)
    monkeypatch.undo()
    import sys

    for name in trt_engines.FLAVOURS:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendNotInstalledError, match="pip install"):
        export(models / "centroid", tmp_path / "m", options)


@pytest.mark.parametrize("text", ["1,2", "a", "0", "1,,2", "3,2,x"])
def test_batch_sizes_that_are_not_understood(text: str) -> None:
    with pytest.raises(OptionError, match="MIN,BEST,MAX"):
        read_batch_size(text)


@pytest.mark.parametrize("text", ["5", "5x5,6x6", "5x5x5", "0x1"])
def test_sizes_that_are_not_understood(text: str) -> None:
    with pytest.raises(OptionError, match="HEIGHTxWIDTH"):
        read_size(text)


def test_one_number_is_fixed_and_three_are_a_range() -> None:
    assert split_ranges({"batch_size": 4}) == {"batch_size": 4}
    sizes = read_size("64x64,96x96,128x160")
    assert split_ranges({"input_size": sizes}) == {"size_range": ((64, 64), (96, 96), (128, 160))}
