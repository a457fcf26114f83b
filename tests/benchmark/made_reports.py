"""Reports whose figures are made up, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

from sleap_infer.benchmark.machine import MachineFacts
from sleap_infer.benchmark.report.schema import (
    ColdStart,
    Latency,
    ModelFacts,
    PoseComparison,
    Report,
    Row,
    Settings,
    VideoFacts,
)
from sleap_infer.benchmark.report.statistics import Spread

MACHINE = MachineFacts("Linux-6.1", "3.12.1", "Some <fast> CPU", 8, 16.0, ("avx2", "avx512_vnni"))


def spread(median: float, half: float = 0.01) -> Spread:
    """A median with quartiles at a share of it to both sides."""
    low, high = median * (1 - half), median * (1 + half)
    return Spread(median, low, high, (low, median, high))


def agreement(max_px: float = 0.0, agrees: bool = True) -> PoseComparison:
    return PoseComparison(agrees, "all points within 0.01 px", 50, 100, 500, max_px / 2, max_px, max_px)


def row(backend: str, precision: str, batch_size: int, fps: float, **more: Any) -> Row:
    """A row that agrees, with figures that follow from its frames per second."""
    ms = 1000 / fps
    singles = Latency(100, spread(ms), spread(1.5 * ms), spread(3 * ms)) if batch_size == 1 else None
    parts = [spread(value) for value in (1.0, 0.1, 0.6, 0.2, 0.1)]
    given: dict[str, Any] = {
        "status": "agrees",
        "device": "cpu",
        "agreement": agreement(),
        "end_to_end_fps": spread(fps),
        "forward_ms": spread(ms / 2),
        "latency_ms": singles,
        "cold_start_s": ColdStart(*parts),
        "host_mb": spread(300.0),
    }
    return Row(backend, precision, batch_size, **{**given, **more})


def report(*rows: Row, **more: Any) -> Report:
    given: dict[str, Any] = {
        "made": "2026-01-02T03:04:05+00:00",
        "command": "sleap-infer benchmark 'a & b'",
        "machine": MACHINE,
        "packages": {"torch": "2.9", "onnxruntime": "1.22"},
        "model": ModelFacts(("/models/bottomup",), "bottomup", "sleap-nn", ("ab" * 32,)),
        "video": VideoFacts("/videos/two_flies.mp4", 100, 192, 192, 1, 12345),
        "settings": Settings("auto", 100, 5, 50, 50, "torch fp32 on cpu"),
    }
    return Report(**{**given, **more}, rows=rows)
