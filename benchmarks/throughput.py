"""How fast a video becomes a `.slp` file, against decoding alone and the networks alone.

    python benchmarks/throughput.py [--video VIDEO] [--repeats 5] [--output FILE.json] [MODEL ...]

Without models: the package's own, one pipeline each, on its own video of two flies, repeated until it has 400 frames.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

import sleap_infer
from sleap_infer import Predictor, open_source, save_labels
from sleap_infer.preprocess import preprocess

ASSETS = Path(sleap_infer.__file__).parent / "assets"
PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)
REPEATED = 4


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--video", type=Path, default=ASSETS / "videos" / "two_flies.mp4")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    pipelines = [tuple(given.models)] if given.models else [tuple(ASSETS / "models" / n for n in p) for p in PIPELINES]
    rows = [measure(models, given.video, given.repeats, given.batch_size) for models in pipelines]
    print(f"{'pipeline':<22}{'decode':>10}{'networks':>10}{'to file':>10}   frames/s, median of {given.repeats}")
    for row in rows:
        rates = "".join(f"{row[name]['median']:>10.1f}" for name in ("decode", "networks", "to_file"))
        print(f"{row['pipeline']:<22}{rates}   {row['share_of_bound']:.0%} of the slower of the two")
    if given.output:
        machine = {"platform": platform.platform(), "cores": torch.get_num_threads(), "torch": torch.__version__}
        given.output.write_text(json.dumps({"version": 1, "machine": machine, "rows": rows}, indent=1) + "\n")


def measure(models: tuple[Path, ...], video: Path, repeats: int, batch_size: int) -> dict[str, object]:
    """Frames per second of each part, run in turn."""
    sources = [video] * REPEATED
    with Predictor.from_model_paths(models, device="cpu", batch_size=batch_size) as predictor:
        with open_source(video) as opened:
            batches = list(opened.batches(batch_size))
        n_frames = REPEATED * sum(len(batch.images) for batch in batches)
        works = [predictor._preprocess(batch) for batch in batches]

        def decode() -> None:
            with open_source(sources) as source:
                for batch in source.batches(batch_size):
                    preprocess(batch.images, predictor.settings.frames)

        def networks() -> None:
            for work in works * REPEATED:
                reduce(lambda so_far, step: step(so_far), predictor._steps(), work)

        def to_file() -> None:
            with tempfile.TemporaryDirectory() as folder:
                save_labels(predictor.predict(sources), Path(folder) / "poses.slp")

        parts = {"decode": decode, "networks": networks, "to_file": to_file}
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(repeats + 1):
            for name, part in parts.items():
                elapsed = time(part)
                if number:
                    seconds[name].append(elapsed)
        rates = {name: spread(n_frames / np.array(values)) for name, values in seconds.items()}
        bound = min(rates["decode"]["median"], rates["networks"]["median"])
        share = rates["to_file"]["median"] / bound
        return {"pipeline": predictor.settings.kind, "n_frames": n_frames, **rates, "share_of_bound": share}


def time(work: Callable[[], None]) -> float:
    """Seconds that work takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
