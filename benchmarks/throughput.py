"""How fast a video becomes a `.slp` file, against decoding alone and the networks alone, for every kind of model.

    python benchmarks/throughput.py [--corpus DIR] [--production] [--backends NAMES] [--output FILE.json]
    python benchmarks/throughput.py --models MODEL [MODEL] --video VIDEO

Without models: the package's own on its own video of two flies, or with `--corpus` the real ones there on the real
video, and of its own the one kind that is not there. With `--production` also models of the size that labs train, with
random weights, of the kinds that are small otherwise. A video that is short is repeated in one file. Each row is a
process of its own, in which each part is run in turn with the others; the first round warms up and does not count.
Batches are of the size that was fastest in a round before (`--backend auto` tries 1, 4 and 8). The two shares are of
the slower of decoding and network; and of both, where the network keeps all cores busy and decoding takes its time from
it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from attrs import frozen
from journal import into_journal
from long_video import of_length

import sleap_infer
from sleap_infer import Predictor, open_source
from sleap_infer.frames import FrameBatch
from sleap_infer.jobs.write.results import collect, write
from sleap_infer.predictors.auto.cache import machine_facts
from sleap_infer.predictors.pipeline import run_stages
from sleap_infer.predictors.steps import Work
from sleap_infer.system.machine import available_cores

ASSETS = Path(sleap_infer.__file__).parent / "assets"
OWN = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)
REAL = (("single_instance",), ("centroid",), ("centroid", "centered_instance"), ("bottomup",), ("multiclass_bottomup",))
PACKAGES = ("torch", "onnxruntime", "MNN", "openvino", "sleap-io", "av", "numpy")
PRODUCTION = (
    (("single_instance",), 192, 1),
    (("multi_class_bottomup",), 256, 2),
    (("centroid", "multi_class_topdown"), 256, 2),
)
"""Kinds of large models; how many pixels high and wide their video is, and how many animals are in it."""

SECONDS = 4.0
MOST_FRAMES = 3000
BATCH_SIZES = "4,16"


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    given = read_arguments()
    rows = []
    print(
        f"{'models':<66}{'backend':<15}{'decode':>9}{'network':>9}{'to file':>9}  frames/s, median of {given.repeats}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for models, video in [*pipelines(given), *production(given, Path(folder))]:
            for backend in given.backends.split(","):
                row = measure_apart(models, video, backend, given)
                rows.append(row)
                rates = "".join(f"{row[name]['median']:>9.1f}" for name in ("decode", "network", "to_file"))
                shares = f"{row['share_of_bound']:.0%}, {row['share_of_shared']:.0%}"
                print(f"{row['models']:<66}{backend:<15}{rates}  {shares}; {row['profile']}", flush=True)
    if given.output:
        write_report(given.output, "throughput", 2, rows)


def write_report(path: Path, name: str, format_version: int, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, with the command, the machine and the versions that they are of."""
    report = {
        "schema": f"sleap_infer.{name}",
        "version": format_version,
        "command": " ".join(["python", *sys.argv]),
        "machine": machine_facts(),
        "versions": {package: installed(package) for package in PACKAGES},
        "rows": rows,
    }
    path.write_text(json.dumps(report, indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path)
    parser.add_argument("--video", type=Path, default=ASSETS / "videos" / "two_flies.mp4")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--production", action="store_true")
    parser.add_argument("--backends", default="torch,onnx,mnn,openvino")
    parser.add_argument("--batch-sizes", type=lambda text: [int(size) for size in text.split(",")], default=BATCH_SIZES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def pipelines(given: argparse.Namespace) -> list[tuple[list[Path], Path]]:
    """Models, and the video that they are run on."""
    if given.models:
        return [(given.models, given.video)]
    if given.corpus:
        video = given.corpus / "videos" / "centered_pair_small.mp4"
        real = [[given.corpus / "models" / f"minimal_instance_{name}" for name in names] for names in REAL]
        own = [ASSETS / "models" / name for name in OWN[-1]]
        return [*((models, video) for models in real), (own, given.video)]
    return [([ASSETS / "models" / name for name in names], given.video) for names in OWN]


def production(given: argparse.Namespace, folder: Path) -> Iterator[tuple[list[Path], Path]]:
    """Large models, made in a folder, and videos."""
    if given.production:
        from production_models import write_model, write_video  # torch, which takes its time

        for kinds, size, n_animals in PRODUCTION:
            place = folder / f"{kinds[-1]}_production"
            models = [write_model(place / f"{kind}_production", kind, markers=True, filters_rate=2.0) for kind in kinds]
            yield models, write_video(place / "video.mp4", (size, size), 200, n_animals)


def measure_apart(models: Sequence[Path], video: Path, backend: str, given: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process that has run nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, models, video, backend, given).result()


def measure(models: Sequence[Path], video: Path, backend: str, given: argparse.Namespace) -> dict[str, Any]:
    """Frames per second of each part, run in turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Predictor.from_model_paths(models, device="cpu", backend=backend) as predictor,
    ):
        n_frames = frames_for(predictor, video)
        video = of_length(video, n_frames, Path(folder))

        def parts(batch_size: int) -> Parts:
            predictor.batch_size = batch_size
            return Parts.of(predictor, video, n_frames)

        tried = {}
        for batch_size in given.batch_sizes:
            made = parts(batch_size)
            tried[batch_size] = in_turn({"to_file": made.to_file}, made.n_frames, repeats=1)["to_file"][0]
        made = parts(max(tried, key=lambda size: tried[size]))
        named = {"decode": made.decode, "network": made.network, "to_file": made.to_file}
        rates = in_turn(named, made.n_frames, given.repeats)
        assert predictor.profile is not None
        bound = np.minimum(rates["decode"], rates["network"])
        taken = processor_seconds(made.decode, given.repeats) / made.n_frames / available_cores()
        shared = 1 / (1 / rates["network"] + taken)
        return {
            "models": " + ".join(path.name for path in models),
            "kind": predictor.settings.kind,
            "backend": backend,
            "precision": predictor.runners[0].precision,
            "batch_size": predictor.batch_size,
            "n_frames": made.n_frames,
            **{name: spread(values) for name, values in rates.items()},
            "share_of_bound": float(np.median(rates["to_file"] / bound)),
            "on_shared_cores": spread(shared),
            "share_of_shared": float(np.median(rates["to_file"] / shared)),
            "profile": predictor.profile.line(),
        }


@frozen
class Parts:
    """What is timed, of the first frames of a video."""

    predictor: Predictor
    video: Path
    wanted: range
    batches: list[FrameBatch]

    @classmethod
    def of(cls, predictor: Predictor, video: Path, n_frames: int) -> Parts:
        """Parts of a run, with the frames in memory, once."""
        wanted = range(min(n_frames, video_length(video)))
        with open_source(video, wanted) as opened:
            return cls(predictor, video, wanted, list(opened.batches(predictor.batch_size)))

    @property
    def n_frames(self) -> int:
        """How many."""
        return len(self.wanted)

    def decode(self) -> None:
        """Frames alone."""
        with open_source(self.video, self.wanted) as source:
            for _ in source.batches(self.predictor.batch_size):
                pass

    def network(self) -> None:
        """From frames in memory to candidates."""

        def wait(work: Work) -> None:
            work.wait()

        works = (self.predictor._preprocess(batch) for batch in self.batches)
        with run_stages(works, [*self.predictor._stages()[1:-1], wait], self.predictor._queue_size()) as results:
            for _ in results:
                pass

    def to_file(self) -> None:
        """All of it."""
        with tempfile.TemporaryDirectory() as folder, open_source(self.video, self.wanted) as source:
            journal = into_journal(self.predictor, source, Path(folder))
            write(collect(journal, source), {"slp": Path(folder) / "poses.slp"}, {})


def frames_for(predictor: Predictor, video: Path) -> int:
    """As many frames as take some seconds, at least 48."""
    predictor.predict(video, frames=range(8))
    begin = perf_counter()
    predictor.predict(video, frames=range(32))
    return int(np.clip(SECONDS * 32 / (perf_counter() - begin), 48, MOST_FRAMES)) // 16 * 16


def video_length(video: Path) -> int:
    """Return the number of frames of a video."""
    with open_source(video) as source:
        return source.n_frames or 0


def in_turn(parts: dict[str, Callable[[], None]], n_frames: int, repeats: int) -> dict[str, np.ndarray]:
    """Frames per second of each part in each round but the first."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats + 1):
        for name, part in parts.items():
            start = perf_counter()
            part()
            seconds[name].append(perf_counter() - start)
    return {name: n_frames / np.array(values[1:]) for name, values in seconds.items()}


def processor_seconds(part: Callable[[], None], repeats: int) -> float:
    """Time of all cores together that a part takes, median."""
    taken = []
    for _ in range(repeats):
        start = process_time()
        part()
        taken.append(process_time() - start)
    return float(np.median(taken))


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": round(float(median), 2), "low": round(float(low), 2), "high": round(float(high), 2)}


def installed(package: str) -> str | None:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
