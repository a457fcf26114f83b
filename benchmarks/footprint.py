"""How much is installed, and how long it takes from starting a process to the first pose.

    for extra in onnx openvino torch; do
        python -m venv envs/$extra && envs/$extra/bin/pip install -c constraints.txt ".[$extra]"
    done
    python benchmarks/footprint.py --env onnx=envs/onnx/bin/python --env openvino=envs/openvino/bin/python \
        --env torch=envs/torch/bin/python [--rival PYTHON] [--repeats 9] [--output FILE.json]

This script itself runs in an environment with `sleap-infer[export]`. Each environment is named after the extra that it
was made for, which is also the backend that it is timed with.

*Installed* are the files of sleap-infer and of all distributions that it requires, bytecode included, as pip left them;
pip itself is not counted. *Cold start* is a fresh process that opens the package's own top-down pipeline and predicts
the first frame of a video on the CPU: in Python until a pose is printed, and as a command until it has written its
`.slp` and ended. The disk's cache is warm. All take turns.

The rival is an environment with sleap-nn. `--rival-command` is how its command is called where that is not the
`sleap-nn` beside its Python; `--rival-export` is a top-down pipeline of the same models that it exported as ONNX.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import sleap_io as sio
from attrs import frozen
from numpy.typing import NDArray
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sleap_infer
from sleap_infer.poses.compare import compare_poses

ASSETS = Path(sleap_infer.__file__).parent / "assets"
MODELS = [str(ASSETS / "models" / name) for name in ("centroid", "centered_instance")]
VIDEO = str(ASSETS / "videos" / "two_flies.mp4")
PROGRAM = """
import json, sys
from sleap_infer import Predictor
backend, video, *models = sys.argv[1:]
with Predictor.from_model_paths(models, backend=backend, device="cpu") as predictor:
    (found,) = predictor.predict(video, as_labels=False, frames=[0])
    print(json.dumps(found.pred_keypoints.tolist()), flush=True)
"""
STAND_INS = {"opencv-python": "opencv-python-headless"}
"""What counts in place of a required distribution that is not there."""
STAT = "/proc/stat"
SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
AGREES_BELOW = 0.01
"""Largest distance of poses that are the same, in pixels."""


@frozen
class Start:
    """A process that ends with the poses of one frame, printed as its first line or written to a file."""

    name: str
    command: tuple[str, ...]
    written: Path | None = None


def main() -> None:
    """Measure, print tables, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", action="append", default=[], metavar="EXTRA=PYTHON")
    parser.add_argument("--rival", type=Path, metavar="PYTHON")
    parser.add_argument("--rival-command")
    parser.add_argument("--rival-export", type=Path)
    parser.add_argument("--note", help="What else the JSON has to say.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    ours = {name: Path(python).absolute() for name, python in (item.split("=", 1) for item in given.env)}
    environments = {f"sleap-infer[{name}]": python for name, python in ours.items()}
    rival: Path | None = given.rival and given.rival.absolute()
    if rival:
        environments["sleap-nn"] = rival
    sizes = [installed(root, python) for root, python in environments.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = [start for extra, python in ours.items() for start in our_starts(extra, python, folder)]
        if rival and starts:
            command = shlex.split(given.rival_command or str(rival.with_name("sleap-nn")))
            starts += rival_starts(command, given.rival_export, folder)
        before, began = others_work(), perf_counter()
        times = cold_starts(starts, given.repeats, folder) if starts else []
        others = round((others_work() - before) / (perf_counter() - began), 2)
    show(sizes, times)
    if given.output:
        machine: dict[str, Any] = {"platform": platform.platform(), "cores": os.cpu_count()}
        machine |= {"python": platform.python_version()}
        machine |= {"cores_busy_with_other_work": others} if Path(STAT).exists() else {}
        facts = {"machine": machine, "command": shlex.join(["python", *sys.argv])}
        facts |= {"note": given.note} if given.note else {}
        result = {"version": 1, **facts, "installed": sizes, "cold_start": times}
        given.output.write_text(json.dumps(result, indent=1) + "\n")


def installed(root: str, python: Path) -> dict[str, Any]:
    """Return the size of a requirement in an environment: megabytes (millions of bytes) and distributions."""
    scheme = sysconfig.get_preferred_scheme("prefix")
    ask = f"import sysconfig; print(sysconfig.get_path('platlib', {scheme!r}))"
    place = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    found: dict[str, Distribution] = {canonicalize_name(item.name): item for item in distributions(path=[place])}
    names, missing = closure(root, found)
    own = canonicalize_name(Requirement(root).name)
    if '"editable"' in (found[own].read_text("direct_url.json") or ""):
        raise SystemExit(f"{root} is installed with -e in {place}, which has no size. Install it without.")
    sizes = {name: megabytes(found[name]) for name in names}
    without, _ = closure(root, {name: item for name, item in found.items() if name != "sleap-io"})
    largest = sorted(sizes, key=lambda name: -sizes[name])[:12]
    return {
        "requirement": root,
        "version": found[own].version,
        "installed_mb": round(sum(sizes.values()), 1),
        "of_it_bytecode_mb": round(sum(megabytes(found[name], ".pyc") for name in names), 1),
        "of_it_sleap_io_and_what_it_requires_mb": round(sum(sizes[name] for name in closure("sleap-io", found)[0]), 1),
        "of_it_only_for_sleap_io_mb": round(sum(sizes[name] for name in names - without), 1),
        "n_distributions": len(names),
        "largest_mb": {f"{name} {found[name].version}": round(sizes[name], 1) for name in largest},
        "required_but_not_there": sorted(missing),
    }


def closure(root: str, found: Mapping[str, Distribution]) -> tuple[set[str], set[str]]:
    """Return the distributions that a requirement installs, itself included, and the required ones that are missing."""
    waiting, seen, missing = [Requirement(root)], set[tuple[str, str]](), set[str]()
    while waiting:
        wanted = waiting.pop()
        name: str = canonicalize_name(wanted.name)
        if name not in found:
            missing.add(name)
            name = STAND_INS.get(name, name)
        for extra in {"", *wanted.extras} if name in found else ():
            if (name, extra) not in seen:
                seen.add((name, extra))
                required = [Requirement(text) for text in found[name].requires or ()]
                waiting += [item for item in required if not item.marker or item.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}, missing


def megabytes(item: Distribution, suffix: str = "") -> float:
    """Size of a distribution's files in site-packages, or of those with a suffix."""
    files = [file for file in item.files or () if ".." not in file.parts and file.name.endswith(suffix)]
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6


def our_starts(extra: str, python: Path, folder: Path) -> list[Start]:
    """Measure the first pose from Python, and from the command line."""
    models = MODELS
    if extra != "torch":
        place = folder / "exported"
        if not place.exists():
            command = str(Path(sys.executable).with_name("sleap-infer"))
            subprocess.run([command, "export", *MODELS, "-o", str(place), "--no-validate"], check=True, **SILENT)
        models = [str(place)]
    written = folder / f"{extra}.slp"
    options = [word for model in models for word in ("-m", model)]
    options += ["-r", extra, "-d", "cpu", "--frames", "0", "-o", str(written)]
    return [
        Start(f"{extra}: Python", (str(python), "-c", PROGRAM, extra, VIDEO, *models)),
        Start(f"{extra}: command", (str(python.with_name("sleap-infer")), "predict", VIDEO, *options), written),
    ]


def rival_starts(command: Sequence[str], export: Path | None, folder: Path) -> list[Start]:
    """Measure the first pose of sleap-nn's command line, with trained models and with its own exports."""
    pipelines = {"sleap-nn: command": [word for model in MODELS for word in ("-m", model)]}
    if export:
        pipelines["sleap-nn, its ONNX export: command"] = ["-m", str(export.absolute()), "--runtime", "onnx"]
    starts = []
    for number, (name, options) in enumerate(pipelines.items()):
        written = folder / f"rival{number}.slp"
        common = ("predict", "--data_path", VIDEO, "--frames", "0-0", "--device", "cpu", "-o", str(written))
        starts.append(Start(name, (*command, *common, *options), written))
    return starts


def cold_starts(starts: Sequence[Start], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Seconds to the first pose: all in turn, the first round not counted."""
    seconds: dict[str, list[float]] = {start.name: [] for start in starts}
    poses: dict[str, NDArray[np.float32]] = {}
    for number in range(repeats + 1):
        for start in starts:
            elapsed, poses[start.name] = run(start, folder)
            if number:
                seconds[start.name].append(elapsed)
    expected = poses[starts[0].name]
    rows = []
    for start in starts:
        found = compare_poses(poses[start.name], expected)
        same = found.n_matched == found.n_expected and not found.n_false
        apart = float(found.distances.max(initial=0))
        agreement = {"agrees": same and apart < AGREES_BELOW, "largest_distance_px": round(apart, 4)}
        rows.append({"name": start.name, "n": repeats, **spread(np.array(seconds[start.name])), **agreement})
    return rows


def run(start: Start, folder: Path) -> tuple[float, NDArray[np.float32]]:
    """Seconds to the first pose of a fresh process, and the frame's poses."""
    if start.written is not None and start.written.exists():
        start.written.unlink()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with (folder / "stderr").open("w+") as log:
        began = perf_counter()
        with subprocess.Popen(start.command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=clean) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            elapsed = perf_counter() - began
            process.stdout.read()
        if start.written is not None:
            elapsed = perf_counter() - began
        log.seek(0)
        if process.returncode:
            raise SystemExit(f"{start.name} failed: {shlex.join(start.command)}\n{log.read()}")
    if start.written is None:
        return elapsed, np.array(json.loads(line), np.float32)
    (frame,) = sio.load_slp(str(start.written), open_videos=False)
    assert frame.frame_idx == 0
    return elapsed, np.array([pose.numpy() for pose in frame.instances], np.float32)


def others_work() -> float:
    """Seconds of all cores that went to processes other than this one and those it started; 0 where it is not known."""
    if not Path(STAT).exists():
        return 0.0
    user, nice, system, _, _, *rest = map(int, Path(STAT).read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median_s": round(float(median), 3), "low_s": round(float(low), 3), "high_s": round(float(high), 3)}


def show(sizes: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]) -> None:
    """Print both tables."""
    for row in sizes:
        largest = ", ".join(f"{name} {size:.0f}" for name, size in list(row["largest_mb"].items())[:6])
        print(f"{row['requirement']:<22}{row['installed_mb']:>8.0f} MB in {row['n_distributions']} ({largest})")
        if row["required_but_not_there"]:
            print(f"{'':<22}without {', '.join(row['required_but_not_there'])}, which are required but not there")
    for row in times:
        words = "" if row["agrees"] else f", other poses: up to {row['largest_distance_px']:.2f} px apart"
        print(f"{row['name']:<38}{row['median_s']:>6.2f} s ({row['low_s']:.2f} to {row['high_s']:.2f}){words}")


if __name__ == "__main__":
    main()
