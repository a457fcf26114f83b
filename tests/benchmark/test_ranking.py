"""Ranks, winners, and the result in one line."""

from __future__ import annotations

from made_reports import agreement, report, row, spread

from sleap_infer.benchmark.report.ranking import conclude, rank, winners
from sleap_infer.benchmark.report.schema import Row

TORCH = row("torch", "fp32", 1, 50.0)
ONNX = row("onnx", "fp32", 1, 100.0, build_seconds=10.0)
BATCHES = row("onnx", "fp32", 4, 80.0, build_seconds=10.0)
OFF = row("openvino", "int8", 1, 500.0, status="differs", agreement=agreement(4.0, False), host_mb=spread(10.0))
DEAD = Row("torch_compile", "fp32", 1, "failed", reason="ended by SIGSEGV")


def test_what_differs_is_never_ranked_however_fast_it_is() -> None:
    ranks = {item.name: item.rank for item in rank([TORCH, OFF, ONNX, DEAD, BATCHES])}
    assert ranks == {
        "torch fp32 b1": 3,
        "openvino int8 b1": None,
        "onnx fp32 b1": 1,
        "torch_compile fp32 b1": None,
        "onnx fp32 b4": 2,
    }


def test_what_differs_never_wins() -> None:
    best = winners([TORCH, OFF, ONNX, DEAD, BATCHES])
    assert best["end_to_end_fps"] == ONNX.key
    assert best["latency_ms"] == ONNX.key
    assert best["forward_ms"] == ONNX.key
    assert best["host_mb"] != OFF.key
    assert "device_mb" not in best


def test_builds_pay_against_torch_of_the_same_batch_size() -> None:
    torch, onnx, batches = rank([TORCH, ONNX, BATCHES])
    assert onnx.pays_after_frames == 1000  # 10 s / (1/50 - 1/100)
    assert torch.pays_after_frames is None
    assert batches.pays_after_frames is None


def test_the_conclusion_names_winner_gain_and_losers() -> None:
    text = conclude(report(*rank([TORCH, OFF, ONNX, DEAD, BATCHES])))
    assert text == (
        "Fastest from video to file: onnx fp32 b1, 100.0 frames/s (2.00 x torch fp32 b1, pays off after 1000 frames). "
        "Lowest latency: onnx fp32 b1, 10.0 ms per frame. Poses differ from the reference: openvino int8 b1."
    )


def test_rivals_within_the_spread_are_named() -> None:
    level = row("openvino", "fp32", 1, 99.0)
    text = conclude(report(*rank([ONNX, level])))
    assert "not significantly slower: openvino fp32 b1" in text
    assert "not significantly slower" not in conclude(report(*rank([ONNX, TORCH])))


def test_without_agreement_there_is_no_winner() -> None:
    assert conclude(report(*rank([OFF, DEAD]))).startswith("No configuration gives the poses")


def test_rows_by_speed_keep_what_differs_in_its_place() -> None:
    assert [item.name for item in report(DEAD, TORCH, ONNX, OFF).by_speed] == [
        "openvino int8 b1",
        "onnx fp32 b1",
        "torch fp32 b1",
        "torch_compile fp32 b1",
    ]
