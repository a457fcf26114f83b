"""What an installation with the extra `onnx` alone can do: predict with exported models, and no PyTorch comes along.

`make torch-free` runs this script, without pytest, in an environment of its own:

    .venv-onnx/bin/python -I tests/torch_free.py EXPORTS

EXPORTS is a folder of exported models of two flies, a directory each: of one graph, or of two that make a pipeline.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

UNWANTED = ("torch", "torchvision", "onnx", "onnxscript", "onnx_ir", "triton", "nvidia")
NODES = ["head", "thorax", "abdomen", "wing_left", "wing_right"]
FRAMES, ANIMALS = [0, 1], 2
REACH = 3.0
"""Points are nearer to the truth than this, in pixels, on average over an animal."""


def main(exports: Path) -> None:
    check_environment()
    import sleap_infer

    assets = Path(sleap_infer.__file__).parent / "assets"
    assert sys.prefix in sleap_infer.__file__, f"{sleap_infer.__file__} is not the installed package"
    assert (assets.parent / "py.typed").is_file()
    video = assets / "videos" / "two_flies.mp4"
    found = sorted(path for path in exports.iterdir() if path.is_dir())
    assert found, f"no exported models in {exports}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_demo(video, folder / "demo")
        for export in found:
            check_command(export, video, folder / f"{export.name}.slp")
            check_python([export], video)
            graphs = sorted(export.rglob("model.onnx"))
            check_python([graph.parent for graph in graphs], video)
            check_python(
                [alone(graph, folder / f"{export.name}-{number}") for number, graph in enumerate(graphs)], video
            )
            print(f"{export.name}: {len(graphs)} graph(s), as directories and alone, from the command line and Python")
        check_message(assets / "models" / "bottomup", video, folder / "never.slp")
    loaded = [name for name in UNWANTED if name in sys.modules]
    assert not loaded, f"{loaded} were imported"


def check_environment() -> None:
    """Nothing of PyTorch is there, nor what only exporting needs."""
    importable = [name for name in UNWANTED if find_spec(name)]
    assert not importable, f"{importable} can be imported in {sys.prefix}"
    names = {item.name.lower() for item in distributions()}
    assert "onnxruntime" in names
    unwanted = [name for name in names if name.startswith(("torch", "nvidia-", "pytorch"))]
    assert not unwanted, f"{unwanted} came along"


def check_demo(video: Path, output: Path) -> None:
    """`sleap-infer demo` predicts all frames, near the ground truth."""
    import sleap_io as sio

    assert "because PyTorch is not installed" in run("demo", "-o", output).stdout
    labels = sio.load_slp(str(output / f"{video.stem}.predictions.slp"))
    labels.labeled_frames = [frame for frame in labels if frame.frame_idx in FRAMES]
    check_labels(labels, video)
    assert (output / f"{video.stem}.png").stat().st_size


def check_command(model: Path, video: Path, output: Path) -> None:
    """`sleap-infer predict` writes a file with the right poses, and `info` knows the model."""
    import sleap_io as sio

    frames = ",".join(map(str, FRAMES))
    run("predict", video, "-m", model, "--frames", frames, "-o", output)
    check_labels(sio.load_slp(str(output)), video)
    for graph in model.rglob("model.onnx"):
        assert "head, thorax, abdomen" in run("info", graph.parent).stdout


def check_python(models: Sequence[Path], video: Path) -> None:
    """`Predictor.from_model_paths` gives the right poses."""
    from sleap_infer import Predictor

    with Predictor.from_model_paths(models) as predictor:
        assert predictor.describe()["backend"] == "onnx"
        check_labels(predictor.predict(video, frames=FRAMES), video)


def check_labels(labels: object, video: Path) -> None:
    """Two animals in each frame, near the truth that the package ships."""
    import numpy as np
    import sleap_io as sio

    assert isinstance(labels, sio.Labels)
    assert labels.skeleton.node_names == NODES
    assert [frame.frame_idx for frame in labels] == FRAMES
    truth = sio.load_slp(str(video.with_suffix(".truth.slp")), open_videos=False)
    expected = {frame.frame_idx: [pose.numpy() for pose in frame.instances] for frame in truth}
    for frame in labels:
        poses = [pose.numpy() for pose in frame.instances]
        assert len(poses) == ANIMALS, f"{len(poses)} animals in frame {frame.frame_idx}"
        for pose in expected[frame.frame_idx]:
            apart = min(float(np.nanmean(np.linalg.norm(pose - found, axis=-1))) for found in poses)
            assert apart < REACH, f"frame {frame.frame_idx}: {apart:.1f} px from the truth"


def check_message(trained: Path, video: Path, output: Path) -> None:
    """A model that needs PyTorch is refused with the words that help."""
    result = run("predict", video, "-m", trained, "-o", output, expected=2)
    assert re.search(r"pip install .*\[torch\]", result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()


def alone(graph: Path, folder: Path) -> Path:
    """A copy of a graph without the metadata beside it."""
    folder.mkdir()
    return Path(shutil.copy(graph, folder))


def run(*words: str | Path, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [str(Path(sys.executable).with_name("sleap-infer")), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == expected, f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]))
