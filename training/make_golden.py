"""Makes the reference numbers of the repository's own models: what sleap-nn itself predicts with them.

    python training/make_golden.py sleap-nn            # the command of an environment that has sleap-nn
    python training/make_golden.py sleap-nn topdown    # only the cases whose name begins so

sleap-nn is run as it is, in its own environment, on the CPU. Each case becomes `tests/golden/<case>.npz` with
`pred_keypoints` (frames, I, N, 2), `pred_peak_values` (frames, I, N), `instance_scores` and `instance_tracking_scores`
(frames, I), NaN where a frame has fewer instances, and `tracks` (frames, I), the names of classes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sleap_io as sio

REPOSITORY = Path(__file__).resolve().parents[1]
ASSETS = REPOSITORY / "sleap_infer" / "assets"
GOLDEN = REPOSITORY / "tests" / "golden"
N_FRAMES = 12

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "single_instance": ("one_fly", ("single_instance",)),
    "single_instance_gray": ("two_flies", ("single_instance",)),
    "centroid": ("two_flies", ("centroid",)),
    "centroid_large": ("two_flies_large", ("centroid",)),
    "topdown": ("two_flies", ("centroid", "centered_instance")),
    "topdown_rgb": ("two_flies_rgb", ("centroid", "centered_instance")),
    "topdown_large": ("two_flies_large", ("centroid", "centered_instance")),
    "bottomup": ("two_flies", ("bottomup",)),
    "bottomup_rgb": ("two_flies_rgb", ("bottomup",)),
    "bottomup_large": ("two_flies_large", ("bottomup",)),
    "multi_class_bottomup": ("two_flies", ("multi_class_bottomup",)),
    "multi_class_bottomup_large": ("two_flies_large", ("multi_class_bottomup",)),
    "multi_class_topdown": ("two_flies", ("centroid", "multi_class_topdown")),
    "multi_class_topdown_rgb": ("two_flies_rgb", ("centroid", "multi_class_topdown")),
}
"""Name: video and models."""


def main(command: str, wanted: str = "") -> None:
    """Make the cases whose name begins with `wanted`."""
    GOLDEN.mkdir(exist_ok=True)
    for name, (video, models) in CASES.items():
        if name.startswith(wanted):
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "out.slp"
                arguments = [command, "predict", "--data_path", str(ASSETS / "videos" / f"{video}.mp4")]
                for model in models:
                    arguments += ["-m", str(ASSETS / "models" / model)]
                arguments += ["--frames", f"0-{N_FRAMES - 1}", "-o", str(output), "--device", "cpu"]
                subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
                arrays = read(output)
            np.savez_compressed(GOLDEN / f"{name}.npz", **arrays)
            print(name, arrays["pred_keypoints"].shape, f"{np.isfinite(arrays['instance_scores']).sum()} instances")


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a `.slp` file as padded arrays, in the order of the instances in it."""
    labels = sio.load_slp(str(path), open_videos=False)
    frames = {int(frame.frame_idx): list(frame.instances) for frame in labels}
    most = max(len(instances) for instances in frames.values())
    n_nodes = len(labels.skeletons[0].nodes)
    arrays = {
        "pred_keypoints": np.full((N_FRAMES, most, n_nodes, 2), np.nan),
        "pred_peak_values": np.full((N_FRAMES, most, n_nodes), np.nan),
        "instance_scores": np.full((N_FRAMES, most), np.nan),
        "instance_tracking_scores": np.full((N_FRAMES, most), np.nan),
    }
    tracks = np.full((N_FRAMES, most), "", dtype="U32")
    for index, instances in frames.items():
        for row, instance in enumerate(instances):
            arrays["pred_keypoints"][index, row] = instance.numpy()
            arrays["pred_peak_values"][index, row] = instance.points["score"]
            arrays["instance_scores"][index, row] = instance.score
            if instance.track is not None:
                tracks[index, row] = instance.track.name
                arrays["instance_tracking_scores"][index, row] = instance.tracking_score
    return {**arrays, "tracks": tracks}


if __name__ == "__main__":
    main(*sys.argv[1:])
