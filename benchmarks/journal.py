"""What the journal of a job costs.

    python benchmarks/journal.py [--models MODEL ...] [--video VIDEO] [--rounds 7] [--output FILE.json]

The demo's models on the demo's video by default: the stream of poses alone, with the journal, and from the journal to a
`.slp` file; in turn, in one process. The first round warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import attrs
import numpy as np

import sleap_infer
from sleap_infer import Predictor, open_source
from sleap_infer.frames import Source
from sleap_infer.jobs.plan.tasks import CHUNK
from sleap_infer.jobs.run.range_runner import RangeRunner, Shape
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.jobs.write.results import collect, write
from sleap_infer.poses.labels import instance_skeleton
from sleap_infer.predictors.auto.cache import machine_facts

ASSETS = Path(sleap_infer.__file__).parent / "assets"
DEMO = [ASSETS / "models" / name for name in ("centroid", "centered_instance")]


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, default=DEMO)
    parser.add_argument("--video", type=Path, default=ASSETS / "videos" / "two_flies.mp4")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with Predictor.from_model_paths(given.models, backend=given.backend, device="cpu") as predictor:
        rounds = np.array([measure(predictor, given.video) for _ in range(given.rounds + 1)][1:])
    alone, journalled, adding, writing = np.median(rounds, axis=0)
    share = np.median(rounds[:, 1] / rounds[:, 0]) - 1
    print(f"poses alone       {alone:8.3f} s")
    print(f"with the journal  {journalled:8.3f} s, {share:+.1%}; of which adding to it {adding:.4f} s")
    print(f"journal to .slp   {writing:8.3f} s")
    if given.output:
        report = {
            "schema": "sleap_infer.journal_cost",
            "version": 1,
            "command": " ".join(["python", *sys.argv]),
            "machine": machine_facts(),
            "columns": ["stream_s", "journalled_s", "adding_s", "writing_s"],
            "rounds": rounds.round(5).tolist(),
            "more_time": round(float(share), 5),
        }
        given.output.write_text(json.dumps(report, indent=1) + "\n")


def measure(predictor: Predictor, video: Path) -> tuple[float, float, float, float]:
    """Seconds of the stream alone, of the stream into a journal, of adding to it, and of writing the file."""
    begun = perf_counter()
    for _ in predictor.stream(video):
        pass
    alone = perf_counter() - begun
    folder = Path(tempfile.mkdtemp())
    try:
        with open_source(video) as source:
            before, begun = predictor.stopwatch.read()["writing"], perf_counter()
            journal = into_journal(predictor, source, folder)
            journalled, adding = perf_counter() - begun, predictor.stopwatch.read()["writing"] - before
            begun = perf_counter()
            write(collect(journal, source), {"slp": folder / "poses.slp"}, {})
            return alone, journalled, adding, perf_counter() - begun
    finally:
        shutil.rmtree(folder)


def into_journal(predictor: Predictor, source: Source, folder: Path) -> Journal:
    """Predict a source as a job does, into a journal in a folder."""
    spec = predictor.runners[-1].spec
    skeleton = instance_skeleton(spec)
    facts = {
        "what": {},
        "parts": [{"frames": part.frame_inds} for part in source.parts],
        "n_nodes": len(skeleton.nodes),
        "skeleton": attrs.asdict(skeleton),
        "classes": spec.classes,
        "settings": attrs.asdict(predictor.settings),
        "facts": predictor.describe(),
        "started": "",
        "task": {"sources": [source.name]},
    }
    journal = Journal.create(folder / "journal", facts)
    with journal.shard("0") as shard:
        runner = RangeRunner(predictor, source, shard, Shape(journal.n_nodes, spec.kind == "centroid", CHUNK))
        for number, part in enumerate(source.parts):
            runner.run(number, Range(0, None if part.frame_inds is None else len(part.frame_inds)))
    return journal


if __name__ == "__main__":
    main()
