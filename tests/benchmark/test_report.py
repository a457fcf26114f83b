"""The JSON file of a report: its schema, and what is said of files that do not keep it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from made_reports import agreement, report, row, spread

from sleap_infer.benchmark.protocol import TASKS, Build, Measure, Setup
from sleap_infer.benchmark.report.schema import (
    Absent,
    ColdStart,
    Latency,
    PoseComparison,
    Report,
    Row,
    Scaling,
    as_json,
    check_file,
    read_report,
)
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.errors import OptionError, OutputError, OutputExistsError
from sleap_infer.system.files import write_text

FULL = report(
    row("torch", "fp32", 1, 50.0, rank=2),
    row("onnx", "int8", 1, 90.0, rank=1, build_seconds=12.5, pays_after_frames=1407, notes=("keeps decoders.0",)),
    row("openvino", "bf16", 4, 95.0, status="differs", agreement=agreement(3.0, agrees=False), device_mb=spread(900.0)),
    Row("torch_compile", "fp32", 1, "failed", reason="ended by SIGSEGV"),
    absent=(Absent("tensorrt", None, "no GPU"), Absent("torch", "int8", "made by exporting")),
    scaling=(Scaling("Frames", "frames", ((100.0, 9.0, 10.0, 11.0), (1000.0, 9.0, 10.0, 11.0))),),
    busy_cores=0.5,
)


def saved(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_report(saved(tmp_path, as_json(FULL))) == FULL


def test_the_names_of_version_1() -> None:
    data = json.loads(as_json(FULL))
    assert data["schema"] == "sleap_infer.benchmark"
    assert data["version"] == 1
    assert set(data) - {"schema", "version"} == {
        *("made", "command", "machine", "packages", "model", "video", "settings", "rows", "absent", "busy_cores"),
        "scaling",
    }
    assert set(data["machine"]) == {
        "os",
        "python",
        "cpu",
        "cores",
        "memory_gb",
        "flags",
        "gpus",
        "driver",
        "environment",
    }
    assert set(data["model"]) == {"paths", "kind", "format", "sha256"}
    assert set(data["video"]) == {"path", "n_frames", "height", "width", "channels", "n_bytes"}
    assert set(data["settings"]) == {"device", "n_frames", "repeats", "n_judged", "n_calibration", "reference"}
    assert data["absent"][0] == {"backend": "tensorrt", "precision": None, "reason": "no GPU"}
    first = data["rows"][0]
    assert set(first) == {
        *("backend", "precision", "batch_size", "status", "device", "reason", "notes", "agreement", "rank"),
        *("build_seconds", "pays_after_frames", "end_to_end_fps", "forward_ms", "latency_ms", "cold_start_s"),
        *("host_mb", "device_mb"),
    }
    assert first["end_to_end_fps"] == {"median": 50.0, "low": 49.5, "high": 50.5, "values": [49.5, 50.0, 50.5]}
    assert set(first["agreement"]) == {
        *("agrees", "limit", "n_frames", "n_instances", "n_points", "median_px", "p95_px", "max_px"),
        *("instances_missed", "instances_surplus", "points_missed", "points_surplus"),
    }
    assert set(first["latency_ms"]) == {"n_frames", "p50", "p90", "p99"}
    assert set(first["cold_start_s"]) == {"total", "python", "imports", "opening", "first_pose"}
    assert data["rows"][3]["end_to_end_fps"] is None
    assert data["scaling"][0] == {
        "name": "Frames",
        "x_label": "frames",
        "points": [[100.0, 9.0, 10.0, 11.0], [1000.0, 9.0, 10.0, 11.0]],
        "y_label": "ms per frame",
    }


@pytest.mark.parametrize("kind", [Report, Row, PoseComparison, Latency, ColdStart, Spread, Scaling])
def test_every_name_is_explained(kind: type[Any]) -> None:
    described = " ".join((kind.__doc__ or "").split("Attributes:")[1].split()).replace(",", " ").replace(":", " ")
    for item in attrs.fields(kind):
        assert item.name in described.split(), f"{kind.__name__}.{item.name}"


def test_names_that_are_added_later_do_no_harm(tmp_path: Path) -> None:
    data = json.loads(as_json(FULL))
    data["rows"][0]["joules"] = 3.0
    data["weather"] = "fine"
    assert read_report(saved(tmp_path, json.dumps(data))) == FULL


def test_a_scaling_series_needs_no_label_of_its_y_axis(tmp_path: Path) -> None:
    data = json.loads(as_json(FULL))
    data["scaling"] = [{"name": "Animals", "x_label": "animals", "points": [[1, 2, 3, 4]]}]
    (series,) = read_report(saved(tmp_path, json.dumps(data))).scaling
    assert series == Scaling("Animals", "animals", ((1.0, 2.0, 3.0, 4.0),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2 of the schema, but only version 1"),
        ({"version": None}, "version None"),
        ({"schema": "other"}, "not a report of sleap-infer benchmark: its schema is 'other'"),
        ({"rows": 3}, "Report.rows is 3, expected a value of type list"),
        ({"made": 5}, "Report.made is 5, expected a value of type str"),
        ({"scaling": [{"name": "a", "x_label": "b", "points": [[1, 2]]}]}, "has 2 values, expected 4"),
        ({"busy_cores": True}, "Report.busy_cores is True"),
    ],
)
def test_what_is_not_read(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = {**json.loads(as_json(FULL)), **change}
    with pytest.raises(OptionError) as error:
        read_report(saved(tmp_path, json.dumps(data)))
    assert message in str(error.value)
    assert "report.json" in str(error.value)


def test_damage_within_a_row_is_named(tmp_path: Path) -> None:
    data = json.loads(as_json(FULL))
    del data["rows"][1]["status"]
    with pytest.raises(OptionError, match=r"damaged: Report\.rows\[1\]\.status is missing"):
        read_report(saved(tmp_path, json.dumps(data)))
    data = json.loads(as_json(FULL))
    data["rows"][2]["status"] = "perhaps"
    with pytest.raises(OptionError, match=r"rows\[2\]\.status is 'perhaps', expected one of 'agrees'"):
        read_report(saved(tmp_path, json.dumps(data)))


@pytest.mark.parametrize("text", ["", "{", '{"schema": "sleap_infer.benchmark", "version"'])
def test_a_cut_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(OptionError, match="it is not JSON"):
        read_report(saved(tmp_path, text))


def test_a_list_is_no_report_and_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="its schema is None"):
        read_report(saved(tmp_path, "[1]"))
    with pytest.raises(OptionError, match="No such file"):
        read_report(tmp_path / "nothing.json")


def test_not_a_number_is_not_written() -> None:
    broken = attrs.evolve(FULL, busy_cores=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        as_json(broken)


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "there.json"
    check_file(path, overwrite=False)
    write_text(path, "a")
    with pytest.raises(OutputExistsError, match="already exists"):
        check_file(path, overwrite=False)
    check_file(path, overwrite=True)
    write_text(path, "b")
    assert path.read_text(encoding="utf-8") == "b"
    assert [item.name for item in tmp_path.iterdir()] == ["there.json"]
    with pytest.raises(OutputError, match="there is no folder"):
        check_file(tmp_path / "none" / "a.json", overwrite=False)
    with pytest.raises(OutputError):
        write_text(tmp_path / "none" / "a.json", "")


def test_tasks_cross_the_border_as_they_are() -> None:
    setup = Setup(("a", "b"), "onnx", None, "cpu", 4)
    for task in (
        Measure(setup, "v.mp4", 100, True, False, "/tmp"),
        Build(("a",), "int8", False, 4, "v.mp4", (1, 3), "out"),
    ):
        data = json.loads(json.dumps(to_plain(task)))
        assert from_plain(TASKS[type(task).__name__], data) == task
