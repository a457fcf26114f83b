"""What counts as a regression against an older report."""

from __future__ import annotations

import attrs
import pytest
from made_reports import MACHINE, agreement, report, row, spread

from sleap_infer.benchmark.report.baseline import compare
from sleap_infer.benchmark.report.schema import Row

OLD = report(row("torch", "fp32", 1, 50.0), row("onnx", "fp32", 1, 80.0), row("onnx", "fp32", 4, 100.0))


def test_the_same_is_no_regression() -> None:
    found = compare(OLD, OLD)
    assert found.regressions == ()
    assert found.is_comparable
    assert found.n_compared == 3


def test_only_what_is_slower_is_named() -> None:
    new = report(
        row("torch", "fp32", 1, 51.0),
        row("onnx", "fp32", 1, 80.0, end_to_end_fps=spread(60.0)),
        row("onnx", "fp32", 4, 120.0),
    )
    (found,) = compare(new, OLD).regressions
    assert found.row == "onnx fp32 b1"
    assert found.what == "80 before, 60 now (-25%) frames/s from video to file"


def test_every_figure_counts_by_itself() -> None:
    slow = row("onnx", "fp32", 1, 80.0, forward_ms=spread(9.0), host_mb=spread(400.0))
    slower = attrs.evolve(slow, latency_ms=attrs.evolve(slow.latency_ms, p50=spread(20.0)))
    found = compare(report(slower), OLD).regressions
    assert [item.what.split(") ")[1] for item in found] == [
        "ms per frame in the networks",
        "ms for a single frame (p50)",
        "MB on the host",
    ]


def test_within_noise_is_no_regression() -> None:
    noisy = row("onnx", "fp32", 1, 80.0, end_to_end_fps=spread(72.0, half=0.1))
    assert compare(report(noisy), OLD).regressions == ()


def test_poses_that_agreed_and_do_no_longer() -> None:
    off = row("onnx", "fp32", 1, 200.0, status="differs", agreement=agreement(5, False), reason="largest 5 px")
    dead = Row("torch", "fp32", 1, "failed", reason="ended by SIGSEGV")
    found = compare(report(off, dead), OLD)
    assert [(item.row, item.what) for item in found.regressions] == [
        ("onnx fp32 b1", "its poses agreed before, and now it differs: largest 5 px"),
        ("torch fp32 b1", "its poses agreed before, and now it failed: ended by SIGSEGV"),
    ]
    assert found.missing == ("onnx fp32 b4",)


def test_rows_that_are_new_or_gone_are_no_regression() -> None:
    found = compare(report(row("openvino", "fp32", 1, 1.0)), OLD)
    assert found.regressions == ()
    assert found.n_compared == 0
    assert len(found.missing) == 3


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cpu": "Another CPU"}, "CPU"),
        ({"cores": 4}, "number of cores"),
        ({"gpus": ("NVIDIA A4000",)}, "GPUs"),
        ({"os": "macOS-15"}, "operating system"),
    ],
)
def test_another_machine_is_not_comparable(changes: dict[str, object], word: str) -> None:
    slow = row("onnx", "fp32", 1, 8.0)
    new = attrs.evolve(report(slow), machine=attrs.evolve(MACHINE, **changes))  # type: ignore[arg-type]
    found = compare(new, OLD)
    assert not found.is_comparable
    assert found.regressions == ()
    (difference,) = found.differences
    assert difference.startswith(f"different {word}: ")


def test_another_model_video_or_length_is_not_comparable_but_poses_still_count() -> None:
    off = row("onnx", "fp32", 1, 8.0, status="differs")
    new = attrs.evolve(
        report(off),
        model=attrs.evolve(OLD.model, sha256=("cd" * 32,)),
        video=attrs.evolve(OLD.video, n_bytes=1),
        settings=attrs.evolve(OLD.settings, n_frames=10),
    )
    found = compare(new, OLD)
    assert [difference.split(": ")[0] for difference in found.differences] == [
        "different model (its weights)",
        "different video",
        "different number of frames",
    ]
    assert [item.row for item in found.regressions] == ["onnx fp32 b1"]


def test_a_kernel_update_is_comparable() -> None:
    new = attrs.evolve(OLD, machine=attrs.evolve(MACHINE, os="Linux-6.9"))
    assert compare(new, OLD).is_comparable
