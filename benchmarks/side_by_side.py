"""Programs side by side: processes in turn, what they cost, whether they find the same poses, and how they compare.

A program is anything that can be started as a process and writes the poses of the first frames of a video to a `.slp`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import sleap_io as sio
from attrs import asdict, field, frozen
from numpy.typing import NDArray

from sleap_infer.config.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.poses.compare import compare_frames

Poses: TypeAlias = Mapping[int, NDArray[np.float32]]
"""(I, N, 2) in pixels, NaN where a point is missing, by frame; frames without instances are left out."""

Verdict: TypeAlias = Literal["agrees", "differs", "no instances"]

LAUNCHER = """
import json, os, sys, time
report, log, *command = sys.argv[1:]
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
began = time.perf_counter()
actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
_, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ, file_actions=actions), 0)
seconds = time.perf_counter() - began
scale = 1e-6 if sys.platform == "darwin" else 1024e-6
facts = {"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "peak_mb": usage.ru_maxrss * scale}
json.dump(facts, open(report, "w"))
"""
"""Starts a command and measures it. Small, because Linux counts what the starting process held as the started one's."""

LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ProgramError(Exception):
    """A program ended with an error, or found other frames or nodes than it should."""


@frozen
class Program:
    """What is measured.

    Attributes:
        name: that no other program has.
        command: the words of the command that writes the poses of frames 0 to n - 1 to a file, given n and the file.
        environment: variables to add to the usual ones.
    """

    name: str
    command: Callable[[int, Path], Sequence[str]]
    environment: Mapping[str, str] = field(factory=dict)


@frozen
class Run:
    """One process, from its start to its end.

    Attributes:
        seconds: by the clock.
        peak_mb: largest resident memory, in millions of bytes, of the process or of the largest one that it started.
    """

    seconds: float
    peak_mb: float


@frozen
class Turn:
    """A program's part of one turn: a run of one frame and a run of many.

    Attributes:
        first: one frame.
        whole: many frames.
    """

    first: Run
    whole: Run


@frozen
class PoseDistances:
    """Poses of one program against those of another.

    Attributes:
        n_instances, n_points: that were expected.
        missed, surplus: instances that were expected but not found, and the other way round.
        points_changed: points that only one has, in instances that both have.
        p50_px, p95_px, max_px: distance of the points that both have; `None` if there are none.
    """

    n_instances: int
    n_points: int
    missed: int
    surplus: int
    points_changed: int
    p50_px: float | None
    p95_px: float | None
    max_px: float | None

    def verdict(self, precision: str) -> Verdict:
        """As the check of exports has it: 0.01 px for all in fp32, 0.5 px for 95 % and 1 % changed else."""
        if not self.n_instances and not self.surplus:
            return "no instances"
        points = self.points_changed / max(self.n_points, 1)
        changed = max(points, (self.missed + self.surplus) / max(self.n_instances, 1))
        if self.max_px is None or self.p95_px is None:
            return "differs"
        if precision == "fp32":
            return "agrees" if self.max_px <= MAX_ERROR_PX and not changed else "differs"
        return "agrees" if self.p95_px <= DEFAULT_BUDGET_PX and changed <= MAX_CHANGED else "differs"


def start(words: Sequence[str], environment: Mapping[str, str], folder: Path, codes: Collection[int] = (0,)) -> Run:
    """Run a command to its end, with all cores, and measure it.

    Args:
        words: of the command; paths are absolute.
        environment: variables to add to those of this process, less what limits threads or concerns this Python.
        folder: an existing one to work in.
        codes: exit codes that mean success; an export by force that differs ends with 1.

    Raises:
        ProgramError: it failed; with the end of what it printed.
    """
    report, log = folder / "report.json", folder / "log.txt"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name not in LIMITS}
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(report), str(log)]
    subprocess.run([*launcher, *words], check=True, cwd=folder, env={**kept, **environment})
    facts = json.loads(report.read_text(encoding="utf-8"))
    if facts.pop("code") not in codes:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:]
        raise ProgramError(f"{' '.join(words[:4])} ... failed:\n" + "\n".join(tail))
    return Run(**facts)


def run(program: Program, n_frames: int, folder: Path) -> tuple[Run, Poses]:
    """Run a program on the first frames of its video.

    Raises:
        ProgramError: it failed, or wrote no poses.
    """
    output = folder / "poses.slp"
    output.unlink(missing_ok=True)
    found = start(program.command(n_frames, output), program.environment, folder)
    if not output.exists():
        raise ProgramError(f"{program.name} ended well but wrote nothing to {output}.")
    return found, read_poses(output, n_frames)


def take_turns(
    programs: Sequence[Program], n_frames: int, repeats: int, folder: Path
) -> tuple[dict[str, list[Turn]], dict[str, Poses]]:
    """Run programs in turn (A B A B), each with one frame and with many.

    Args:
        programs: of different names.
        n_frames: of the long runs; at least 2.
        repeats: turns of each.
        folder: an existing one to work in.

    Returns:
        The turns, and the poses of the many frames, by name.
    """
    turns: dict[str, list[Turn]] = {program.name: [] for program in programs}
    poses: dict[str, Poses] = {}
    for _ in range(repeats):
        for program in programs:
            first, _ = run(program, 1, folder)
            whole, poses[program.name] = run(program, n_frames, folder)
            turns[program.name].append(Turn(first, whole))
    return turns, poses


def read_poses(path: Path, n_frames: int) -> Poses:
    """Read what a program found.

    Args:
        path: of a `.slp` with one video.
        n_frames: that it looked at, from the first.

    Raises:
        ProgramError: there are frames that it was not asked for.
    """
    poses: dict[int, NDArray[np.float32]] = {}
    for frame in sio.load_slp(str(path), open_videos=False):
        points = [instance.numpy() for instance in frame.instances]
        seen = [pose for pose in points if not np.isnan(pose).all()]
        if seen:
            poses[int(frame.frame_idx)] = np.array(seen, np.float32)
    if poses and not 0 <= min(poses) <= max(poses) < n_frames:
        raise ProgramError(
            f"{path} has poses in frames {min(poses)} to {max(poses)}; 0 to {n_frames - 1} were asked for."
        )
    return poses


def distances(found: Poses, expected: Poses) -> PoseDistances:
    """Compare poses frame by frame; instances are matched by distance.

    Raises:
        ProgramError: the two have different numbers of nodes.
    """
    nodes = {pose.shape[1] for poses in (found, expected) for pose in poses.values()} or {1}
    if len(nodes) > 1:
        raise ProgramError(f"One of the two finds {min(nodes)} nodes, the other {max(nodes)}.")
    nothing = np.zeros((0, *nodes, 2), np.float32)
    numbers = sorted({*found, *expected})
    compared = compare_frames(
        [found.get(number, nothing) for number in numbers], [expected.get(number, nothing) for number in numbers]
    )
    changed = sum(int(frame.missed_points.sum() + frame.false_points.sum()) for frame in compared.frames)
    p50, p95, largest = (compared.percentile(percent) for percent in (50, 95, 100))
    any_point = bool(len(compared.distances))
    return PoseDistances(
        n_instances=compared.n_expected,
        n_points=compared.n_expected_points,
        missed=compared.n_missed,
        surplus=compared.n_false,
        points_changed=changed,
        p50_px=p50 if any_point else None,
        p95_px=p95 if any_point else None,
        max_px=largest if any_point else None,
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles.

    >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
    {'median': 3.0, 'low': 2.0, 'high': 4.0}
    """
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": round(float(median), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def spread_of_all(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median and quartiles, or `None` where one of the values is missing."""
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None


def rate(turn: Turn, n_frames: int) -> float | None:
    """Frames per second once a program is running: what all frames but one take more than one.

    Returns:
        `None` where that is nothing: other work disturbed it, or there are too few frames to tell.

    >>> rate(Turn(Run(3.0, 1), Run(5.0, 1)), 9)
    4.0
    """
    more = turn.whole.seconds - turn.first.seconds
    return (n_frames - 1) / more if more > 0 else None


def figures(turns: Sequence[Turn], n_frames: int) -> dict[str, Any]:
    """Summarise a program's turns: medians and quartiles, and the seconds themselves.

    Returns:
        frames_per_second, first_pose_s (a process of one frame), start_up_s (the same less the frame), whole_s (a
        process of all frames), peak_mb (of that), turns. The first and the third are `None` where a turn has no rate.
    """
    rates = [rate(turn, n_frames) for turn in turns]
    starts = [turn.first.seconds - 1 / each if each else None for turn, each in zip(turns, rates, strict=True)]
    return {
        "frames_per_second": spread_of_all(rates),
        "first_pose_s": spread([turn.first.seconds for turn in turns]),
        "start_up_s": spread_of_all(starts),
        "whole_s": spread([turn.whole.seconds for turn in turns]),
        "peak_mb": spread([turn.whole.peak_mb for turn in turns]),
        "turns": [asdict(turn) for turn in turns],
    }


def ratios(ours: Sequence[Turn], theirs: Sequence[Turn], n_frames: int) -> dict[str, dict[str, float] | None]:
    """How two programs compare, turn by turn: medians and quartiles.

    Returns:
        frames_per_second and end_to_end (all frames, with start-up): how many times as fast. peak_memory and
        first_pose: what share of theirs. The first is `None` where a turn has no rate.
    """
    pairs = list(zip(ours, theirs, strict=True))
    rates = [(rate(a, n_frames), rate(b, n_frames)) for a, b in pairs]
    return {
        "frames_per_second": spread_of_all([a / b if a and b else None for a, b in rates]),
        "end_to_end": spread([b.whole.seconds / a.whole.seconds for a, b in pairs]),
        "peak_memory": spread([a.whole.peak_mb / b.whole.peak_mb for a, b in pairs]),
        "first_pose": spread([a.first.seconds / b.first.seconds for a, b in pairs]),
    }
