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

    from sleap_infer.poses.compare import Agreement

ASSETS = Path(__file__).resolve().parents[1] / "assets"
VIDEO = "two_flies"
MODELS = ("centroid", "centered_instance")
EXPORTED = ASSETS / "doctor"
WITHOUT_TORCH: Mapping[str, str] = {"onnxruntime": "onnx", "openvino": "openvino"}
"""Packages that run the exported model, and their backends."""

MATCHING_RADIUS = 20.0
"""Maximum distance in pixels at which a predicted instance matches one of ground truth."""


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


def measure(predictions: Path, truth: Path) -> list[Agreement]:
    """Compare predictions with ground truth, frame by frame.

    Args:
        predictions: a `.slp` file.
        truth: a `.slp` file of the same video.
    """
    import sleap_io as sio

    from sleap_infer.poses.compare import compare_poses

    found, expected = (_by_frame(sio.load_slp(str(path), open_videos=False)) for path in (predictions, truth))
    return [compare_poses(found[index], poses, MATCHING_RADIUS) for index, poses in sorted(expected.items())]


def summary(frames: list[Agreement]) -> str:
    """Return errors in pixels, missed animals and false positives in one line."""
    import numpy as np

    distances = np.concatenate([frame.distances for frame in frames])
    n_missed = sum(frame.n_expected - frame.n_matched for frame in frames)
    n_complete = sum(frame.n_expected == frame.n_matched for frame in frames)
    median, far = np.median(distances), np.percentile(distances, 95)
    return (
        f"Compared with ground truth: median error {median:.2f} px, 95 % below {far:.2f} px; all animals found in "
        f"{n_complete} of {len(frames)} frames ({n_missed} missed, {sum(frame.n_surplus for frame in frames)} false "
        "positives)."
    )


def _by_frame(labels: sio.Labels) -> dict[int, NDArray[np.float32]]:
    import numpy as np

    n_nodes = len(labels.skeletons[0].nodes)
    return {
        int(frame.frame_idx): np.array([pose.numpy() for pose in frame.instances], np.float32).reshape(-1, n_nodes, 2)
        for frame in labels
    }
