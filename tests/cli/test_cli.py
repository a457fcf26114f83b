"""The command line, as a user calls it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio
from typer.testing import CliRunner, Result

from sleap_infer import __version__
from sleap_infer.cli.app import app
from sleap_infer.cli.demo import measure
from sleap_infer.config import options
from sleap_infer.errors import FrameSelectionError, SleapInferError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from sleap_infer.cli import main; main()"
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_every_option_and_its_default() -> None:
    text = run("predict", "--help").output
    for group in ("preprocess", "peaks", "grouping", "filters", "stream"):
        for name in (item.name for item in options.option_groups()[group].__attrs_attrs__):
            assert "--" + name.replace("_", "-") in text
    assert "Default: 0.25." in text
    assert "Grouping (bottom-up)" in text


def test_version() -> None:
    assert run("--version").output.strip() == f"sleap-infer {__version__}"


def test_help_does_not_import_torch() -> None:
    code = "import sys\nfrom sleap_infer.cli.app import app\n"
    code += "try: app(['predict', '--help'])\nexcept SystemExit: pass\nassert not {'torch', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_predict_writes_beside_the_video(models: Path, videos: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes((videos / "two_flies.mp4").read_bytes())
    result = run("predict", video, "-m", models / "bottomup", "--frames", "0-3,7", "-d", "cpu", "-r", "torch")
    assert result.exit_code == 0, result.output
    assert re.search(r"5 frames, 10 instances, 0 failed", result.output)
    labels = sio.load_slp(str(tmp_path / "clip.predictions.slp"))
    assert [frame.frame_idx for frame in labels] == [0, 1, 2, 3, 7]
    again = shell("predict", video, "-m", models / "bottomup", "--frames", "0")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert "Traceback" not in again.stderr


def test_predict_several_into_one_or_each(models: Path, videos: Path, tmp_path: Path) -> None:
    sources = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for source in sources:
        source.write_bytes((videos / "two_flies.mp4").read_bytes())
    common = ("-m", models / "centroid", "-m", models / "centered_instance", "--frames", "0", "-b", 2, "-r", "torch")
    assert run("predict", *sources, *common, "-o", tmp_path / "all.slp").exit_code == 0
    assert len(sio.load_slp(str(tmp_path / "all.slp")).videos) == 2
    assert run("predict", *sources, *common).exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("*.predictions.slp")) == [
        "a.predictions.slp",
        "b.predictions.slp",
    ]


def test_failures_are_exit_code_one(models: Path, videos: Path, tmp_path: Path) -> None:
    import cv2

    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "0.png"), sio.load_video(str(videos / "two_flies.mp4"))[0])
    (frames / "1.png").write_bytes(b"broken")
    result = run("predict", frames, "-m", models / "bottomup", "-r", "torch")
    assert result.exit_code == 1
    assert "1 failed" in result.output
    assert "1.png" in result.output
    assert len(sio.load_slp(str(tmp_path / "frames.predictions.slp"))) == 2


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["VIDEO"], "-m"),
        (["nowhere.mp4", "-m", "MODEL"], "No source at nowhere.mp4"),
        (["VIDEO", "-m", "nowhere"], "No model at nowhere"),
        (["VIDEO", "-m", "MODEL", "--frames", "3-1"], "3-1"),
        (["VIDEO", "-m", "MODEL", "--frames", "5000"], "frames 0 to 99"),
        (["VIDEO", "-m", "MODEL", "--crop-size", "8"], "no effect on a bottomup"),
        (["VIDEO", "-m", "MODEL", "--peak-threshold", "a"], "expected one number"),
        (["VIDEO", "-m", "MODEL", "--peak-threshold", "1,2,3"], "expected one number"),
        (["VIDEO", "-m", "MODEL", "--min-instance-peaks", "x"], "fraction"),
        (["VIDEO", "-m", "MODEL", "--refinement", "x"], "refinement"),
        (["VIDEO", "-m", "MODEL", "-b", "0"], "batch"),
        (["VIDEO", "-m", "MODEL", "-d", "cuda:9"], "cuda:9"),
        (["VIDEO", "-m", "MODEL", "-f", "xls"], "expected one of slp"),
        (["VIDEO", "-m", "MODEL", "-m", "MODEL"], "of one kind"),
    ],
)
def test_wrong_usage_is_exit_code_two(
    arguments: list[str], found: str, models: Path, videos: Path, tmp_path: Path
) -> None:
    places = {"VIDEO": str(videos / "two_flies.mp4"), "MODEL": str(models / "bottomup")}
    given = [places.get(argument, argument) for argument in arguments]
    if "-o" not in given:
        given += ["-o", str(tmp_path / "out.slp")]
    result = run("predict", *given)
    if result.exit_code == 2:
        assert found in result.output
    else:
        assert isinstance(result.exception, SleapInferError), result.exception
        assert found in str(result.exception)
    assert not list(tmp_path.iterdir()), "nothing is written"


def open_files() -> int:
    """Return how many files this process has open, where the system says so."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.parametrize("n_videos", [20, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_many_videos_with_a_broken_one_among_them(n_videos: int, models: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for number in range(n_videos):
        (tmp_path / "videos" / f"v{number:03d}.mp4").write_bytes((videos / "one_fly.mp4").read_bytes())
    (tmp_path / "videos" / "v017.mp4").write_bytes(b"no video")
    given = ["-m", models / "single_instance", "--out-dir", tmp_path / "out", "-n", 1, "-r", "torch"]
    run("predict", tmp_path / "videos" / "v000.mp4", *given)  # what is imported stays open
    (tmp_path / "out" / "v000.predictions.slp").unlink()
    before = open_files()
    result = run("predict", tmp_path / "videos", *given)
    assert open_files() < before + 5, "each video, journal and file is closed again"
    assert result.exit_code == 1, result.output
    n_whole = n_videos - 1
    assert len(list((tmp_path / "out").glob("*.slp"))) == n_whole
    assert not (tmp_path / "out" / "v017.predictions.slp").exists()
    assert re.search(r"v017\.mp4 +failed", result.output)
    assert f"{n_videos} outputs ({n_whole} written, 1 failed); {n_whole} frames = {n_whole} done" in result.output
    again = run("predict", tmp_path / "videos", *given)
    assert f"{n_videos} outputs ({n_whole} skipped, 1 failed)" in again.output


def test_a_plan_is_shown_and_nothing_written(models: Path, videos: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes((videos / "one_fly.mp4").read_bytes())
    result = run("predict", tmp_path, "-m", models / "single_instance", "-r", "torch", "--dry-run")
    assert result.exit_code == 0, result.output
    for text in ("single_instance on torch", "peaks above 0.2", "clip.predictions.slp", "frames/s", "MiB"):
        assert text in result.output
    assert list(tmp_path.iterdir()) == [video]


def test_json_for_machines(models: Path, videos: Path, tmp_path: Path) -> None:
    import json

    ended = shell(
        "predict",
        videos / "one_fly.mp4",
        "-m",
        models / "single_instance",
        "-r",
        "torch",
        "-n",
        8,
        "-o",
        tmp_path / "a.csv",
        "--progress",
        "json",
        "--workers",
        1,
    )
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {event["version"] for event in events} == {1}
    assert [event["event"] for event in events if event["event"] != "info"] == [
        "begin",
        "progress",
        "progress",
        "summary",
    ]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert {"n_processed", "n_total", "rate", "eta", "stage", "memory_mb"} <= set(last)
    assert (last["n_processed"], last["n_total"]) == (8, 8)
    assert events[-1]["ledger"]["ok"] + events[-1]["ledger"]["empty"] == 8
    assert events[-1]["files"] == [str(tmp_path / "a.csv")]


def test_a_slurm_script(models: Path, videos: Path, tmp_path: Path) -> None:
    ended = shell(
        "predict", videos / "one_fly.mp4", "-m", models / "single_instance", "--out-dir", tmp_path, "--slurm", 4
    )
    script = tmp_path / "job.sh"
    script.write_text(ended.stdout)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "#SBATCH --array=0-3" in ended.stdout
    assert '--shard "$SLURM_ARRAY_TASK_ID/4"' in ended.stdout
    assert "--slurm" not in ended.stdout
    assert f"sleap-infer merge {tmp_path / 'one_fly.predictions.journal'}" in ended.stdout


def test_our_errors_end_with_two_and_without_a_traceback(models: Path) -> None:
    result = shell("info", "nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("error: No model at nowhere")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bottomup", ["bottomup", "unet", "thorax-head", "PartAffinityFieldsHead 4", "backend torch"]),
        ("centered_instance", ["80 x 80 around thorax"]),
    ],
)
def test_info(name: str, found: list[str], models: Path) -> None:
    result = run("info", models / name)
    assert result.exit_code == 0
    for word in found:
        assert word in result.output


def test_info_without_torch(models: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else real(name, *rest)
from sleap_infer.cli.app import app
app(["info", {str(models / "bottomup")!r}])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "unknown without PyTorch" in result.stdout, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("not available"))
    assert {"torch", "torch_compile"} <= set(line.replace(",", "").split())
    assert "sleap-infer doctor" in " ".join(result.stdout.split())
    assert not re.search(r"^backend torch", result.stdout, re.MULTILINE)


def test_info_of_several_models(models: Path) -> None:
    result = run("info", models / "centroid", models / "centered_instance")
    assert result.exit_code == 0, result.output
    assert re.findall(r"^kind +(\w+)", result.output, re.MULTILINE) == ["centroid", "centered_instance"]
    assert len(re.findall(r"^backend torch ", result.output, re.MULTILINE)) == 1


def test_demo(tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo")
    assert result.exit_code == 0
    median = re.search(r"median error ([0-9.]+) px", result.output)
    assert median is not None
    assert float(median[1]) < 1
    assert "frames/s" in result.output
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"two_flies.predictions.slp", "two_flies.png"}


@pytest.mark.parametrize("hidden", [("torch",), ("torch", "onnxruntime")], ids=["onnx", "openvino"])
def test_demo_without_pytorch(hidden: tuple[str, ...], videos: Path, tmp_path: Path) -> None:
    """An exported model is run, and its poses are near the ground truth."""
    result = without(hidden, "demo", "-o", tmp_path / "demo")
    assert result.returncode == 0, result.stderr
    assert "because PyTorch is not installed" in result.stdout
    assert "missed" in result.stdout
    found = measure(tmp_path / "demo" / "two_flies.predictions.slp", videos / "two_flies.truth.slp")
    assert len(found.frames) == 100
    assert np.median(found.distances) < 1
    assert np.mean([len(frame.rows) == frame.n_expected == 2 for frame in found.frames]) >= 0.95


def test_demo_without_any_runtime_says_what_to_install(tmp_path: Path) -> None:
    result = without(("torch", "onnxruntime", "openvino"), "demo", "-o", tmp_path / "demo")
    assert result.returncode == 2
    assert "pip install" in result.stderr


def without(packages: Sequence[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as if packages were not installed."""
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({list(packages)!r}))\nfrom sleap_infer.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("text", ["a", "-", "-1", "1--2", "3-1", "1,,2", "1.5", "", "  "])
def test_frames_that_are_not_understood(text: str) -> None:
    from sleap_infer.jobs import read_frames

    with pytest.raises(FrameSelectionError, match="Expected"):
        read_frames(text)
