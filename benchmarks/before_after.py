"""Compare the speed of this version with that of another commit.

    python benchmarks/before_after.py 10e6704 [--corpus DIR] [--backends torch,onnx] [--turns 5] [--output FILE.json]

The other commit is checked out into a temporary git worktree. Both versions run in turn, in separate processes, with
their own caches. Measured are frames per second of `Predictor.predict` for every kind of model in the package, with
`--corpus` also for the models there, and the seconds of `import sleap_infer` and `sleap-infer --help`. The result of a
row is the median over the turns. Both versions use the packages of this interpreter; with `--python-before` the other
commit runs in another environment. The exit code is 1 if a row became worse by more than `--tolerance`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from attrs import field, frozen

REPOSITORY = Path(__file__).resolve().parents[1]
PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)
CORPUS_PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multiclass_bottomup",),
)
START_UP = {
    "import sleap_infer": ("-c", "import sleap_infer"),
    "sleap-infer --help": ("-m", "sleap_infer", "--help"),
}
PREDICT = """
import json, sys
from pathlib import Path
from time import perf_counter
import sleap_infer
getattr(sleap_infer, "tune_process", lambda: None)()  # earlier versions did this when they opened a model
task = json.loads(sys.argv[1])
assert Path(sleap_infer.__file__).is_relative_to(task["root"]), sleap_infer.__file__
with sleap_infer.Predictor.from_model_paths(task["models"], backend=task["backend"], device="cpu") as predictor:
    frames = range(task["n_frames"]) if task["n_frames"] else None
    predictor.predict(task["video"], as_labels=False, frames=frames)
    n_frames, start = 0, perf_counter()
    while perf_counter() - start < task["seconds"]:
        n_frames += len(predictor.predict(task["video"], as_labels=False, frames=frames))
    print(json.dumps(n_frames / (perf_counter() - start)))
"""
"""Program of a child process; it uses only what both versions have."""


@frozen
class Version:
    """One of the two versions.

    Attributes:
        name: `before` or `after`.
        root: its working tree.
        python: interpreter.
        cache: its cache directory.
    """

    name: str
    root: Path
    python: str
    cache: Path

    def run(self, arguments: Sequence[str]) -> tuple[str, float]:
        """Run its interpreter; return what it prints, and the seconds that it took."""
        variables = {"PYTHONPATH": str(self.root), "SLEAP_INFER_CACHE": str(self.cache)}
        start = perf_counter()
        answer = subprocess.run(
            [self.python, "-P", *arguments], env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
        )
        return answer.stdout, perf_counter() - start


@frozen
class Row:
    """One measurement.

    Attributes:
        name: what is measured.
        unit: `frames/s` or `s`.
        arguments: of the interpreter; for frames per second without the working tree.
        values: by version, one per turn.
    """

    name: str
    unit: str
    arguments: tuple[str, ...] | dict[str, Any]
    values: dict[str, list[float]] = field(factory=lambda: {"before": [], "after": []})

    def measure(self, version: Version) -> None:
        """Add the value of one turn."""
        if isinstance(self.arguments, dict):
            task = self.arguments | {"root": str(version.root)}
            text, _ = version.run(("-c", PREDICT, json.dumps(task)))
            self.values[version.name].append(json.loads(text.splitlines()[-1]))
        else:
            self.values[version.name].append(version.run(self.arguments)[1])

    @property
    def slowdown(self) -> float:
        """Relative loss of speed, from the medians; negative if the row became faster."""
        before, after = (median(self.values[name]) for name in ("before", "after"))
        return 1 - after / before if self.unit == "frames/s" else after / before - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        medians = {name: median(values) for name, values in self.values.items()}
        return {"name": self.name, "unit": self.unit, **medians, "slowdown": self.slowdown, "values": self.values}


def rows_of(given: argparse.Namespace) -> Iterator[Row]:
    """Yield all rows that are asked for, without values."""
    for name, arguments in START_UP.items():
        yield Row(name, "s", arguments)
    assets = REPOSITORY / "sleap_infer" / "assets"
    found = []
    for names in PIPELINES:
        video = "one_fly.mp4" if names == ("single_instance",) else "two_flies.mp4"
        found.append(([assets / "models" / name for name in names], assets / "videos" / video))
    if given.corpus is not None:
        models, video_path = given.corpus / "models", given.corpus / "videos" / "centered_pair_small.mp4"
        found += [([models / f"minimal_instance_{name}" for name in names], video_path) for names in CORPUS_PIPELINES]
    for paths, source in found[: given.pipelines]:
        for backend in given.backends.split(","):
            task = {
                "models": [str(path.resolve()) for path in paths],
                "video": str(source.resolve()),
                "backend": backend,
                "seconds": given.seconds,
                "n_frames": given.frames if source.parent != assets / "videos" else None,
            }
            yield Row(f"{backend}: {' + '.join(path.name for path in paths)} on {source.name}", "frames/s", task)


@contextmanager
def versions(given: argparse.Namespace) -> Iterator[tuple[Version, Version]]:
    """Check out the other commit, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="before_after-") as name:
        folder = Path(name)
        git = ("git", "-C", str(REPOSITORY), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder / "tree"), given.commit], check=True)
        try:
            yield (
                Version("before", folder / "tree", given.python_before, folder / "cache-before"),
                Version("after", REPOSITORY, sys.executable, folder / "cache-after"),
            )
        finally:
            subprocess.run([*git, "remove", "--force", str(folder / "tree")], check=True)


def commit_of(root: Path) -> str:
    """Return the commit of a working tree."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure in turns, print a table, and write JSON if asked to."""
    given = read_arguments()
    rows = list(rows_of(given))
    with versions(given) as pair:
        for version in pair:
            for row in rows[: len(START_UP)]:
                version.run(row.arguments)  # writes the byte code
        for turn in range(given.turns):
            print(f"turn {turn + 1} of {given.turns}", file=sys.stderr, flush=True)
            for row in rows:
                for version in pair if turn % 2 == 0 else reversed(pair):
                    row.measure(version)
        commits = {version.name: commit_of(version.root) for version in pair}
    print(f"{'':<72}{'before':>10}{'after':>10}")
    for row in rows:
        before, after = (median(row.values[name]) for name in ("before", "after"))
        mark = "  slower" if row.slowdown > given.tolerance else ""
        print(f"{row.name:<72}{before:>10.3g}{after:>10.3g} {row.unit:<9}{-row.slowdown:>+6.1%}{mark}")
    if given.output is not None:
        report = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            **commits,
            "turns": given.turns,
            "cores": len(os.sched_getaffinity(0)),
            "rows": [row.as_dict() for row in rows],
        }
        given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(int(any(row.slowdown > given.tolerance for row in rows)))


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the other commit")
    parser.add_argument("--corpus", type=Path, help="a folder with models/ and videos/")
    parser.add_argument("--backends", default="torch,onnx,openvino")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="minimum duration of a measurement")
    parser.add_argument("--frames", type=int, default=300, help="frames of the corpus' video, from the first")
    parser.add_argument("--pipelines", type=int, default=None, help="only the first ones")
    parser.add_argument("--tolerance", type=float, default=0.05, help="relative loss that is an error")
    parser.add_argument("--python-before", default=sys.executable, help="interpreter for the other commit")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
