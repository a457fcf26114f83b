"""What lower precision costs in pixels and gives in speed: fp32, fp16, bf16 and int8, on each graph backend.

    python benchmarks/precision.py [--repeats 7] [--output FILE.json] [--calibration VIDEO --frames VIDEO MODEL ...]

Without models: the package's own. int8 is calibrated on one video; errors are those on another, which was not seen.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import numpy as np

import sleap_infer
from sleap_infer import Predictor
from sleap_infer.checks.check import record
from sleap_infer.checks.images import spread
from sleap_infer.choices import Precision
from sleap_infer.export import ExportOptions, ExportResult, export, validate
from sleap_infer.runners import BaseInferenceRunner

ASSETS = Path(sleap_infer.__file__).parent / "assets"
PIPELINES = (
    ("single_instance",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)
BATCH_SIZE = 4
CPU_BACKENDS: tuple[str, ...] = ("onnx", "openvino")
ROOM = 60


def main() -> None:
    """Export, measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--calibration", type=Path, help="video that ranges are measured and the budget is kept on")
    parser.add_argument("--frames", type=Path, help="another video, for the errors and times that are reported")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for models, seen, unseen in pipelines(given.models, given.calibration, given.frames):
            rows += measure(models, seen, unseen, Path(folder) / str(len(rows)), given.repeats)
            for row in rows[-len(get_args(Precision)) * len(CPU_BACKENDS) :]:
                print(line(row))
    if given.output:
        facts = {name: version(name) for name in ("onnxruntime", "openvino", "torch")}
        machine = {"platform": platform.platform(), "processor": processor(), **facts}
        text = json.dumps({"version": 1, "machine": machine, "rows": rows}, indent=1)
        given.output.write_text(text + "\n", encoding="utf-8")


def pipelines(models: Sequence[Path], seen: Path, unseen: Path) -> list[tuple[Sequence[Path], Path, Path]]:
    """Models that go together, the video that int8 sees, and the one that is judged."""
    if models:
        return [(models, seen, unseen)]
    found: list[tuple[Sequence[Path], Path, Path]] = []
    for names in PIPELINES:
        pair = ("one_fly", "one_fly") if names == ("single_instance",) else ("two_flies", "two_flies_rgb")
        videos = [ASSETS / "videos" / f"{name}.mp4" for name in pair]
        found.append(([ASSETS / "models" / name for name in names], videos[0], videos[1]))
    return found


def measure(models: Sequence[Path], seen: Path, unseen: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Rows of one pipeline: every precision on every backend."""
    rows, runners = [], {}
    for precision in get_args(Precision):
        options = ExportOptions(precision=precision, max_peaks_per_node=ROOM)
        results = export(models, folder / precision, options, seen)
        for backend in CPU_BACKENDS:
            row = describe(results, precision, backend, folder / precision, models, unseen)
            rows.append({"pipeline": "+".join(model.name for model in models), **row})
            runners[precision, backend] = open_with_inputs(folder / precision, backend, unseen)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    for number in range(repeats + 1):
        for key, (opened, inputs, n_frames) in runners.items():
            start = perf_counter()
            for runner, batches in zip(opened, inputs, strict=True):
                for batch in batches:
                    runner.infer(batch)
            if number:
                seconds[key].append((perf_counter() - start) / n_frames * 1e3)
    for row in rows:
        low, median, high = np.percentile(seconds[row["precision"], row["backend"]], [25, 50, 75])
        row["ms_per_frame"] = {"median": float(median), "low": float(low), "high": float(high)}
    return rows


def describe(
    results: Sequence[ExportResult], precision: str, backend: Any, place: Path, models: Sequence[Path], video: Path
) -> dict[str, Any]:
    """Size, errors and what was kept of one export."""
    report = validate(place, models, video, ExportOptions(precision=precision, n_frames=64), backend)
    poses = report.poses
    return {
        "precision": precision,
        "backend": backend,
        "verdict": report.verdict,
        "megabytes": sum(graph.stat().st_size for graph in place.rglob("*.onnx")) / 1e6,
        "kept": [f"{result.spec.kind}: {name}" for result in results for name in _kept(result)],
        "p50_px": poses.p50_px,
        "p95_px": poses.p95_px,
        "max_px": poses.max_px,
        "n_points": poses.n_points,
        "points_changed": poses.lost + poses.gained,
        "instances_changed": poses.instances_lost + poses.instances_gained,
    }


def open_with_inputs(
    place: Path, backend: str, video: Path
) -> tuple[Sequence[BaseInferenceRunner], list[list[np.ndarray]], int]:
    """Return the runners of an export, their inputs from a video, and the number of frames."""
    predictor = Predictor.from_model_paths(place, backend=backend, device="cpu", batch_size=BATCH_SIZE)
    recording, recorders = record(predictor)
    frames = spread(video, 32)
    n_frames = sum(1 for _ in recording.stream(frames.source, frames.selection))
    return predictor.runners, [recorder.inputs for recorder in recorders], n_frames


def line(row: dict[str, Any]) -> str:
    """Return a row of the table in docs/quantization.md."""
    time = row["ms_per_frame"]
    kept = ", ".join(row["kept"]) or "-"
    return (
        f"| {row['pipeline']} | {row['precision']} | {row['backend']} | {time['median']:.2f} | "
        f"{row['megabytes']:.2f} | {row['p50_px']:.4f} | {row['p95_px']:.4f} | {row['max_px']:.2f} | "
        f"{row['points_changed']} + {row['instances_changed']} | {row['verdict']} | {kept} |"
    )


def processor() -> str:
    """Name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((item.partition(":")[2].strip() for item in lines if item.startswith("model name")), "unknown")


def _kept(result: ExportResult) -> tuple[str, ...]:
    assert result.spec.exported is not None
    return result.spec.exported.kept


if __name__ == "__main__":
    main()
