"""Side by side with a rival that is a small script: what it writes, costs and gets wrong is known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sleap_io as sio

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
POSE = np.array([[10.0, 20.0], [30.0, 25.0]], np.float32)
FAKE = """
import shutil, sys, time
words = sys.argv[1:]
given = dict(zip(words, words[1:]))
n_frames = int(given["--frames"].split("-")[1]) + 1
held = bytearray({megabytes} * 1_000_000)
time.sleep({start} + {per_frame} * n_frames)
shutil.copy("{folder}/" + str(n_frames) + ".slp", given["-o"])
print("frame", "batch", given.get("-b"))
"""


@pytest.fixture(scope="module")
def side_by_side() -> Iterator[ModuleType]:
    yield from imported("side_by_side")


@pytest.fixture(scope="module")
def versus() -> Iterator[ModuleType]:
    yield from imported("versus_sleap_nn")


def imported(name: str) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield __import__(name)


def write(path: Path, poses: Mapping[int, list[np.ndarray]], n_nodes: int = 2) -> Path:
    """A `.slp` with these poses by frame; an empty list is a frame without instances."""
    skeleton = sio.Skeleton([f"n{node}" for node in range(n_nodes)])
    video = sio.Video(filename="v.mp4", open_backend=False)
    frames = [
        sio.LabeledFrame(
            video=video,
            frame_idx=index,
            instances=[
                sio.PredictedInstance.from_numpy(pose, skeleton=skeleton, point_scores=np.ones(n_nodes), score=1.0)
                for pose in found
            ],
        )
        for index, found in poses.items()
    ]
    sio.Labels(frames, videos=[video], skeletons=[skeleton]).save(str(path), embed=False, verbose=False)
    return path


Make = Callable[..., tuple[str, ...]]


@pytest.fixture
def fake(tmp_path: Path) -> Make:
    """Writes a program that finds one animal in each frame, moved by some pixels, and gives its command."""

    def make(name: str, moved: float = 0, **costs: float) -> tuple[str, ...]:
        folder = tmp_path / name
        folder.mkdir()
        for n_frames in (1, 4):
            write(folder / f"{n_frames}.slp", {index: [POSE + moved] for index in range(n_frames)})
        costs = {"megabytes": 1, "start": 0.0, "per_frame": 0.05, **costs}
        (folder / "program.py").write_text(FAKE.format(folder=folder, **costs), encoding="utf-8")
        return sys.executable, "-S", str(folder / "program.py")

    return make


def program(side_by_side: ModuleType, name: str, words: tuple[str, ...]) -> Any:
    return side_by_side.Program(name, lambda n, output: [*words, "--frames", f"0-{n - 1}", "-o", str(output)])


def test_poses_are_read_by_frame_and_empty_frames_are_left_out(side_by_side: ModuleType, tmp_path: Path) -> None:
    half = POSE.copy()
    half[1] = np.nan
    path = write(tmp_path / "a.slp", {0: [POSE], 2: [], 3: [POSE + 1, half]})
    poses = side_by_side.read_poses(path, 4)
    assert sorted(poses) == [0, 3]
    np.testing.assert_array_equal(poses[0], [POSE])
    np.testing.assert_array_equal(poses[3], [POSE + 1, half])


def test_frames_that_were_not_asked_for_are_an_error(side_by_side: ModuleType, tmp_path: Path) -> None:
    path = write(tmp_path / "a.slp", {5: [POSE]})
    with pytest.raises(side_by_side.ProgramError, match="0 to 4 were asked for"):
        side_by_side.read_poses(path, 5)


def test_distances_match_instances_and_count_what_only_one_has(side_by_side: ModuleType) -> None:
    far, half = POSE + 100, POSE.copy()
    half[1] = np.nan
    expected = {0: np.array([POSE, far]), 1: np.array([POSE]), 2: np.array([POSE])}
    found = {0: np.array([far + np.float32([3, 4]), POSE]), 1: np.array([half]), 3: np.array([POSE])}
    apart = side_by_side.distances(found, expected)
    assert (apart.n_instances, apart.n_points) == (4, 8)
    assert (apart.missed, apart.surplus, apart.points_changed) == (1, 1, 1)
    assert apart.max_px == pytest.approx(5)
    assert apart.p50_px == pytest.approx(0)
    assert apart.verdict("fp32") == apart.verdict("int8") == "differs"


@pytest.mark.parametrize(
    ("moved", "precision", "verdict"),
    [
        (0.009, "fp32", "agrees"),
        (0.011, "fp32", "differs"),
        (0.4, "int8", "agrees"),
        (0.6, "int8", "differs"),
        (0.4, "bf16", "agrees"),
    ],
)
def test_the_verdict_is_that_of_the_export_check(
    side_by_side: ModuleType, moved: float, precision: str, verdict: str
) -> None:
    shift = np.array([moved, 0], np.float32)
    apart = side_by_side.distances({0: np.array([POSE + shift])}, {0: np.array([POSE])})
    assert apart.verdict(precision) == verdict


def test_fp32_may_lose_nothing_and_int8_one_in_a_hundred(side_by_side: ModuleType) -> None:
    expected = {frame: np.array([POSE]) for frame in range(100)}
    found = {frame: expected[frame] for frame in range(99)}
    apart = side_by_side.distances(found, expected)
    assert (apart.missed, apart.max_px) == (1, 0)
    assert apart.verdict("fp32") == "differs"
    assert apart.verdict("int8") == "agrees"


def test_finding_nothing_is_not_agreement(side_by_side: ModuleType) -> None:
    assert side_by_side.distances({}, {}).verdict("fp32") == "no instances"
    assert side_by_side.distances({0: np.array([POSE])}, {}).verdict("fp32") == "differs"


def test_other_skeletons_cannot_be_compared(side_by_side: ModuleType) -> None:
    with pytest.raises(side_by_side.ProgramError, match="1 nodes, the other 2"):
        side_by_side.distances({0: np.array([POSE])}, {0: np.array([POSE[:1]])})


def turn(side_by_side: ModuleType, first: float, whole: float, peak: float = 100) -> Any:
    return side_by_side.Turn(side_by_side.Run(first, peak), side_by_side.Run(whole, peak))


def test_figures_and_ratios_of_known_turns(side_by_side: ModuleType) -> None:
    ours = [turn(side_by_side, 2, 2 + cost, 300) for cost in (0.8, 1, 1.6)]
    theirs = [turn(side_by_side, 8, 12, 900) for _ in ours]
    found = side_by_side.figures(ours, 9)
    assert found["frames_per_second"] == {"median": 8, "low": 6.5, "high": 9}
    assert found["first_pose_s"]["median"] == 2
    assert found["start_up_s"]["median"] == pytest.approx(2 - 1 / 8)
    assert found["peak_mb"]["median"] == 300
    assert [each["whole"]["seconds"] for each in found["turns"]] == [2.8, 3, 3.6]
    ratios = side_by_side.ratios(ours, theirs, 9)
    assert ratios["frames_per_second"] == {"median": 4, "low": 3.25, "high": 4.5}
    assert ratios["end_to_end"]["median"] == 4
    assert ratios["peak_memory"]["median"] == pytest.approx(1 / 3, abs=1e-4)
    assert ratios["first_pose"]["median"] == 0.25


def test_a_turn_that_was_disturbed_gives_no_rate_but_all_else(side_by_side: ModuleType) -> None:
    ours = [turn(side_by_side, 2, 4), turn(side_by_side, 4, 3)]
    theirs = [turn(side_by_side, 6, 10), turn(side_by_side, 6, 10)]
    found = side_by_side.figures(ours, 9)
    assert found["frames_per_second"] is None
    assert found["start_up_s"] is None
    assert found["whole_s"]["median"] == 3.5
    ratios = side_by_side.ratios(ours, theirs, 9)
    assert ratios["frames_per_second"] is None
    assert ratios["first_pose"]["median"] == 0.5


def test_programs_take_turns(side_by_side: ModuleType, tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []
    source = {n: write(tmp_path / f"{n}.slp", {index: [POSE] for index in range(n)}) for n in (1, 3)}

    def copier(name: str) -> Any:
        def command(n_frames: int, output: Path) -> list[str]:
            asked.append((name, n_frames))
            copy = "import shutil, sys; shutil.copy(*sys.argv[1:])"
            return [sys.executable, "-S", "-c", copy, str(source[n_frames]), str(output)]

        return side_by_side.Program(name, command)

    turns, poses = side_by_side.take_turns([copier("a"), copier("b")], 3, 2, tmp_path)
    assert asked == [("a", 1), ("a", 3), ("b", 1), ("b", 3)] * 2
    assert {name: len(of) for name, of in turns.items()} == {"a": 2, "b": 2}
    assert sorted(poses["a"]) == sorted(poses["b"]) == [0, 1, 2]


def test_memory_is_that_of_the_program_and_not_of_this_process(
    side_by_side: ModuleType, fake: Make, tmp_path: Path
) -> None:
    held = np.ones(60_000_000 // 8)  # this process is larger than the small program
    small, _ = side_by_side.run(program(side_by_side, "small", fake("small")), 1, tmp_path)
    large, _ = side_by_side.run(program(side_by_side, "large", fake("large", megabytes=120)), 1, tmp_path)
    assert small.peak_mb < 60 < held.nbytes / 1e6 + 1
    assert 120 < large.peak_mb < 180


def test_a_program_that_fails_says_why(side_by_side: ModuleType, tmp_path: Path) -> None:
    words = (sys.executable, "-c", "raise SystemExit('no such model')")
    with pytest.raises(side_by_side.ProgramError, match="no such model"):
        side_by_side.run(program(side_by_side, "broken", words), 1, tmp_path)
    words = (sys.executable, "-c", "")
    with pytest.raises(side_by_side.ProgramError, match="wrote nothing"):
        side_by_side.run(program(side_by_side, "silent", words), 1, tmp_path)


def test_what_limits_threads_does_not_reach_programs(
    side_by_side: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    text = "import os; print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('PYTHONPATH'), os.environ['EXTRA'])"
    side_by_side.start((sys.executable, "-c", text), {"EXTRA": "yes"}, tmp_path)
    assert (tmp_path / "log.txt").read_text().split() == ["None", "None", "yes"]


def case(versus: ModuleType, **facts: Any) -> Any:
    return versus.Case(**{"name": "flies", "models": (Path("m"),), "video": Path("v.mp4"), "n_frames": 4, **facts})


def test_the_fastest_batch_size_is_taken(
    versus: ModuleType, side_by_side: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {None: 9.0, "1": 8.0, "8": 5.0}

    def measured(program: Any, n_frames: int, folder: Path) -> Any:
        words = program.command(n_frames, folder / "out.slp")
        return side_by_side.Run(seconds[words[words.index("-b") + 1] if "-b" in words else None], 100), {}

    monkeypatch.setattr(versus, "run", measured)
    best, tried = versus.fastest(versus.Rival(("/bin/rival",)), case(versus, batch_sizes=(1, 8)), tmp_path)
    assert [name for name, found in tried.items() if found["chosen"]] == ["8"]
    assert {name: found["seconds"] for name, found in tried.items()} == {"default": 9, "1": 8, "8": 5}
    words = best.command(4, Path("out.slp"))
    assert words[:4] == ["/bin/rival", "predict", "-i", "v.mp4"]
    assert words[words.index("-b") + 1] == "8"
    assert words[words.index("--frames") + 1] == "0-3"


def rows_against(versus: ModuleType, fake: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float) -> Any:
    """Rows of two fake programs: theirs takes four times as long for a frame."""
    rival = versus.Rival(fake("theirs", per_frame=0.2, megabytes=80))
    words = fake("ours", moved, megabytes=1)

    def prepare(case: Any, backend: str, precision: str, folder: Path) -> Any:
        if precision == "bf16":
            return versus.Way(backend, precision, reason="this processor has no arithmetic in bf16")
        command = program(sys.modules["side_by_side"], f"{backend} {precision}", words)
        return versus.Way(backend, precision, command, made_once={"export_s": 12.5})

    monkeypatch.setattr(versus, "prepare", prepare)
    wanted = case(versus, name="bottom-up", batch_sizes=(), ways=(("onnx", "fp32"), ("openvino", "bf16")))
    return versus.measure(wanted, rival, 1, tmp_path)


def test_a_row_that_agrees_has_ratios_and_goals(
    versus: ModuleType, fake: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row, not_run = rows_against(versus, fake, tmp_path, monkeypatch, moved=0.0)
    assert row["verdict"] == "agrees"
    assert row["poses"]["n_instances"] == 4
    assert set(row["ratios"]) == {"frames_per_second", "end_to_end", "peak_memory", "first_pose"}
    assert set(row["goals"]) == {"frames_per_second", "peak_memory", "first_pose"}
    assert row["ratios"]["peak_memory"]["median"] < 0.5
    assert row["made_once"] == {"export_s": 12.5}
    assert list(row["sleap_nn_batch_sizes"]) == ["default"]
    assert row["cores_busy_with_other_work"] >= -0.1
    assert not_run["verdict"] == "not run"
    assert "no arithmetic in bf16" in not_run["reason"]
    json.dumps([row, not_run])
    table = capsys.readouterr().out
    assert "4 instances, median 0.0000 px" in table
    assert "not run: this processor has no arithmetic in bf16" in table


def test_a_row_that_differs_gets_no_ratio(
    versus: ModuleType, fake: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row, _ = rows_against(versus, fake, tmp_path, monkeypatch, moved=1.0)
    assert row["verdict"] == "differs"
    assert row["poses"]["max_px"] == pytest.approx(np.sqrt(2))
    assert row["ratios"] is None
    assert "goals" not in row
    assert " -x " in capsys.readouterr().out


def test_a_rival_that_fails_is_a_row_that_says_so(versus: ModuleType, tmp_path: Path) -> None:
    rival = versus.Rival((sys.executable, "-c", "raise SystemExit('Missing key stem_stride')"))
    (row,) = versus.measure(case(versus), rival, 1, tmp_path)
    assert row["verdict"] == "failed"
    assert "Missing key stem_stride" in row["reason"]


@pytest.mark.parametrize(
    ("precision", "speed", "reached"), [("fp32", 4.5, True), ("fp32", 4.49, False), ("int8", 7.9, False)]
)
def test_goals(versus: ModuleType, precision: str, speed: float, reached: bool) -> None:
    medians = {"frames_per_second": speed, "peak_memory": 0.5, "first_pose": 0.4}
    goals = versus.against_goals(precision, {name: {"median": value} for name, value in medians.items()})
    assert goals["frames_per_second"]["reached"] is reached
    assert goals["peak_memory"]["reached"] is True
    assert goals["first_pose"]["reached"] is False


def test_a_python_without_sleap_nn_is_refused(versus: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        versus.find_rival(argparse.ArgumentParser(), Path(sys.executable), None)
    assert "cannot run sleap-nn" in capsys.readouterr().err


def test_rows_are_added_to_those_of_other_cases(versus: ModuleType, tmp_path: Path) -> None:
    output, theirs = tmp_path / "table.json", {"sleap-nn": "0.3.5"}
    rows = [{"case": "a", "n": 1}, {"case": "b", "n": 2}]
    versus.write_json(output, rows, theirs, None, {})
    earlier = versus.read_earlier(output, versus.our_versions(), theirs)
    versus.write_json(output, [{"case": "b", "n": 3}], theirs, "again", earlier)
    found = json.loads(output.read_text())
    assert found["rows"] == [{"case": "a", "n": 1}, {"case": "b", "n": 3}]
    assert found["note"] == "again"
    assert " && " in found["command"]
    with pytest.raises(SystemExit, match="other versions"):
        versus.read_earlier(output, versus.our_versions(), {"sleap-nn": "0.3.6"})
    assert versus.read_earlier(tmp_path / "none.json", {}, {}) == {}


@pytest.mark.parametrize("text", ["onnx", ":fp32", "onnx:fp12"])
def test_ways_that_are_none(versus: ModuleType, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not BACKEND:PRECISION"):
        versus.way(text)


@pytest.mark.parametrize("kind", ["single_instance", "centroid", "bottomup"])
def test_large_models_find_the_spots_of_their_video(versus: ModuleType, tmp_path: Path, kind: str) -> None:
    from production_models import CELLS, write_model, write_video

    from sleap_infer import Predictor

    n_animals = 1 if kind == "single_instance" else 3
    video = write_video(tmp_path / "spots.mp4", (256, 320), 2, n_animals)
    model = write_model(tmp_path / kind, kind, markers=True, filters=16)
    with Predictor.from_model_paths([model], device="cpu") as predictor:
        frames = predictor.predict(video, as_labels=False)
    for number, found in enumerate(frames):
        spots = np.array([(160.5, 128.5), (64.5, 64.5), (256.5, 76.5)])[:n_animals] + 2 * number
        cells = np.zeros((1, 2)) if kind == "centroid" else 2.0 * np.array(CELLS)
        points = found.pred_centroids[:, None] if kind == "centroid" else found.pred_keypoints
        expected = spots[:, None] + cells
        assert points.shape == expected.shape
        order = [int(np.abs(points - each).sum((1, 2)).argmin()) for each in expected]
        assert sorted(order) == list(range(n_animals))
        assert np.abs(points[order] - expected).max() < 1.5


@pytest.mark.slow
def test_a_table_and_json_of_own_models(
    versus: ModuleType, models: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sleap_infer import Predictor, save_labels

    model, video, folder = models / "single_instance", videos / "one_fly.mp4", tmp_path / "known"
    folder.mkdir()
    with Predictor.from_model_paths([model], device="cpu") as predictor:
        for n_frames in (1, 2):
            save_labels(predictor.predict(video, frames=range(n_frames)), folder / f"{n_frames}.slp")
    script = tmp_path / "rival.py"
    script.write_text(FAKE.format(folder=folder, megabytes=1, start=0.0, per_frame=0.05), encoding="utf-8")
    words = [str(model), "--video", str(video), "--ways", "torch:fp32", "--frames", "2", "--repeats", "1"]
    words += ["--sleap-nn-command", f"{sys.executable} -S {script}", "--batch-sizes"]
    versus.main([*words, "--output", str(tmp_path / "table.json")])
    found = json.loads((tmp_path / "table.json").read_text())
    assert (found["schema"], found["version"]) == ("sleap_infer.versus", 1)
    assert {"machine", "versions", "command", "rows"} <= set(found)
    (row,) = found["rows"]
    assert (row["case"], row["n_frames"], row["verdict"]) == ("single_instance", 2, "agrees")
    assert row["poses"]["max_px"] == 0
    assert row["sleap_infer"]["peak_mb"]["median"] > row["sleap_nn"]["peak_mb"]["median"]
    assert "single_instance" in capsys.readouterr().out
