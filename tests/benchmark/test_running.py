"""The order of a benchmark, and what becomes of backends that are missing, refuse, differ or die. No network is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from sleap_infer.benchmark.plan import BenchmarkOptions
from sleap_infer.benchmark.pose_comparison import Poses, write_poses
from sleap_infer.benchmark.protocol import (
    BackendReasons,
    Build,
    Built,
    CheckBackends,
    Measure,
    Measured,
    Predict,
    Predicted,
    Task,
)
from sleap_infer.benchmark.report.schema import Absent, Report
from sleap_infer.benchmark.run import Benchmark
from sleap_infer.benchmark.worker_handle import Failure
from sleap_infer.errors import BackendError, DeviceError, ModelCombinationError, OptionError, SourceNotFoundError

Kind = TypeVar("Kind")
Progress = Callable[[Task], Any]

POSE = np.array([[[10.0, 10.0], [20.0, 10.0]]], np.float32)


class Pretended:
    """Answers tasks as a worker would; what it says of single ones can be set by the name of the task's cache."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.asked: list[tuple[Task, str]] = []

    def run(self, task: Task, kind: type[Kind], cache: str) -> Kind | Failure:
        self.asked.append((task, cache))
        answer = self.said.get(f"{type(task).__name__} {cache}", self.said.get(type(task).__name__))
        if callable(answer):
            answer = answer(task)
        answer = self.usual(task) if answer is None else answer
        assert isinstance(answer, (kind, Failure))
        return answer

    def usual(self, task: Task) -> Any:
        if isinstance(task, CheckBackends):
            return BackendReasons(dict.fromkeys(task.backends))
        if isinstance(task, Build):
            return Built(20.0, ())
        if isinstance(task, Predict):
            return found(task, 0.0)
        speed = {"torch": 50.0, "onnx": 100.0, "openvino": 200.0, "torch_compile": 100.0}[task.setup.backend]
        number = sum(isinstance(other, Measure) and other == task for other, _ in self.asked)
        seconds = task.n_frames / speed * (1 + 0.01 * number)
        singles = (0.01,) * 10 if task.one_by_one else ()
        return Measured("cpu", 0.1, 1.0, 0.5, 0.2, task.n_frames, seconds, seconds / 2, task.n_frames, singles, 300.0)

    def names(self, kind: type[Any]) -> list[str]:
        return [cache for task, cache in self.asked if isinstance(task, kind)]


def found(task: Predict, off: float, build_s: float | None = None) -> Predicted:
    """Poses that are off by so many pixels."""
    write_poses(Path(task.poses), Poses(tuple(POSE + np.float32(off) for _ in task.frames)))
    return Predicted("cpu", build_s)


def measure(
    tmp_path: Path, models: Path, workers: Pretended, names: Sequence[str] = ("bottomup",), **given: Any
) -> Report:
    options = {
        "models": tuple(models / name for name in names),
        "backends": ("torch", "onnx"),
        "batch_sizes": (1,),
        "repeats": 3,
    }
    return Benchmark(BenchmarkOptions(**{**options, **given}), workers, tmp_path).run("command")


def test_agreement_comes_first_and_repeats_take_turns(tmp_path: Path, models: Path) -> None:
    workers = Pretended()
    report = measure(tmp_path, models, workers)
    kinds = [type(task) for task, _ in workers.asked]
    assert kinds == [CheckBackends, Build, *[Predict] * 3, *[Measure] * 6]
    assert workers.names(Predict) == ["reference", "torch-fp32-b1", "onnx-fp32-b1"]
    assert workers.names(Measure) == ["torch-fp32-b1", "onnx-fp32-b1"] * 3
    torch, onnx = report.rows
    assert (torch.rank, onnx.rank) == (2, 1)
    assert len(onnx.end_to_end_fps.values) == 3
    assert onnx.end_to_end_fps.median == pytest.approx(100 / 1.02)
    assert onnx.forward_ms.median == pytest.approx(5 * 1.02)
    assert onnx.latency_ms.p99.median == pytest.approx(10)
    assert onnx.cold_start_s.total.median == pytest.approx(1.8)
    assert onnx.host_mb.median == 300
    assert (torch.build_seconds, onnx.build_seconds) == (None, 20.0)
    assert onnx.pays_after_frames == pytest.approx(20 / (1.02 / 50 - 1.02 / 100), abs=1)
    assert report.settings.reference == "torch fp32 on cpu"
    assert report.model.kind == "bottomup"
    assert (report.video.n_frames, report.video.height, report.video.width) == (100, 192, 192)


def test_rows_of_one_export_share_it_and_the_export_sees_no_judged_frame(tmp_path: Path, models: Path) -> None:
    workers = Pretended()
    measure(tmp_path, models, workers, backends=("onnx", "openvino"), batch_sizes=(1, 4))
    (build,) = (task for task, _ in workers.asked if isinstance(task, Build))
    predicts = [task for task, _ in workers.asked if isinstance(task, Predict)]
    assert len({task.frames for task in predicts}) == 1
    assert build.frames
    assert not set(build.frames) & set(predicts[0].frames)
    assert {task.setup.models for task in predicts[1:]} == {(build.directory,)}
    assert [task.setup.precision for task in predicts] == [None] * 5


def test_latency_is_that_of_single_frames(tmp_path: Path, models: Path) -> None:
    report = measure(tmp_path, models, Pretended(), batch_sizes=(1, 4))
    assert [row.latency_ms is None for row in report.rows] == [False, False, True, True]


def test_what_is_not_there_is_listed_with_its_reason(tmp_path: Path, models: Path) -> None:
    workers = Pretended(CheckBackends=BackendReasons({"torch": None, "onnx": "no such package", "openvino": None}))
    report = measure(tmp_path, models, workers, backends=("torch", "onnx", "openvino"))
    assert report.absent == (Absent("onnx", None, "no such package"),)
    assert [row.backend for row in report.rows] == ["torch", "openvino"]


def test_one_backend_that_breaks_the_asking_does_not_take_the_others_with_it(tmp_path: Path, models: Path) -> None:
    def answer(task: CheckBackends) -> Any:
        return (
            Failure("ended by SIGSEGV") if "openvino" in task.backends else BackendReasons(dict.fromkeys(task.backends))
        )

    report = measure(tmp_path, models, Pretended(CheckBackends=answer), backends=("torch", "openvino", "onnx"))
    assert report.absent == (Absent("openvino", None, "ended by SIGSEGV"),)
    assert [row.backend for row in report.rows] == ["torch", "onnx"]


def test_a_precision_that_a_backend_does_not_have_is_listed_once(tmp_path: Path, models: Path) -> None:
    def answer(task: Predict) -> Any:
        if task.setup.precision == "fp16":
            return Failure("precision='fp16' is a hundred times slower", "OptionError")
        return found(task, 0.0)

    workers = Pretended(Predict=answer)
    report = measure(tmp_path, models, workers, backends=("torch",), precisions=("fp32", "fp16"), batch_sizes=(1, 2, 4))
    assert report.absent == (Absent("torch", "fp16", "precision='fp16' is a hundred times slower"),)
    assert [row.name for row in report.rows] == ["torch fp32 b1", "torch fp32 b2", "torch fp32 b4"]
    assert workers.names(Predict).count("torch-fp16-b1") == 1


def test_an_export_that_is_refused_is_listed_for_each_backend(tmp_path: Path, models: Path) -> None:
    refused = Failure("The export differs", "ExportDiffersError")
    workers = Pretended(**{"Build graph-int8": refused})
    report = measure(tmp_path, models, workers, backends=("onnx", "openvino"), precisions=("fp32", "int8"))
    assert report.absent == (
        Absent("onnx", "int8", "The export differs"),
        Absent("openvino", "int8", "The export differs"),
    )
    assert {row.precision for row in report.rows} == {"fp32"}
    assert workers.names(Build) == ["graph-fp32", "graph-int8"]


def test_poses_that_are_off_are_timed_but_never_ranked(tmp_path: Path, models: Path) -> None:
    workers = Pretended(**{"Predict openvino-fp32-b1": lambda task: found(task, 0.1)})
    report = measure(tmp_path, models, workers, backends=("torch", "openvino"))
    torch, openvino = report.rows
    assert (torch.status, openvino.status) == ("agrees", "differs")
    assert openvino.end_to_end_fps.median > torch.end_to_end_fps.median
    assert (torch.rank, openvino.rank) == (1, None)
    assert openvino.reason.startswith("largest distance 0.141 px")
    assert "all points within 0.01 px" in openvino.reason


def test_a_worker_that_dies_judging_is_a_failed_row(tmp_path: Path, models: Path) -> None:
    workers = Pretended(**{"Predict onnx-fp32-b1": Failure("ended by SIGSEGV while predicting")})
    report = measure(tmp_path, models, workers)
    torch, onnx = report.rows
    assert torch.rank == 1
    assert (onnx.status, onnx.rank, onnx.reason) == ("failed", None, "ended by SIGSEGV while predicting")
    assert workers.names(Measure) == ["torch-fp32-b1"] * 3


def test_a_worker_that_dies_in_a_round_is_given_up_and_the_others_go_on(tmp_path: Path, models: Path) -> None:
    workers = Pretended()

    def answer(task: Measure) -> Any:
        before = [other for other in workers.names(Measure) if other.startswith("onnx")]
        return Failure("stopped after 5 s") if task.setup.backend == "onnx" and len(before) == 2 else None

    workers.said["Measure"] = answer
    report = measure(tmp_path, models, workers)
    torch, onnx = report.rows
    assert len(torch.end_to_end_fps.values) == 3
    assert (onnx.status, onnx.reason) == ("failed", "repeat 2: stopped after 5 s")
    assert onnx.agreement.agrees
    assert onnx.end_to_end_fps is None


def test_what_compiles_counts_its_first_batches_as_a_build(tmp_path: Path, models: Path) -> None:
    workers = Pretended(**{"Predict torch_compile-fp32-b1": lambda task: found(task, 0.0, 40.0)})
    report = measure(tmp_path, models, workers, backends=("torch", "torch_compile"))
    asked = {cache: task.builds for task, cache in workers.asked if isinstance(task, Predict)}
    assert asked == {"reference": False, "torch-fp32-b1": False, "torch_compile-fp32-b1": True}
    assert [row.build_seconds for row in report.rows] == [None, 40.0]


def test_without_a_reference_there_is_no_benchmark(tmp_path: Path, models: Path) -> None:
    refused = Pretended(**{"Predict reference": Failure("no device", "DeviceError")})
    with pytest.raises(DeviceError, match="no device"):
        measure(tmp_path, models, refused)
    dead = Pretended(**{"Predict reference": Failure("ended by SIGKILL")})
    with pytest.raises(BackendError, match=r"The reference, torch fp32 on cpu, cannot be run: ended by SIGKILL"):
        measure(tmp_path, models, dead)


def test_a_video_without_animals_proves_nothing(tmp_path: Path, models: Path) -> None:
    def answer(task: Predict) -> Predicted:
        write_poses(Path(task.poses), Poses(tuple(POSE[:0] for _ in task.frames)))
        return Predicted("cpu")

    with pytest.raises(OptionError, match="finds nothing in 50 frames"):
        measure(tmp_path, models, Pretended(Predict=answer))


def test_models_and_videos_that_cannot_be_read(tmp_path: Path, models: Path) -> None:
    with pytest.raises(ModelCombinationError):
        measure(tmp_path, models, Pretended(), ("bottomup", "centroid"))
    with pytest.raises(SourceNotFoundError):
        measure(tmp_path, models, Pretended(), video=str(tmp_path / "none.mp4"))


def test_the_default_video_suits_the_model(tmp_path: Path, models: Path) -> None:
    one = measure(tmp_path, models, Pretended(), ("single_instance",), backends=("torch",))
    assert Path(one.video.path).name == "one_fly.mp4"
    two = measure(tmp_path, models, Pretended(), ("centered_instance", "centroid"), backends=("torch",))
    assert Path(two.video.path).name == "two_flies.mp4"
    assert two.model.kind == "topdown"
    assert [Path(path).name for path in two.model.paths] == ["centroid", "centered_instance"]
