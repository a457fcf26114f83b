"""The examples of docs/deploying.md give the package's points, without the package and without torch.

Python runs always. C++ runs where there are a compiler, CMake and ONNX Runtime's headers and library: in include/ and
lib/ of ORT_CPP_ROOT, or in the system. The browser's code runs where there are Node and onnxruntime-web: in
node_modules/ of ORT_WEB_ROOT, or of examples/deploy/web after `npm install`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio
from numpy.typing import NDArray

from sleap_infer import Predictor
from sleap_infer.export.exporting import ExportResult

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples" / "deploy"
PAGE = REPOSITORY / "docs" / "deploying.md"
WITHOUT = "import sys, runpy; sys.modules.update(torch=None, sleap_infer=None, sleap_io=None); "
"""Makes an import of any of these an error."""

FRAMES = {"colour": ("one_fly", 10), "other": ("two_flies_rgb", 5), "gray": ("two_flies", 3), "black": None}
"""Video and frame; all of a size that the model takes as it is."""


@pytest.fixture(scope="module")
def graph(exports: Mapping[str, ExportResult]) -> Path:
    return exports["single_instance"].graph


def read_frame(name: str, videos: Path) -> NDArray[np.uint8]:
    """A frame (H, W, C)."""
    chosen = FRAMES[name]
    if chosen is None:
        return np.zeros((192, 192, 1), np.uint8)
    video, index = chosen
    return np.asarray(sio.load_video(str(videos / f"{video}.mp4"))[index])


def check(command: Sequence[str | Path], name: str, graph: Path, videos: Path, folder: Path) -> None:
    """Run a command on a graph and a frame, and compare the lines `node x y value` that it prints."""
    frame = read_frame(name, videos)
    picture = folder / "frame.pnm"
    header = f"P{5 if frame.shape[2] == 1 else 6}\n# a comment\n{frame.shape[1]} {frame.shape[0]}\n255\n"
    picture.write_bytes(header.encode() + np.ascontiguousarray(frame).tobytes())
    lines = run([*command, graph, picture]).splitlines()
    with Predictor.from_model_paths(graph.parent, device="cpu") as predictor:
        (expected,) = predictor.predict(frame[None], as_labels=False)
        nodes = list(predictor.runners[0].spec.skeleton.nodes)
    assert [line.rsplit(" ", 3)[0] for line in lines] == nodes
    found = np.array([line.rsplit(" ", 3)[1:] for line in lines], float)
    np.testing.assert_allclose(found[:, :2], expected.pred_keypoints[0], atol=0.01, rtol=0)
    np.testing.assert_allclose(found[:, 2], expected.pred_peak_values[0], atol=1e-3, rtol=0)
    assert np.isfinite(found).any()
    assert name != "black" or np.isnan(found).any()


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", FRAMES)
def test_python(name: str, graph: Path, videos: Path, tmp_path: Path) -> None:
    script = EXAMPLES / "python" / "pose.py"
    program = f"{WITHOUT} sys.argv[0] = {str(script)!r}; runpy.run_path({str(script)!r}, run_name='__main__')"
    check([sys.executable, "-c", program], name, graph, videos, tmp_path)


def test_python_of_the_page(graph: Path, videos: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shutil.copytree(graph.parent, tmp_path / "exported")
    shutil.copy(videos / "one_fly.mp4", tmp_path / "video.mp4")
    lines = run([sys.executable, "-c", WITHOUT + "\n" + block], tmp_path).splitlines()
    with Predictor.from_model_paths(graph.parent, device="cpu", peak_threshold=0.3) as predictor:
        expected = predictor.predict(videos / "one_fly.mp4", as_labels=False)
    assert len(lines) == len(expected) > 1
    for line, outputs in zip(lines, expected, strict=True):
        x, y = (float(number) for number in line.split())
        head = outputs.pred_keypoints[0, 0] if outputs.n_instances else (np.nan, np.nan)
        np.testing.assert_allclose((x, y), head, atol=0.01, rtol=0)


@pytest.fixture(scope="module")
def pose_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ example, built."""
    root = os.environ.get("ORT_CPP_ROOT", "")
    missing = [program for program in ("cmake", "c++") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"the C++ example needs {' and '.join(missing)}")
    if not root and not any(
        list(Path(place).glob("include/**/onnxruntime_cxx_api.h")) for place in ("/usr/local", "/usr")
    ):
        pytest.skip("NO ONNX RUNTIME FOR C++: set ORT_CPP_ROOT to a folder with its include/ and lib/")
    build = tmp_path_factory.mktemp("cpp")
    run(["cmake", "-S", EXAMPLES / "cpp", "-B", build, f"-DORT_CPP_ROOT={root}"])
    run(["cmake", "--build", build])
    return build / "pose"


@pytest.mark.parametrize("name", FRAMES)
def test_cpp(name: str, pose_program: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    check([pose_program], name, graph, videos, tmp_path)


def test_cpp_says_what_is_wrong(pose_program: Path, graph: Path, tmp_path: Path) -> None:
    picture = tmp_path / "short.ppm"
    picture.write_bytes(b"P6 32 32 255\nnot enough")
    for arguments in ([], [graph, tmp_path / "none.ppm"], [graph, picture], [picture, picture]):
        done = subprocess.run([pose_program, *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("pose: ")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example for the browser beside the packages that it needs."""
    packages = Path(os.environ.get("ORT_WEB_ROOT", EXAMPLES / "web")).resolve() / "node_modules"
    if shutil.which("node") is None:
        pytest.skip("the example for the browser needs node")
    if not (packages / "onnxruntime-web").is_dir():
        pytest.skip(f"NO onnxruntime-web in {packages}: `npm install` in examples/deploy/web, or set ORT_WEB_ROOT")
    folder = tmp_path_factory.mktemp("web")
    for path in (EXAMPLES / "web").glob("*.*js*"):
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(packages)
    return folder


@pytest.mark.parametrize("name", FRAMES)
def test_web(name: str, web: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    check(["node", web / "check.mjs"], name, graph, videos, tmp_path)
