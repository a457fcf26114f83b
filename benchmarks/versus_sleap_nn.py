"""sleap-infer and sleap-nn side by side, both as commands: same models, same video, same machine, in turn.

    python benchmarks/versus_sleap_nn.py --sleap-nn-python PYTHON [--output FILE.json] [--cases NAME ...]
    python benchmarks/versus_sleap_nn.py --sleap-nn-python PYTHON --video VIDEO MODEL [MODEL]

PYTHON is that of an environment that has sleap-nn; nothing is installed. Without models: real ones from the corpus
(`$SLEAP_INFER_CORPUS`), and random ones of the size that labs train (`production_models.py`).

Each turn starts every program twice, from nothing to a finished file: for one frame, and for all. The difference gives
frames per second, one frame the time to the first pose. sleap-nn runs its `predict`, which is faster than its `track`,
in the batch size that is fastest of its default and a few others, which are tried once each; sleap-infer runs in its
default. Both may use all cores. What is made once is timed apart: the export to an empty cache, and those of bf16 and
int8, by frames that are not judged. Rows whose poses are not those of sleap-nn get no ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, strftime
from typing import Any

import cv2
import numpy as np
from attrs import asdict, evolve, field, frozen
from footprint import others_work
from side_by_side import Poses, Program, ProgramError, Turn, distances, figures, ratios, run, start, take_turns

from sleap_infer import open_source
from sleap_infer.doctor.machine import Machine
from sleap_infer.model import expand_model_path, read_spec
from sleap_infer.runners.graph.openvino import computes_lower

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
FP32 = (("mnn", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"))
EVERY = (("torch", "fp32"), *FP32, ("openvino", "fp16"), ("openvino", "bf16"), ("onnx", "int8"), ("openvino", "int8"))
LARGE_WAYS = (("mnn", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "int8"))
GOAL_CASE = "bottom-up"
GOALS = {"fp32": 4.5, "fp16": 5.0, "bf16": 5.0, "int8": 8.0}
"""Times as many frames per second as sleap-nn, of the case that goals are set for."""

SHARE_GOALS = {"peak_memory": 0.5, "first_pose": 1 / 3}
"""At most such a share of sleap-nn's."""

THRESHOLD = "0.2"
HEADER = (
    f"{'':<41}{'frames/s':>9} ours/theirs  ratio {'all frames, s':>16} {'first pose, s':>17} {'peak MB':>16}   poses"
)
STUB = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
"""Declares what torchvision's Python half expects, where the rest of it does not fit the torch that is there."""

PROBE = """
import json, sys
from importlib.metadata import PackageNotFoundError, entry_points, version
(command,) = [item.value for item in entry_points(group="console_scripts") if item.name == "sleap-nn"]
fits = True
try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    fits = False
versions = {"python": sys.version.split()[0]}
for name in ("sleap-nn", "torch", "torchvision", "sleap-io", "numpy"):
    try:
        versions[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"command": command, "fits": fits, "versions": versions}))
"""


@frozen
class Case:
    """Models and a video that both programs run on.

    Attributes:
        name: as in the table.
        models: directories of one pipeline.
        video: to predict.
        n_frames: of it, from the first.
        unseen: frames of it to export bf16 and int8 by, none of the first `n_frames`.
        ways: backends and precisions of sleap-infer.
        batch_sizes: to try with sleap-nn, besides its default.
        export_options: more options of `sleap-infer export` for bf16 and int8.
    """

    name: str
    models: tuple[Path, ...]
    video: Path
    n_frames: int
    unseen: Sequence[int] = ()
    ways: Sequence[tuple[str, str]] = FP32
    batch_sizes: Sequence[int] = (1, 8)
    export_options: tuple[str, ...] = ()


CORPUS_CASES = {
    "single instance": Case("", (Path("minimal_instance_single_instance"),), Path(), 193, batch_sizes=(8,)),
    "top-down": Case(
        "",
        (Path("minimal_instance_centroid"), Path("minimal_instance_centered_instance")),
        Path(),
        97,
        batch_sizes=(8,),
    ),
    GOAL_CASE: Case("", (Path("minimal_instance_bottomup"),), Path(), 193, ways=EVERY),
    "multi-class bottom-up": Case("", (Path("minimal_instance_multiclass_bottomup"),), Path(), 97, batch_sizes=(8,)),
}
CORPUS_UNSEEN = range(193, 1100)
"""Behind all that is judged. The corpus' models find an animal in every third of these frames."""


@frozen
class Large:
    """A case with random models; see `production_models`."""

    kinds: tuple[str, ...]
    size: tuple[int, int]
    n_frames: int
    n_animals: int = 3
    filters_rate: float = 1.5
    batch_sizes: tuple[int, ...] = (1,)


LARGE_CASES = {
    "192x192 single instance": Large(("single_instance",), (192, 192), 49, 1, 2.0, (1, 8)),
    "1024x1024 centroid": Large(("centroid",), (1024, 1024), 9),
    "1024x1024 top-down": Large(("centroid", "centered_instance"), (1024, 1024), 9),
    "1024x1280 bottom-up": Large(("bottomup",), (1024, 1280), 9),
}
EXPORTED = ("bf16", "int8")
"""Precisions whose weights are rounded by real frames."""

N_UNSEEN = 400
"""Frames that they are exported by, about."""

N_UNSEEN_LARGE = 4
N_CHECKED = 128


@frozen
class Rival:
    """sleap-nn.

    Attributes:
        words: how its command is called.
        versions: of it and what it stands on.
    """

    words: tuple[str, ...]
    versions: Mapping[str, str] = field(factory=dict)

    def program(self, case: Case, batch_size: int | None = None) -> Program:
        """Its `predict` on a case."""
        options = ["-d", "cpu", "--peak_threshold", THRESHOLD]
        options += [word for model in case.models for word in ("-m", str(model))]
        options += ["-b", str(batch_size)] if batch_size else []
        words = (*self.words, "predict", "-i", str(case.video), *options)
        return Program("sleap-nn", lambda n, output: [*words, "--frames", f"0-{n - 1}", "-o", str(output)])


@frozen
class Way:
    """One way of sleap-infer to run a case: the program, or why there is none, and what was made once for it."""

    backend: str
    precision: str
    program: Program | None = None
    reason: str = ""
    made_once: Mapping[str, Any] = field(factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON if asked to."""
    names = [*CORPUS_CASES, *LARGE_CASES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--sleap-nn-python", type=Path, metavar="PYTHON")
    parser.add_argument("--sleap-nn-command", help="How sleap-nn is called instead, e.g. 'conda run -n nn sleap-nn'.")
    parser.add_argument("--video", type=Path, help="For models that are given.")
    parser.add_argument("--corpus", type=Path, default=Path(os.environ.get("SLEAP_INFER_CORPUS", CORPUS)))
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--ways", nargs="+", type=way, metavar="BACKEND:PRECISION", help="Of sleap-infer: onnx:fp32.")
    parser.add_argument("--frames", type=int, help="Instead of what each case has by itself.")
    parser.add_argument("--batch-sizes", nargs="*", type=int, help="To try with sleap-nn besides its default.")
    parser.add_argument(
        "--export-options", metavar="OPTIONS", help="Options of `sleap-infer export` for bf16 and int8, as one word."
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", help="What else the JSON has to say.")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--add", action="store_true", help="Keep the other cases that --output has already.")
    given = parser.parse_args(arguments)
    if bool(given.models) != bool(given.video):
        parser.error("models and --video go together")
    rival = find_rival(parser, given.sleap_nn_python, given.sleap_nn_command)
    print(HEADER, flush=True)
    earlier = read_earlier(given.output, our_versions(), rival.versions) if given.add and given.output else {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for case in find_cases(given, Path(name)):
            rows += measure(case, rival, given.repeats, Path(name))
            if given.output:
                write_json(given.output, rows, rival.versions, given.note, earlier)
    show_goals(rows)


def read_earlier(output: Path, ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a results file to which rows are added; empty if there is none.

    Raises:
        SystemExit: it was made with other versions.
    """
    if not output.exists():
        return {}
    earlier: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if earlier["versions"] != {"sleap_infer": dict(ours), "sleap_nn": dict(theirs)}:
        raise SystemExit(f"{output} was made with other versions: {earlier['versions']}. Measure all of it again.")
    return earlier


def write_json(
    output: Path,
    rows: Sequence[Mapping[str, Any]],
    theirs: Mapping[str, str],
    note: str | None,
    earlier: Mapping[str, Any],
) -> None:
    """Write what is known so far, after the rows of an earlier file whose cases were not measured now."""
    measured = {row["case"] for row in rows}
    commands = [earlier["command"]] if earlier else []
    text = {
        "schema": "sleap_infer.versus",
        "version": 1,
        "machine": asdict(Machine.read({})),
        "versions": {"sleap_infer": our_versions(), "sleap_nn": theirs},
        "command": " && ".join([*commands, shlex.join(["python", *sys.argv])]),
        "note": note or earlier.get("note"),
        "rows": [*(row for row in earlier.get("rows", ()) if row["case"] not in measured), *rows],
    }
    output.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


def way(text: str) -> tuple[str, str]:
    """Return a backend and a precision as arguments of the command line.

    >>> way("onnx:int8")
    ('onnx', 'int8')
    """
    backend, colon, precision = text.partition(":")
    if not (backend and colon and precision in GOALS):
        raise argparse.ArgumentTypeError(f"{text!r} is not BACKEND:PRECISION with a precision of {', '.join(GOALS)}")
    return backend, precision


def find_rival(parser: argparse.ArgumentParser, python: Path | None, command: str | None) -> Rival:
    """How sleap-nn is started: as its console script does it, after the stub where torchvision does not fit torch."""
    if command:
        return Rival(tuple(shlex.split(command)))
    if python is None:
        parser.error("give --sleap-nn-python, the Python of an environment that has sleap-nn (or --sleap-nn-command)")
    found = subprocess.run([python.absolute(), "-c", PROBE], capture_output=True, text=True)
    if found.returncode:
        parser.error(f"{python} cannot run sleap-nn: {found.stderr.strip().splitlines()[-1]}")
    facts = json.loads(found.stdout.splitlines()[-1])
    module, _, function = facts["command"].partition(":")
    text = f"import sys\nfrom {module} import {function}\nsys.argv[0] = 'sleap-nn'\nsys.exit({function}())\n"
    return Rival((str(python.absolute()), "-c", text if facts["fits"] else STUB + text), facts["versions"])


def find_cases(given: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Yield the requested cases, each made when its turn comes."""
    wanted: dict[str, Any] = {"ways": given.ways} if given.ways else {}
    wanted |= {} if given.batch_sizes is None else {"batch_sizes": given.batch_sizes}
    wanted |= {"n_frames": given.frames} if given.frames else {}
    wanted |= {"export_options": tuple(shlex.split(given.export_options))} if given.export_options else {}
    if given.models:
        yield own_case(given.models, given.video, wanted)
        return
    videos = sorted((given.corpus / "videos").glob("*.mp4"))
    for name in given.cases:
        if name in LARGE_CASES:
            yield large_case(name, folder, wanted)
        elif videos:
            models = tuple(given.corpus / "models" / part for part in CORPUS_CASES[name].models)
            case = evolve(CORPUS_CASES[name], name=name, models=models, video=videos[0], unseen=CORPUS_UNSEEN)
            yield evolve(case, **wanted)
        else:
            print(f"{name}: NO CORPUS at {given.corpus}: set SLEAP_INFER_CORPUS", flush=True)


def own_case(models: Sequence[Path], video: Path, wanted: Mapping[str, Any]) -> Case:
    """Return a case of a user's own models and video."""
    case = Case(models[-1].name, tuple(model.absolute() for model in models), video.absolute(), 97)
    case = evolve(case, **wanted)
    with open_source(video) as source:
        rest = range(case.n_frames, source.n_frames or 0)
    return evolve(case, unseen=rest[:: max(1, len(rest) // N_UNSEEN)])


def large_case(name: str, folder: Path, wanted: Mapping[str, Any]) -> Case:
    """Return a case of random models, written into a folder."""
    from production_models import write_model, write_video  # torch, which takes its time

    large, place = LARGE_CASES[name], folder / name.replace(" ", "_")
    models = [
        write_model(place / kind, kind, markers=True, filters_rate=large.filters_rate).absolute()
        for kind in large.kinds
    ]
    video, export = place / "video.mp4", ("--no-validate",)  # poses are judged here
    case = Case(name, tuple(models), video, large.n_frames, (), LARGE_WAYS, large.batch_sizes, export)
    case = evolve(case, **wanted)
    n_written = case.n_frames + N_UNSEEN_LARGE
    write_video(case.video, large.size, n_written, large.n_animals)
    return evolve(case, unseen=range(case.n_frames, n_written))


def measure(case: Case, rival: Rival, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of one case: sleap-nn against every way of sleap-infer, in turn."""
    before, began = others_work(), perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        try:
            say(f"{case.name}: sleap-nn, batch sizes")
            theirs, tried = fastest(rival, case, work)
            ways = [prepare(case, *each, work) for each in case.ways]
            say(f"{case.name}: {repeats} turns")
            programs = [theirs, *(each.program for each in ways if each.program)]
            turns, poses = take_turns(programs, case.n_frames, repeats, work)
            rows = [describe(case, each, theirs, turns, poses) for each in ways]
        except ProgramError as error:
            rows, tried = [{**facts_of(case), "verdict": "failed", "reason": str(error)}], {}
    elapsed = perf_counter() - began
    busy = round((others_work() - before) / elapsed, 2)
    for row in rows:
        row |= {"sleap_nn_batch_sizes": tried, "case_took_s": round(elapsed), "cores_busy_with_other_work": busy}
        print(line(row), flush=True)
    return rows


def fastest(rival: Rival, case: Case, folder: Path) -> tuple[Program, dict[str, Any]]:
    """sleap-nn in the batch size that is fastest, and what each took: its default and those of the case, once each."""
    run(rival.program(case), 1, folder)  # brings it from the disk
    sizes = (None, *case.batch_sizes)
    tried = {size: run(rival.program(case, size), case.n_frames, folder)[0] for size in sizes}
    best = min(tried, key=lambda size: tried[size].seconds)
    named = {str(size or "default"): {**asdict(found), "chosen": size == best} for size, found in tried.items()}
    return rival.program(case, best), named


def prepare(case: Case, backend: str, precision: str, folder: Path) -> Way:
    """Make what a way needs once, time it, and see that it works."""
    say(f"{case.name}: {backend} {precision}")
    if precision in ("fp16", "bf16") and not computes_lower(precision):
        return Way(backend, precision, reason=f"this processor has no arithmetic in {precision}")
    models, cache = case.models, folder / "cache"
    fresh = backend != "torch" and precision not in EXPORTED and not (cache.exists() and any(cache.iterdir()))
    made_once: dict[str, Any] = {}
    options = ["-r", backend, "-d", "cpu", "--peak-threshold", THRESHOLD, "--overwrite"]
    try:
        if precision in EXPORTED:
            models = (folder / precision,)
            made_once = export_lower(case, precision, models[0], folder)
        else:
            options += ["-p", precision]
        options += [word for model in models for word in ("-m", str(model))]
        words = (sys.executable, "-m", "sleap_infer", "predict", str(case.video), *options)
        program = Program(
            f"{backend} {precision}",
            lambda n, output: [*words, "--frames", f"0-{n - 1}", "-o", str(output)],
            {"SLEAP_INFER_CACHE": str(cache)},
        )
        first, _ = run(program, 1, folder)
    except ProgramError as error:
        return Way(backend, precision, reason=str(error))
    if fresh:
        made_once = {"first_pose_with_empty_cache_s": round(first.seconds, 2)}
    return Way(backend, precision, program, made_once=made_once)


def export_lower(case: Case, precision: str, place: Path, folder: Path) -> dict[str, Any]:
    """Export a case, once, by frames that are not judged: how long it took, and what the check said.

    Raises:
        ProgramError: there are no such frames, or the export failed.
    """
    facts = place.with_suffix(".json")
    if not facts.exists():
        if not case.unseen:
            raise ProgramError(f"{case.video} has no frames left to calibrate on. Take fewer --frames.")
        frames = folder / "unseen"
        frames.mkdir(exist_ok=True)
        with open_source(case.video, case.unseen) as source:
            images = [image for batch in source.batches(8) for image in batch.images]
        for number, image in enumerate(images):
            cv2.imwrite(str(frames / f"{number:05}.png"), np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1]))
        words = [sys.executable, "-m", "sleap_infer", "export", *map(str, case.models), "-o", str(place)]
        words += ["--precision", precision, "--calibration", str(frames), "--frames", str(frames), "--overwrite"]
        words += ["--n-frames", str(N_CHECKED), *case.export_options]
        took = start(words, {}, folder, codes=(0, 1) if "--force" in words else (0,))
        said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        check = [each.strip() for each in said if each.strip().startswith("check ")]
        specs = [read_spec(path).exported for path in expand_model_path(place)]
        kept = [list(spec.kept) for spec in specs if spec]
        made = [spec.precision for spec in specs if spec]
        found = {"export_s": round(took.seconds, 1), "said": check, "made_in": made, "kept_in_32_bits": kept}
        facts.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(facts.read_text(encoding="utf-8")))


def describe(
    case: Case, way: Way, theirs: Program, turns: Mapping[str, Sequence[Turn]], poses: Mapping[str, Poses]
) -> dict[str, Any]:
    """One row: figures of both, how far their poses are apart, and, where they agree, the ratios and the goals."""
    row = {**facts_of(case), "backend": way.backend, "precision": way.precision, "made_once": way.made_once}
    if way.program is None:
        return {**row, "verdict": "not run", "reason": way.reason}
    ours, rivals = turns[way.program.name], turns[theirs.name]
    apart = distances(poses[way.program.name], poses[theirs.name])
    verdict = apart.verdict(way.precision)
    row |= {"verdict": verdict, "poses": asdict(apart)}
    row |= {"sleap_infer": figures(ours, case.n_frames), "sleap_nn": figures(rivals, case.n_frames)}
    row["ratios"] = None if verdict == "differs" else ratios(ours, rivals, case.n_frames)
    if case.name == GOAL_CASE and row["ratios"]:
        row["goals"] = against_goals(way.precision, row["ratios"])
    return row


def against_goals(precision: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return goal, figure, and whether the goal is met; rows without a figure are left out."""
    limits = {"frames_per_second": ("at_least", GOALS[precision])}
    limits |= {name: ("at_most", round(share, 3)) for name, share in SHARE_GOALS.items()}
    goals = {}
    for name, (side, limit) in limits.items():
        if found[name] is not None:
            value = found[name]["median"]
            reached = value >= limit if side == "at_least" else value <= limit
            goals[name] = {side: limit, "found": value, "reached": reached}
    return goals


def facts_of(case: Case) -> dict[str, Any]:
    """Return a case as plain data for JSON."""
    return {
        "case": case.name,
        "models": [model.name for model in case.models],
        "video": case.video.name,
        "n_frames": case.n_frames,
    }


def our_versions() -> dict[str, str]:
    """Of sleap-infer and what it stands on."""
    return {
        name: version(name) for name in ("sleap-infer", "torch", "onnxruntime", "MNN", "openvino", "sleap-io", "numpy")
    }


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    start_of = f"{row['case']:<25}{row.get('backend', ''):<9} {row.get('precision', ''):<5}"
    if "sleap_infer" not in row:
        return f"{start_of}{row['verdict']}: {row['reason']}"
    ours, theirs, apart, found = row["sleap_infer"], row["sleap_nn"], row["poses"], row["ratios"]

    def both(name: str, digits: int) -> str:
        return f"{median(ours[name], digits):>8} / {median(theirs[name], digits):<7}"

    speed = f"{median(found and found['frames_per_second'], 2):>5}x"
    once = "".join(f", {name} {value}" for name, value in row["made_once"].items() if name.endswith("_s"))
    once += ", IN 32 BITS: int8 keeps no budget" if set(row["made_once"].get("made_in", ())) == {"fp32"} else ""
    return (
        f"{start_of}{both('frames_per_second', 1)}{speed} {both('whole_s', 1)}{both('first_pose_s', 1)}"
        f"{both('peak_mb', 0)} {row['verdict']}: {apart_in_words(apart)}{once}"
    )


def median(found: Mapping[str, float] | None, digits: int) -> str:
    """Of a figure, for the table."""
    return "-" if found is None else f"{found['median']:.{digits}f}"


def say(text: str) -> None:
    """Tell those who wait how far it is, beside the table."""
    print(f"{strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def apart_in_words(apart: Mapping[str, Any]) -> str:
    """Distances of poses, for the table."""
    changed = f"{apart['missed']} missed, {apart['surplus']} surplus, {apart['points_changed']} points changed"
    if apart["max_px"] is None:
        return changed
    px = f"median {apart['p50_px']:.4f} px, 95 % {apart['p95_px']:.4f} px, largest {apart['max_px']:.4f} px"
    return f"{apart['n_instances']} instances, {px}, {changed}"


def show_goals(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what the rows that goals are set for come to."""
    for row in rows:
        for name, goal in row.get("goals", {}).items():
            limit = f"at least {goal['at_least']}" if "at_least" in goal else f"at most {goal['at_most']}"
            word = "reached" if goal["reached"] else "MISSED"
            print(f"{row['backend']} {row['precision']}: {name} {goal['found']:.2f}, goal {limit}: {word}")


if __name__ == "__main__":
    main()
