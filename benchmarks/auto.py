"""Whether `--backend auto` takes the fastest: what it chose, several times anew, against whole runs of all it measured.

    python benchmarks/auto.py [--corpus DIR] [--choices 3] [--repeats 3] [--output FILE.json]

For every kind of model, of the package or with `--corpus` the real ones. Choices are made as for a video of a million
frames, so that every backend is a candidate, whatever it takes to make it ready; what they chose between then takes
turns on this video, and the first round does not count. A choice that is more than 10 % slower than the fastest is
wrong, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import numpy as np
from throughput import ASSETS, in_turn, pipelines, video_length, write_report

from sleap_infer import Predictor
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.auto.clips import read_clip

SECONDS = 3.0
TOLERANCE = 0.1
MANY_FRAMES = 1_000_000
"""After so many, whatever a backend takes to be ready has paid."""


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    given = read_arguments()
    rows = [measure(models, video, given) for models, video in pipelines(given)]
    if given.output:
        write_report(given.output, "auto", 1, rows)
    sys.exit(any(row["slower_by"] > TOLERANCE for row in rows))


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path)
    parser.add_argument("--video", type=Path, default=ASSETS / "videos" / "two_flies.mp4")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--choices", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def measure(models: list[Path], video: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Choose some times, then run all that was measured from video to poses, in turn."""
    choices = [choose(models, video) for _ in range(given.choices)]
    tried = {(row.backend, row.batch_size) for choice in choices for row in choice.tried if row.rate and not row.reason}
    with ExitStack() as stack:
        opened = {
            f"{backend}, batch size {size}": stack.enter_context(
                Predictor.from_model_paths(models, device="cpu", backend=backend, batch_size=size)
            )
            for backend, size in sorted(tried)
        }
        n_frames = min(max(frames_for(predictor, video) for predictor in opened.values()), video_length(video))
        parts = {name: lambda of=predictor: run(of, video, n_frames) for name, predictor in opened.items()}
        rates = in_turn(parts, n_frames, given.repeats)
    median = {name: round(float(np.median(values)), 2) for name, values in rates.items()}
    chosen = [f"{choice.backend}, batch size {choice.batch_size}" for choice in choices]
    best = max(rates, key=lambda name: median[name])
    slower = max(float(np.median(1 - rates[name] / rates[best])) for name in chosen)
    row = {
        "models": " + ".join(path.name for path in models),
        "n_frames": n_frames,
        "frames_per_second": median,
        "chosen": chosen,
        "fastest": best,
        "slower_by": round(slower, 4),
    }
    others = "; ".join(f"{name}: {rate:.1f}" for name, rate in median.items())
    print(
        f"{row['models']:<64} chose {' | '.join(sorted(set(chosen)))}, {slower:.0%} slower than the best; {others}",
        flush=True,
    )
    return row


def choose(models: list[Path], video: Path) -> Choice:
    """Return what `auto` chooses for a video so long that exporting pays, measured anew."""
    clip = read_clip(video)
    assert clip is not None
    clip = attrs.evolve(clip, remember=False, n_frames=MANY_FRAMES)
    with Predictor.from_model_paths(models, device="cpu", clip=clip) as predictor:
        assert predictor.choice is not None
        return predictor.choice


def frames_for(predictor: Predictor, video: Path) -> int:
    """As many frames as take some seconds."""
    begin = perf_counter()
    run(predictor, video, 16)
    return int(np.clip(SECONDS * 16 / (perf_counter() - begin), 48, 800)) // 8 * 8


def run(predictor: Predictor, video: Path, n_frames: int) -> None:
    """Poses of the first frames."""
    for _ in predictor.stream(video, range(n_frames)):
        pass


if __name__ == "__main__":
    main()
