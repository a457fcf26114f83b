"""How many frames a second one core turns from candidates into instances, and instances into a `.slp` file.

    python benchmarks/grouping.py [--repeats 9] [--only WORD] [--note TEXT] [--output FILE.json]

Candidates are drawn from a seed: animals of 13 nodes and 12 edges that stand apart from each other, or in a crowd where
a neighbour's point often fits as well as one's own. One point in twenty is missing. They come in batches of four, as in
a predictor. *Places* is the room that candidates have for peaks of each node; what is not needed is empty.

Everything runs in one thread and is counted in seconds of the processor, so that a busy machine matters less. Cases
take turns; the first turn does not count. That the results are right is for the tests, which compare them with plain
definitions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

import attrs
import numpy as np
import torch
from attrs import frozen

from sleap_infer import Outputs, open_source, save_labels
from sleap_infer.config.kinds import KINDS
from sleap_infer.config.options import FilterOptions, ReturnOptions, StreamOptions
from sleap_infer.model.settings import ImageSettings, PipelineSettings, StageSettings
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, UNetSpec
from sleap_infer.ops.pafs import LineScoring, score_lines
from sleap_infer.poses.candidates import Candidates
from sleap_infer.poses.geometry import Geometry
from sleap_infer.poses.labels import LabelsBuilder
from sleap_infer.poses.postprocess import filter_instances, postprocess

N_NODES, BATCH_SIZE, SEED = 13, 4, 0
EDGES = tuple(((node - 1) // 2, node) for node in range(1, N_NODES))
SIZE = 20.0
"""Of an animal, in pixels; in a crowd, neighbours are as far apart."""
WHOLE_FRAMES: tuple[str, ...] = ("centroid", "topdown", "multi_class_topdown_combined")
GROUPED: tuple[str, ...] = ("bottomup", "multi_class_bottomup")


@frozen
class Case:
    """Something that is timed.

    Attributes:
        name: what it is.
        count: how many of `unit` one call of `work` deals with.
        unit: what is counted.
        work: to time.
    """

    name: str
    count: int
    unit: str
    work: Callable[[], object]


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", metavar="WORD", help="Cases whose names contain it.")
    parser.add_argument("--note", help="What else the JSON has to say.")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure([case for case in every_case(Path(folder)) if given.only in case.name], given.repeats)
    width = max(len(row["name"]) for row in rows)
    print(f"{'':<{width}}{'median':>11}{'low':>11}{'high':>11}   of {given.repeats}, a second of one core")
    for row in rows:
        rates = "".join(f"{row[name]:>11.0f}" for name in ("median", "low", "high"))
        print(f"{row['name']:<{width}}{rates}   {row['unit']}")
    if given.output:
        facts: dict[str, Any] = {"machine": {"platform": platform.platform(), "cores": os.cpu_count(), "threads": 1}}
        facts["machine"]["python"] = platform.python_version()
        facts["versions"] = {name: version(name) for name in ("sleap-infer", "numpy", "scipy", "torch", "sleap-io")}
        facts |= {"command": shlex.join(["python", *sys.argv])} | ({"note": given.note} if given.note else {})
        given.output.write_text(json.dumps({"version": 1, **facts, "rows": rows}, indent=1) + "\n")


def measure(cases: Sequence[Case], repeats: int) -> list[dict[str, Any]]:
    """How many a second of each case."""
    rates: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(repeats + 1):
        for case in cases:
            start = process_time()
            case.work()
            elapsed = process_time() - start
            if number:
                rates[case.name].append(case.count / elapsed)
    return [{"name": case.name, "unit": case.unit, **spread(rates[case.name])} for case in cases]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": round(float(median), 1), "low": round(float(low), 1), "high": round(float(high), 1)}


def every_case(folder: Path) -> Iterator[Case]:
    """All that is measured."""
    for n_animals, crowded, n_frames in ((2, False, 80), (2, True, 80), (50, False, 8), (50, True, 8)):
        herd = f"{n_animals} animals {'in a crowd' if crowded else 'apart'}"
        for places in (2, 20, 100) if n_animals == 2 else (50, 100):
            scenes = [scene(n_animals, crowded, places, number) for number in range(n_frames)]
            for kind in GROUPED if crowded else (*GROUPED, *WHOLE_FRAMES):
                yield postprocess_case(f"{kind}, {herd}, {places} places", kind, scenes, n_animals)
        if not crowded:
            crops = [crop(number) for number in range(n_animals * n_frames)]
            yield postprocess_case(f"centered_instance, crops of {herd}", "centered_instance", crops, n_animals)
    for places in (2, 20, 100):
        yield lines_case(places)
    found = poses(1024)
    yield from output_cases(found)
    yield from label_cases(found, folder)


def scene(n_animals: int, crowded: bool, places: int, seed: int) -> Candidates:
    """Candidates of one frame for every kind of model that looks at whole frames.

    The score of a connection falls with the distance of its end from where the source's own animal has it.
    """
    dice = np.random.default_rng((SEED, n_animals, crowded, seed))
    grid = int(np.ceil(np.sqrt(n_animals)))
    cells = dice.permutation(grid * grid)[:n_animals]
    spacing = SIZE if crowded else 4 * SIZE
    centres = spacing * (1 + np.stack([cells % grid, cells // grid], axis=1)) + dice.normal(0, 2, (n_animals, 2))
    shape = dice.normal(0, SIZE / 2, (N_NODES, 2))
    points = centres[:, None] + shape + dice.normal(0, 3 if crowded else 1, (n_animals, N_NODES, 2))
    points[dice.random(points.shape[:2]) < 0.05] = np.nan

    order = np.lexsort((points[..., 0], points[..., 1]), axis=0).T
    peaks = np.full((N_NODES, places, 2), np.nan, np.float32)
    peaks[:, :n_animals] = np.take_along_axis(points.swapaxes(0, 1), order[..., None], axis=1)
    is_peak = ~np.isnan(peaks[..., 0])
    classes = np.full((N_NODES, places, n_animals), np.nan, np.float32)
    classes[:, :n_animals] = np.eye(n_animals)[order] + dice.random((N_NODES, n_animals, n_animals))

    sources, ends = (list(nodes) for nodes in zip(*EDGES, strict=True))
    expected = peaks[sources] + (shape[ends] - shape[sources])[:, None]
    apart = np.linalg.norm(expected[:, :, None] - peaks[ends][:, None], axis=-1).reshape(len(EDGES), -1)
    scores = np.exp(-apart / SIZE) - 0.05 * dice.random(apart.shape)

    centroids, is_centroid = np.full((places, 2), np.nan, np.float32), np.arange(places) < n_animals
    centroids[is_centroid] = centres
    return {
        "peaks": peaks,
        "peak_vals": np.where(is_peak, dice.uniform(0.3, 1, is_peak.shape), 0).astype(np.float32),
        "peak_mask": is_peak,
        "line_scores": scores.astype(np.float32),
        "candidate_mask": ~np.isnan(scores),
        "class_probs": np.where(is_peak[..., None], classes, np.float32(np.nan)),
        "centroids": centroids,
        "centroid_vals": np.where(is_centroid, dice.random(places), 0).astype(np.float32),
        "instance_valid": is_centroid,
    }


def crop(seed: int) -> Candidates:
    """Candidates of one crop."""
    dice = np.random.default_rng((SEED, seed))
    return {"peaks": dice.random((N_NODES, 2), np.float32), "peak_vals": dice.random(N_NODES, np.float32)}


def postprocess_case(name: str, kind: str, scenes: Sequence[Candidates], n_animals: int) -> Case:
    """Candidates to outputs, a batch at a time."""
    per_frame = n_animals if kind == "centered_instance" else 1
    at_once = BATCH_SIZE * per_frame
    batches = [stack(scenes[first : first + at_once], kind) for first in range(0, len(scenes), at_once)]
    origin = np.zeros((at_once if kind == "centered_instance" else 1, 2), np.float32)
    geometry, spec, settings = Geometry((1024, 1024), 0.5, 0.5, origin), model(kind, n_animals), StageSettings(kind)

    def work() -> None:
        for batch in batches:
            postprocess(batch, geometry, spec, settings)

    return Case(name, len(scenes) // per_frame, "frames", work)


def stack(scenes: Sequence[Candidates], kind: str) -> Candidates:
    """Return a batch of candidates of one kind of model; of crops in a graph, per animal and not per node."""
    batch = {name: np.stack([one[name] for one in scenes]) for name in KINDS[kind].arrays}
    if "centroids" in batch and "peaks" in batch:
        batch |= {name: np.ascontiguousarray(batch[name].swapaxes(1, 2)) for name in ("peaks", "peak_vals")}
    if kind == "multi_class_topdown_combined":
        batch["class_probs"] = np.nan_to_num(batch["class_probs"][:, 0])
    return batch


def lines_case(places: int) -> Case:
    """Scores of connections in torch, a batch at a time."""
    scenes = [scene(2, False, places, number) for number in range(BATCH_SIZE)]
    peaks = torch.from_numpy(np.stack([one["peaks"] for one in scenes]))
    fields = torch.rand(BATCH_SIZE, 2 * len(EDGES), 64, 64)
    scoring = LineScoring(EDGES, 4, 10, 0.25, 1.0)
    return Case(
        f"scores of connections, 2 animals apart, {places} places",
        BATCH_SIZE,
        "frames",
        lambda: score_lines(fields, peaks, scoring),
    )


def output_cases(found: Sequence[Outputs]) -> Iterator[Case]:
    """Return the work that is measured on the outputs of each frame."""
    none, two = FilterOptions(), FilterOptions(min_visible_nodes=2, min_instance_score=0.1)
    n_frames = len(found)
    yield Case("n_instances", n_frames, "frames", lambda: [outputs.n_instances for outputs in found])
    yield Case("no filters", n_frames, "frames", lambda: [filter_instances(outputs, none) for outputs in found])
    yield Case("two filters", n_frames, "frames", lambda: [filter_instances(outputs, two) for outputs in found])


def label_cases(found: Sequence[Outputs], folder: Path) -> Iterator[Case]:
    """Convert outputs to labels and write a file."""
    source, path = open_source(np.zeros((1, 8, 8), np.uint8)), folder / "poses.slp"
    n_instances, n_frames = sum(outputs.n_instances for outputs in found), len(found)

    def collect() -> LabelsBuilder:
        builder = make_builder()
        for outputs in found:
            builder.add(outputs)
        return builder

    labels = collect().build(source)
    yield Case("labels: add", n_instances, "instances", collect)
    yield Case("labels: add, build", n_frames, "frames", lambda: collect().build(source))
    yield Case("labels: save", n_frames, "frames", lambda: save_labels(labels, path, overwrite=True))
    everything = "labels: add, build, save"
    yield Case(everything, n_frames, "frames", lambda: save_labels(collect().build(source), path, overwrite=True))


def make_builder() -> LabelsBuilder:
    """Return a builder for poses of a bottom-up model."""
    groups = FilterOptions(), ReturnOptions(), StreamOptions()
    settings = PipelineSettings("bottomup", ImageSettings(), (StageSettings("bottomup"),), *groups)
    return LabelsBuilder(model("bottomup", 2), settings, {})


def poses(n_frames: int) -> list[Outputs]:
    """Frames of two animals."""
    found: list[Outputs] = []
    for first in range(0, n_frames, BATCH_SIZE):
        batch = stack([scene(2, False, 2, number) for number in range(first, first + BATCH_SIZE)], "bottomup")
        found += postprocess(batch, Geometry((1024, 1024)), model("bottomup", 2), StageSettings("bottomup"))
    return [attrs.evolve(outputs, frame_idx=number, video_idx=0) for number, outputs in enumerate(found)]


def model(kind: str, n_classes: int) -> ModelSpec:
    """Facts of a model."""
    nodes = tuple(f"node{number}" for number in range(N_NODES))
    skeleton = SkeletonSpec(nodes, tuple((nodes[source], nodes[end]) for source, end in EDGES))
    classes = tuple(f"class{number}" for number in range(n_classes))
    return ModelSpec(kind, skeleton, UNetSpec(), heads=(), paf_edges=EDGES, classes=classes)


if __name__ == "__main__":
    main()
