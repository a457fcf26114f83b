"""How the cost of a frame grows: with the length of the video, with animals, with nodes.

    python benchmarks/scaling.py [--most-frames 100000] [--output FILE.json] [--add-to REPORT.json REPORT.html]

The network is a function that gives candidates drawn from a seed at once, so that what is left is all the rest: the
pipeline, grouping, labels and writing the `.slp` file. `--add-to` puts the curves into a report of
`sleap-infer benchmark`, and draws its page again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from time import perf_counter

import attrs
import numpy as np
import torch

import sleap_infer
from sleap_infer import FakeRunner, open_source, save_labels
from sleap_infer.benchmark.report.html import as_html
from sleap_infer.benchmark.report.schema import Scaling, as_json, read_report
from sleap_infer.config.plain import to_plain
from sleap_infer.frames.reader import Image
from sleap_infer.frames.source import Source, VideoPart
from sleap_infer.model import read_spec
from sleap_infer.model.settings import PipelineSettings, read_options, resolve
from sleap_infer.model.spec import ModelSpec, SkeletonSpec
from sleap_infer.ops.pafs import LineScoring, score_lines
from sleap_infer.poses.candidates import Candidates
from sleap_infer.predictors import BottomUpPredictor
from sleap_infer.predictors.auto.cache import machine_facts

MODEL = Path(sleap_infer.__file__).parent / "assets" / "models" / "bottomup"
LENGTHS = (100, 1_000, 10_000, 100_000)
ANIMALS = (1, 2, 5, 10, 20, 50, 100)
NODES = (2, 5, 10, 20, 40)
BATCH_SIZE = 4
SIDE = 1024


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-frames", type=int, default=LENGTHS[-1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--add-to", nargs=2, type=Path, metavar=("JSON", "HTML"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    lengths = [length for length in LENGTHS if length <= given.most_frames]
    found = (
        series("Cost against the length of the video", "frames", lengths, lambda n: run(n, 2, 13), given.repeats),
        series("Cost against the number of animals", "animals", ANIMALS, lambda n: run(200, n, 13), given.repeats),
        series("Cost against the number of nodes", "nodes", NODES, lambda n: run(400, 2, n), given.repeats),
    )
    for curve in found:
        print(f"{curve.name}, {curve.y_label}")
        for x, low, median, high in curve.points:
            print(f"  {x:>8.0f} {curve.x_label:<8} {median:>8.3f}  ({low:.3f} to {high:.3f})")
    if given.output:
        facts = {"command": " ".join(["python", *sys.argv]), "machine": machine_facts()}
        curves = [to_plain(curve) for curve in found]
        report = {"schema": "sleap_infer.scaling", "version": 1, **facts, "scaling": curves}
        given.output.write_text(json.dumps(report, indent=1) + "\n")
    if given.add_to:
        whole = attrs.evolve(read_report(given.add_to[0]), scaling=found)
        given.add_to[0].write_text(as_json(whole), encoding="utf-8")
        given.add_to[1].write_text(as_html(whole), encoding="utf-8")


def series(name: str, label: str, values: Sequence[int], work: Callable[[int], float], repeats: int) -> Scaling:
    """Milliseconds per frame for each value; all values take turns."""
    rounds = np.array([[work(value) for value in values] for _ in range(repeats + 1)][1:])
    low, median, high = np.percentile(rounds, [25, 50, 75], axis=0)
    rounded = np.round(np.stack([values, low, median, high], axis=1), 5).tolist()
    return Scaling(name, label, tuple((value, first, middle, last) for value, first, middle, last in rounded))


def run(n_frames: int, n_animals: int, n_nodes: int) -> float:
    """Milliseconds per frame from the source to the file."""
    spec = model(n_nodes)
    settings: PipelineSettings = resolve([spec], read_options([spec], "bottomup", {}))
    runner = FakeRunner(network(spec, n_animals), spec, settings.stages[0])
    with BottomUpPredictor([runner], settings, BATCH_SIZE) as predictor, tempfile.TemporaryDirectory() as folder:
        begin = perf_counter()
        labels = predictor.predict(video(n_frames))
        save_labels(labels, Path(folder) / "poses.slp")
        return (perf_counter() - begin) / n_frames * 1000


def model(n_nodes: int) -> ModelSpec:
    """Return a chain of nodes."""
    names = tuple(f"node{number}" for number in range(n_nodes))
    edges = tuple((number, number + 1) for number in range(n_nodes - 1))
    skeleton = SkeletonSpec(names, tuple((names[a], names[b]) for a, b in edges))
    return attrs.evolve(read_spec(MODEL), skeleton=skeleton, paf_edges=edges)


def network(spec: ModelSpec, n_animals: int) -> Callable[[object], Candidates]:
    """Return a network with the same animals in every frame, whose connections are scored as by torch backends."""
    dice = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(n_animals), 10)
    centres = np.stack([60 + 95 * columns, 60 + 95 * rows], axis=-1)[:, None].astype(np.float32)
    points = centres + dice.uniform(-30, 30, (n_animals, spec.n_nodes, 2)).astype(np.float32)
    peaks = torch.from_numpy(np.repeat(points.swapaxes(0, 1)[None], BATCH_SIZE, axis=0))
    values = np.full((BATCH_SIZE, spec.n_nodes, n_animals), 0.9, np.float32)
    fields = torch.zeros(BATCH_SIZE, 2 * len(spec.paf_edges), SIDE // 4, SIDE // 4)
    for edge, (source, destination) in enumerate(spec.paf_edges):
        for start, end in zip(points[:, source], points[:, destination], strict=True):
            along = np.linspace(start, end, 50)
            x, y = (along / 4).round().astype(int).T
            unit = (end - start) / np.linalg.norm(end - start)
            fields[:, 2 * edge, y, x], fields[:, 2 * edge + 1, y, x] = float(unit[0]), float(unit[1])
    scoring = LineScoring(spec.paf_edges, 4, 10, 0.25, 1.0)

    def find(images: Sized) -> Candidates:
        n = len(images)
        lines = score_lines(fields[:n], peaks[:n], scoring).numpy()
        is_peak = np.ones_like(values[:n], bool)
        found = {"peaks": peaks[:n].numpy(), "peak_vals": values[:n], "peak_mask": is_peak}
        return {**found, "line_scores": lines, "candidate_mask": ~np.isnan(lines)}

    return find


class Black:
    """Reads as many black frames as wanted from one picture."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self._image: Image = np.zeros((64, 64, 1), np.uint8)

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image]]:
        """Give the picture each time."""
        return ((number, self._image) for number in (range(self.n_frames) if frame_inds is None else frame_inds))

    def close(self) -> None:
        """Nothing to give back."""


def video(n_frames: int) -> Source:
    """Write a video of black frames."""
    described = open_source(np.zeros((1, 64, 64), np.uint8)).parts[0].video
    return Source("black", (VideoPart(Black(n_frames), described),))


if __name__ == "__main__":
    main()
