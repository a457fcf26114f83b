"""What a GPU gains: agreement first, then time, of every backend and precision that is there.

    python benchmarks/gpu.py [--device cuda] [--output FILE.json] [--quick]

Agreement: the package's own models on its own video, against PyTorch on the CPU in 32-bit floats. Time: networks of the
size that labs train (`production_models.py`), from uint8 frames on the host to candidates on the host, batches in
flight; rivals in turn, medians. End to end: a video file in, a `.slp` file out.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from production_models import CROP, write_models

import sleap_infer
from sleap_infer import Predictor, save_labels
from sleap_infer.errors import SleapInferError
from sleap_infer.poses.compare import compare_frames, points_of
from sleap_infer.runners import find_runner

ASSETS = Path(sleap_infer.__file__).parent / "assets"
PIPELINES = {
    "single_instance": ("single_instance",),
    "centroid": ("centroid",),
    "topdown": ("centroid", "centered_instance"),
    "bottomup": ("bottomup",),
    "multi_class_bottomup": ("multi_class_bottomup",),
    "multi_class_topdown": ("centroid", "multi_class_topdown"),
}
SIZES = {"single_instance": (192, 192), "bottomup": (1024, 1280)}
USUAL_SIZE = (1024, 1024)
WAYS = (
    ("torch", "fp32"),
    ("torch", "fp16"),
    ("torch_compile", "fp32"),
    ("torch_compile", "fp16"),
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("tensorrt", "fp32"),
    ("tensorrt", "fp16"),
)
LIMIT_PX = {"fp32": 0.05, "fp16": 0.5}
"""Largest distance of all points in fp32, and of 95 % of them in fp16."""

IN_FLIGHT = 2
PER_FRAME = 2
"""Animals per frame, for the crops of top-down models."""


def main() -> None:
    """Measure, write JSON if asked to, and print a table last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement; five of each are made")
    parser.add_argument("--backends", nargs="*", default=sorted({backend for backend, _ in WAYS}))
    parser.add_argument("--frames", type=int, default=2000, help="of the video, end to end")
    parser.add_argument("--quick", action="store_true", help="small networks and frames: does this script work?")
    given = parser.parse_args()
    ways = [way for way in WAYS if way[0] in given.backends and (given.device != "cpu" or way[1] == "fp32")]
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder) / "models", **({"filters": 4} if given.quick else {}))
        agreed = [row for way in ways for row in agreement(given.device, *way)]
        show_agreement(agreed)
        timed = [row for name in PIPELINES for row in compare(name, models, ways, given)]
        whole = [row for way in ways if (row := end_to_end(models["bottomup"], Path(folder), way, given))]
    if given.output:
        found = {"version": 1, "machine": machine(), "agreement": agreed, "networks": timed, "end_to_end": whole}
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    show(timed, whole)


def agreement(device: str, backend: str, precision: str) -> Iterator[dict[str, Any]]:
    """How far each pipeline's poses are from those of PyTorch on the CPU."""
    for name, parts in PIPELINES.items():
        paths = [ASSETS / "models" / part for part in parts]
        video = ASSETS / "videos" / ("one_fly.mp4" if name == "single_instance" else "two_flies.mp4")
        row = {"pipeline": name, "backend": backend, "precision": precision}
        try:
            with Predictor.from_model_paths(paths, device="cpu") as reference:
                expected = reference.predict(video, as_labels=False)
            with Predictor.from_model_paths(paths, backend=backend, device=device, precision=precision) as other:
                found = other.predict(video, as_labels=False)
        except SleapInferError as error:
            yield {**row, "verdict": "none", "reason": str(error)[:300]}
            continue
        compared = compare_frames([points_of(item) for item in found], [points_of(item) for item in expected])
        worst, p95 = compared.percentile(100), compared.percentile(95)
        changed = sum(
            bool(frame.n_missed or frame.n_false or frame.missed_points.any() or frame.false_points.any())
            for frame in compared.frames
        )
        passed = changed == 0 and (worst if precision == "fp32" else p95) <= LIMIT_PX[precision]
        row |= {"max_px": worst, "p95_px": p95, "frames_changed": changed}
        yield {**row, "verdict": "PASS" if passed else "FAIL"}


def compare(name: str, models: dict[str, Path], ways: list[tuple[str, str]], given: Any) -> Iterator[dict[str, Any]]:
    """Frames per second of one pipeline's networks, of all ways in turn, at batch 1 and 8."""
    height, width = (64, 96) if given.quick else SIZES.get(name, USUAL_SIZE)
    for batch in (1, 8):
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, (batch, 1, height, width), dtype=np.uint8)
        with ExitStack() as stack:
            started = {}
            for backend, precision in ways:
                try:
                    started[backend, precision] = opened(stack, name, models, (backend, precision), given, batch)
                    seconds_per_batch(started[backend, precision], frames, 0.0)
                except SleapInferError as error:
                    started.pop((backend, precision), None)
                    print(f"{name} b{batch}: no {backend} {precision}: {error}", flush=True)
            seconds: dict[tuple[str, str], list[float]] = {way: [] for way in started}
            for _ in range(5):
                for way, start in started.items():
                    seconds[way].append(seconds_per_batch(start, frames, given.seconds))
            alone = {way: [latency(start, frames) for _ in range(20)] for way, start in started.items()}
        for way, values in seconds.items():
            rates = batch / np.array(values)
            yield {
                "pipeline": name,
                "backend": way[0],
                "precision": way[1],
                "batch": batch,
                "size": [height, width],
                "fps": float(np.median(rates)),
                "fps_quartiles": [float(value) for value in np.percentile(rates, [25, 75])],
                "latency_ms": float(np.median(alone[way]) * 1000),
            }


def opened(
    stack: ExitStack, name: str, models: dict[str, Path], way: tuple[str, str], given: Any, batch: int
) -> Callable[[np.ndarray], Callable[[], Any]]:
    """Return the function that starts a pipeline's networks on a batch of frames."""
    predictor = stack.enter_context(
        Predictor.from_model_paths(
            [models[part] for part in PIPELINES[name]],
            backend=way[0],
            device=given.device,
            precision=way[1],
            batch_size=batch,
        )
    )
    first, *others = predictor.runners
    which = np.repeat(np.arange(batch), PER_FRAME)

    def start(frames: np.ndarray) -> Callable[[], Any]:
        pending = [first.start(frames)]
        for runner in others:
            corner = np.full((len(which), 2), 20, np.int64)
            pending.append(runner.start_crops(frames, which, corner, 16))
        return lambda: [wait() for wait in pending]

    return start


def seconds_per_batch(start: Callable[..., Any], frames: np.ndarray, at_least: float) -> float:
    """With batches in flight, over so many seconds."""
    for _ in range(3):
        start(frames)()
    flying: deque[Any] = deque()
    count, begin = 0, perf_counter()
    while perf_counter() - begin < at_least or count < 3:
        flying.append(start(frames))
        count += 1
        if len(flying) > IN_FLIGHT:
            flying.popleft()()
    while flying:
        flying.popleft()()
    return (perf_counter() - begin) / count


def latency(start: Callable[..., Any], frames: np.ndarray) -> float:
    """Seconds from frames to candidates, with nothing else in flight."""
    begin = perf_counter()
    start(frames)()
    return perf_counter() - begin


def end_to_end(model: Path, folder: Path, way: tuple[str, str], given: Any) -> dict[str, Any] | None:
    """Frames per second from a video file to a `.slp` file, bottom-up."""
    video = folder / "video.mp4"
    if not video.exists():
        write_video(video, (64, 96) if given.quick else SIZES["bottomup"], given.frames)
    try:
        how: dict[str, Any] = {"backend": way[0], "precision": way[1], "device": given.device, "batch_size": 8}
        with Predictor.from_model_paths(model, **how) as predictor:
            predictor.predict(video, as_labels=False, frames=range(32))
            rates = []
            for number in range(3):
                begin = perf_counter()
                save_labels(predictor.predict(video), folder / f"{way[0]}-{way[1]}-{number}.slp")
                rates.append(given.frames / (perf_counter() - begin))
    except SleapInferError as error:
        print(f"end to end: no {way[0]} {way[1]}: {error}", flush=True)
        return None
    return {"pipeline": "bottomup", "backend": way[0], "precision": way[1], "fps": float(np.median(rates))}


def write_video(path: Path, size: tuple[int, int], n_frames: int) -> None:
    """Write a video of moving noise, as compressible as a real one."""
    height, width = size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    still = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (height, width * 2), dtype=np.uint8), (0, 0), 5)
    for number in range(n_frames):
        shift = number % width
        writer.write(cv2.cvtColor(still[:, shift : shift + width], cv2.COLOR_GRAY2BGR))
    writer.release()


def machine() -> dict[str, Any]:
    """Where this was measured, and with what."""
    has_gpu = torch.cuda.is_available()
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "cuda": torch.version.cuda,
        "crop": CROP,
        "backends": {name: find_runner(name).__name__ for name in ("torch", "torch_compile", "onnx", "tensorrt")},
    }


def show_agreement(rows: list[dict[str, Any]]) -> None:
    """Return one line per pipeline, backend and precision."""
    for row in rows:
        rest = row.get("reason") or "max {max_px:.4f} px, 95 % {p95_px:.4f} px, {frames_changed} changed".format(**row)
        print(f"{row['verdict']:<5}{row['pipeline']:<22}{row['backend']:<14}{row['precision']:<6}{rest}", flush=True)


def show(timed: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    """Return the table: frames per second, and their ratio to those of PyTorch in fp32."""
    plain = [row for row in timed if (row["backend"], row["precision"]) == ("torch", "fp32")]
    base = {(row["pipeline"], row["batch"]): row["fps"] for row in plain}
    columns = ("frames/s", "x torch fp32", "latency ms")
    print(f"\n{'pipeline':<22}{'batch':>5}  {'backend':<20}{columns[0]:>10}{columns[1]:>14}{columns[2]:>12}")
    for row in timed:
        ratio = row["fps"] / base.get((row["pipeline"], row["batch"]), float("nan"))
        print(
            f"{row['pipeline']:<22}{row['batch']:>5}  {row['backend']:<14}{row['precision']:<6}{row['fps']:>10.1f}"
            f"{ratio:>14.2f}{row['latency_ms']:>12.2f}"
        )
    for row in whole:
        print(f"video to .slp, bottomup, {row['backend']} {row['precision']}: {row['fps']:.1f} frames/s")


if __name__ == "__main__":
    main()
