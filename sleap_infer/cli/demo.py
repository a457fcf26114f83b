"""`sleap-infer demo`: predict a video that comes with the package, with models that come with it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from attrs import frozen

from sleap_infer.cli.flags import command, flag

if TYPE_CHECKING:
    import numpy as np
    import sleap_io as sio
    from numpy.typing import NDArray

    from sleap_infer.poses.compare import Comparison

ASSETS = Path(__file__).resolve().parents[1] / "assets"
VIDEO = "two_flies"
MODELS = ("centroid", "centered_instance")
EXPORTED = ASSETS / "doctor"
WITHOUT_TORCH: Mapping[str, str] = {"onnxruntime": "onnx", "openvino": "openvino"}
"""Packages that run the exported model, and their backends."""


@frozen
class DemoFlags:
    """Where results go."""

    output: Path = flag(Path("demo"), "Folder for the results.", "-o", "--output")


@command
def demo(given: DemoFlags) -> None:
    """Predict the demo video and compare the poses with ground truth.

    Examples:
      sleap-infer demo

    Without PyTorch, an exported model runs on ONNX Runtime or OpenVINO.
    """
    from sleap_infer.cli.output.terminal import print_line
    from sleap_infer.poses.labels import save_labels
    from sleap_infer.predictors import Predictor
    from sleap_infer.predictors.describe import describe_stages
    from sleap_infer.system.files import check_folder

    output = given.output
    check_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    video = ASSETS / "videos" / f"{VIDEO}.mp4"
    labels, picture = output / f"{VIDEO}.predictions.slp", output / f"{VIDEO}.png"
    title, models, backend = choose_models()
    print_line(f"Model: {title}, trained on drawings of flies. Video: {video.name}, two flies with known ground truth.")
    with Predictor.from_model_paths(models, backend=backend, return_images=True) as predictor:
        for line in describe_stages(predictor):
            print_line(line)
        begun = perf_counter()
        found = predictor.predict(video)
        seconds = perf_counter() - begun
        save_labels(found, labels, overwrite=True)
        (shown,) = predictor.predict(video, as_labels=False, frames=[len(found) // 2])
    shown.plot(path=picture, scale=4.0)
    print_line(f"{len(found)} frames in {seconds:.1f} s, {len(found) / seconds:.1f} frames/s")
    print_line(summary(measure(labels, video.with_suffix(".truth.slp"))))
    print_line(f"Poses:   {labels}")
    print_line(f"Picture: {picture} (frame {shown.frame_idx})")


def choose_models() -> tuple[str, list[Path], str]:
    """Return a title, the models, and the backend: the trained models with PyTorch, else an exported one."""
    for package, backend in WITHOUT_TORCH.items() if find_spec("torch") is None else ():
        if find_spec(package):
            return f"bottomup, exported, on {backend} because PyTorch is not installed", [EXPORTED], backend
    return " + ".join(MODELS), [ASSETS / "models" / name for name in MODELS], "torch"


def measure(predictions: Path, truth: Path) -> Comparison:
    """Compare predictions with the ground truth.

    Args:
        predictions: a `.slp` file.
        truth: a `.slp` file of the same video.
    """
    import sleap_io as sio

    from sleap_infer.poses.compare import compare_frames

    found, expected = (_by_frame(sio.load_slp(str(path), open_videos=False)) for path in (predictions, truth))
    return compare_frames([found[index] for index in sorted(expected)], [expected[index] for index in sorted(expected)])


def summary(compared: Comparison) -> str:
    """Return error and missed animals in one line."""
    n_whole = sum(not frame.n_missed for frame in compared.frames)
    return (
        f"Compared with ground truth: median error {compared.percentile(50):.2f} px, 95 % below "
        f"{compared.percentile(95):.2f} px; all animals found in {n_whole} of {len(compared.frames)} frames "
        f"({compared.n_missed} missed, {compared.n_false} false positives)."
    )


def _by_frame(labels: sio.Labels) -> dict[int, NDArray[np.float32]]:
    import numpy as np

    n_nodes = len(labels.skeletons[0].nodes)
    return {
        int(frame.frame_idx): np.array([pose.numpy() for pose in frame.instances], np.float32).reshape(-1, n_nodes, 2)
        for frame in labels
    }
