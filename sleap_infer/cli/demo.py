"""`sleap-infer demo`: the main job on a model and a video that come with the package."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    import sleap_io as sio
    from numpy.typing import NDArray

    from sleap_infer.poses.compare import Agreement

ASSETS = Path(__file__).resolve().parents[1] / "assets"
VIDEO = "two_flies"
MODELS = ("centroid", "centered_instance")
REACH = 20.0
"""Instances that are farther apart, in pixels, are not the same animal."""


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("demo"),
) -> None:
    """Predict a video that comes with the package, and compare with its known truth."""
    from sleap_infer.cli.output.terminal import say
    from sleap_infer.poses.labels import save_labels
    from sleap_infer.predictors import Predictor
    from sleap_infer.predictors.describe import describe_stages
    from sleap_infer.system.files import check_folder

    check_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    video = ASSETS / "videos" / f"{VIDEO}.mp4"
    labels, picture = output / f"{VIDEO}.predictions.slp", output / f"{VIDEO}.png"
    say(f"Model: {' + '.join(MODELS)}, trained on drawn flies. Video: {video.name}, two flies whose truth is known.")
    with Predictor.from_model_paths([ASSETS / "models" / name for name in MODELS], return_images=True) as predictor:
        for line in describe_stages(predictor):
            say(line)
        begun = perf_counter()
        found = predictor.predict(video)
        seconds = perf_counter() - begun
        save_labels(found, labels, overwrite=True)
        (shown,) = predictor.predict(video, as_labels=False, frames=[len(found) // 2])
    shown.plot(path=picture, scale=4.0)
    say(f"{len(found)} frames in {seconds:.1f} s, {len(found) / seconds:.1f} frames/s")
    say(verdict(measure(labels, video.with_suffix(".truth.slp"))))
    say(f"Poses:   {labels}")
    say(f"Picture: {picture} (frame {shown.frame_idx})")


def measure(predictions: Path, truth: Path) -> list[Agreement]:
    """How predictions agree with the truth, frame by frame.

    Args:
        predictions: a `.slp` file.
        truth: a `.slp` file of the same video.
    """
    import sleap_io as sio

    from sleap_infer.poses.compare import compare_poses

    found, expected = (_by_frame(sio.load_slp(str(path), open_videos=False)) for path in (predictions, truth))
    return [compare_poses(found[index], poses, REACH) for index, poses in sorted(expected.items())]


def verdict(frames: list[Agreement]) -> str:
    """Error and losses in one line."""
    import numpy as np

    distances = np.concatenate([frame.distances for frame in frames])
    n_lost = sum(frame.n_expected - frame.n_matched for frame in frames)
    n_whole = sum(frame.n_expected == frame.n_matched for frame in frames)
    median, far = np.median(distances), np.percentile(distances, 95)
    return (
        f"Against the truth: median error {median:.2f} px, 95 % below {far:.2f} px; all animals found in {n_whole} of "
        f"{len(frames)} frames ({n_lost} lost, {sum(frame.n_surplus for frame in frames)} surplus)."
    )


def _by_frame(labels: sio.Labels) -> dict[int, NDArray[np.float32]]:
    import numpy as np

    n_nodes = len(labels.skeletons[0].nodes)
    return {
        int(frame.frame_idx): np.array([pose.numpy() for pose in frame.instances], np.float32).reshape(-1, n_nodes, 2)
        for frame in labels
    }
