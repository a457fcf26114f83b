"""`sleap-infer benchmark` as it is called. What measures is pretended; `tests/benchmark` has the real thing."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import typer
from typer.testing import CliRunner

from sleap_infer.benchmark import run as running
from sleap_infer.benchmark.machine import MachineFacts
from sleap_infer.benchmark.plan import BenchmarkOptions
from sleap_infer.benchmark.report.schema import (
    Absent,
    ColdStart,
    Latency,
    ModelFacts,
    PoseComparison,
    Report,
    Row,
    Settings,
    VideoFacts,
    as_json,
    read_report,
)
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.cli.benchmark import benchmark, split_subject
from sleap_infer.errors import OptionError, OutputError, OutputExistsError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(benchmark)


def spread(value: float) -> Spread:
    return Spread(value, value, value, (value,))


ONNX = Row(
    "onnx",
    "fp32",
    1,
    "agrees",
    agreement=PoseComparison(True, "all points within 0.01 px", 50, 100, 500, 0.0, 0.0, 0.0004),
    rank=1,
    build_seconds=12.0,
    pays_after_frames=12345,
    end_to_end_fps=spread(80.0),
    forward_ms=spread(5.0),
    latency_ms=Latency(100, spread(7.0), spread(8.0), spread(9.0)),
    cold_start_s=ColdStart(*(spread(0.5) for _ in range(5))),
    host_mb=spread(180.0),
    notes=("bottomup keeps in 32 bits: decoders.0",),
)
OFF = attrs.evolve(
    ONNX, backend="openvino", status="differs", rank=None, end_to_end_fps=spread(500.0), reason="4 px off"
)
REPORT = Report(
    made="2026-01-02T03:04:05+00:00",
    command="sleap-infer benchmark",
    machine=MachineFacts("Linux-6.1", "3.12.1", "Some CPU", 8),
    packages={"onnxruntime": "1.22"},
    model=ModelFacts(("/models/bottomup",), "bottomup", "sleap-nn", ("ab" * 32,)),
    video=VideoFacts("/videos/two_flies.mp4", 100, 192, 192, 1, 12345),
    settings=Settings("auto", 100, 5, 50, 50, "torch fp32 on cpu"),
    rows=(OFF, ONNX, Row("torch_compile", "fp32", 1, "failed", reason="ended by SIGSEGV")),
    absent=(Absent("tensorrt", None, "no [GPU] here"), Absent("torch", "int8", "made by exporting")),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BenchmarkOptions]:
    """What was to be measured; the report is always the same."""
    options: list[BenchmarkOptions] = []

    def pretend(given: BenchmarkOptions, command: str, say: object) -> Report:
        options.append(given)
        return REPORT

    monkeypatch.setattr(running, "run_benchmark", pretend)
    return options


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_table_says_agreement_first_and_gives_no_rank_to_what_differs(asked: list[BenchmarkOptions]) -> None:
    code, text = call("models/bottomup")
    assert code == 0
    lines = {line.split("fp32")[0].strip(): line for line in text.splitlines() if " fp32  " in line}
    assert lines["1  onnx"].split()[4:7] == ["agrees", "<", "0.001"]
    assert "12,345 frames" in lines["1  onnx"]
    assert "7.00 / 8.00 / 9.00" in lines["1  onnx"]
    assert "differs" in lines["openvino"]
    assert "failed" in lines["torch_compile"]
    assert text.index("openvino") < text.index("1  onnx")
    for item in (
        *("openvino fp32 b1: 4 px off", "torch_compile fp32 b1: ended by SIGSEGV", "tensorrt: no [GPU] here"),
        *("torch int8: made by exporting", "bottomup keeps in 32 bits: decoders.0"),
        "Fastest from video to file: onnx fp32 b1, 80.0 frames/s. Lowest latency: onnx fp32 b1, 7.0 ms per frame.",
    ):
        assert item in text, item


def test_what_is_asked_for(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    call("models/bottomup")
    call(
        *("models/centroid", "video.mp4", "-m", "models/centered_instance", "-r", "torch,onnx", "-p", "all"),
        *("-b", "1,8", "-n", 20, "--repeats", 7, "-d", "cpu", "--timeout", 60),
    )
    plain, full = asked
    assert plain == BenchmarkOptions(models=(Path("models/bottomup"),))
    assert full == BenchmarkOptions(
        models=(Path("models/centroid"), Path("models/centered_instance")),
        video="video.mp4",
        backends=("torch", "onnx"),
        precisions=("fp32", "fp16", "bf16", "int8"),
        batch_sizes=(1, 8),
        n_frames=20,
        repeats=7,
        device="cpu",
        timeout=60.0,
    )


def test_models_and_video_in_any_way(models: Path) -> None:
    one, other = models / "centroid", models / "centered_instance"
    assert split_subject([str(one)], []) == ((one,), None)
    assert split_subject([str(one), "v.mp4"], []) == ((one,), "v.mp4")
    assert split_subject([str(one)], [other]) == ((one, other), None)
    assert split_subject([str(one), "v.mp4"], [other]) == ((one, other), "v.mp4")
    assert split_subject(["v.mp4"], [one, other]) == ((one, other), "v.mp4")
    assert split_subject([], [one, other]) == ((one, other), None)
    with pytest.raises(OptionError, match="No model is given"):
        split_subject([], [])


def test_both_files(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    code, text = call("m", "--html", page, "-o", data)
    assert code == 0
    assert f"Report: {data}" in text
    assert read_report(data) == REPORT
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_files_that_are_there_are_kept(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError):
        call("m", "--html", page)
    assert asked == []
    assert call("m", "--html", page, "--overwrite")[0] == 0
    assert page.read_text(encoding="utf-8") != "mine"


def saved(report: Report, folder: Path) -> Path:
    path = folder / "old.json"
    path.write_text(as_json(report), encoding="utf-8")
    return path


def test_a_baseline_that_is_kept(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    code, text = call("m", "--baseline", saved(REPORT, tmp_path))
    assert code == 0
    assert "3 rows compared" in text
    assert "No regression beyond noise." in text


def test_a_regression_exits_with_1(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    faster = attrs.evolve(ONNX, end_to_end_fps=spread(100.0))
    old = saved(attrs.evolve(REPORT, rows=(faster,)), tmp_path)
    code, text = call("m", "--baseline", old, "-o", tmp_path / "new.json")
    assert code == 1
    assert "REGRESSION onnx fp32 b1: 100 before, 80 now (-20%) frames/s from video to file" in text
    assert (tmp_path / "new.json").is_file()


def test_another_machine_is_a_warning(asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    faster = attrs.evolve(ONNX, end_to_end_fps=spread(100.0))
    other = attrs.evolve(REPORT, rows=(faster,), machine=attrs.evolve(REPORT.machine, cpu="Another CPU"))
    code, text = call("m", "--baseline", saved(other, tmp_path))
    assert code == 0
    assert "WARNING: speed and memory cannot be compared:" in text
    assert "different CPU: Another CPU before, Some CPU now" in text
    assert "Poses agree as before." in text


def test_nothing_that_agrees_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_benchmark", lambda *given: attrs.evolve(REPORT, rows=(OFF,)))
    code, text = call("m")
    assert code == 1
    assert "so none is ranked" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No model is given"),
        (("m", "-r", "onxx"), "there is no 'onxx'"),
        (("m", "-p", "fp8"), "there is no 'fp8'"),
        (("m", "-b", "0"), "--batch-sizes '0'"),
        (("m", "--baseline", "none.json"), "No report at none.json"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    asked: list[BenchmarkOptions], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(OptionError) as error:
        call(*arguments)
    assert message in str(error.value)
    assert asked == []


@pytest.mark.parametrize("name", ["report.html", "REPORT.HTML", "report.json"])
def test_the_ending_of_the_output_chooses_the_format(name: str, asked: list[BenchmarkOptions], tmp_path: Path) -> None:
    path = tmp_path / name
    assert call("m", "-o", path)[0] == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>" if name.lower().endswith("html") else "{")


@pytest.mark.parametrize(
    ("arguments", "error", "found"),
    [
        (["-o", "FOLDER/report.txt"], OptionError, r"\.json or \.html"),
        (["-o", "FOLDER/report"], OptionError, r"\.json or \.html"),
        (["-o", "FOLDER/report.csv"], OptionError, r"\.json or \.html"),
        (["--html", "FOLDER/report.json"], OptionError, r"--html .*\.html"),
        (["-o", "FOLDER/a.html", "--html", "FOLDER/a.html"], OptionError, "both name"),
        (["-o", "/proc/sys/a.json"], OutputError, "cannot be written"),
        (["-o", "FOLDER/nowhere/a.html"], OutputError, "no folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_an_error_before_the_work(
    arguments: list[str], error: type[Exception], found: str, asked: list[BenchmarkOptions], tmp_path: Path
) -> None:
    with pytest.raises(error, match=found):
        call("m", *(word.replace("FOLDER", str(tmp_path)) for word in arguments))
    assert asked == []
    assert not list(tmp_path.iterdir())


def test_names_in_a_page_are_text() -> None:
    from sleap_infer.benchmark.report.html import as_html

    evil = "<script>alert(1)</script>\x1b[31m\u202e\udcff\"'>"
    row = attrs.evolve(ONNX, reason=evil, notes=(evil,))
    video = attrs.evolve(REPORT.video, path=evil)
    model = attrs.evolve(REPORT.model, paths=(evil,) * len(REPORT.model.paths), kind=evil)
    machine = attrs.evolve(REPORT.machine, cpu=evil, environment={evil: evil})
    report = attrs.evolve(REPORT, rows=(row,), video=video, model=model, machine=machine, command=evil)
    page = as_html(report)
    assert "<script" not in page
    assert all(character.isprintable() or character == "\n" for character in page)
    page.encode("utf-8")
