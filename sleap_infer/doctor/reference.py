"""Frames with known poses, the reference for backends and readers.

`training/make_doctor_assets.py` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.poses.compare import compare_poses
from sleap_infer.runners.registry import find_facts

ASSETS = Path(__file__).resolve().parents[1] / "assets"
EXPORTED = ASSETS / "doctor"
POINTS, FRAMES = EXPORTED / "reference.json", EXPORTED / "frames.npz"

MATCHING_RADIUS_PX = 20.0
"""Matching radius of instances in pixels."""


@frozen
class Reference:
    """Frames and their poses.

    Attributes:
        model: name of the trained model among the assets, from which the exported one was made.
        video: name of the video.
        frame_inds: indices of the frames in the video.
        images: (B, H, W, 1) uint8, the frames.
        poses: (I, N, 2) points of each frame in pixels.
    """

    model: str
    video: str
    frame_inds: tuple[int, ...]
    images: NDArray[np.uint8]
    poses: tuple[NDArray[np.float32], ...]

    @classmethod
    def read(cls) -> Reference:
        """Read it from the assets."""
        known = json.loads(POINTS.read_text(encoding="utf-8"))
        with np.load(FRAMES) as arrays:
            images = arrays["images"]
        poses = tuple(np.array(frame, np.float32) for frame in known["poses"])
        return cls(known["model"], known["video"], tuple(known["frame_inds"]), images, poses)

    @property
    def video_path(self) -> Path:
        """Path of the video."""
        return ASSETS / "videos" / self.video

    def model_path(self, backend: str) -> Path:
        """Return the path of the model that a backend runs."""
        return EXPORTED if find_facts(backend).runs_exports else ASSETS / "models" / self.model

    def compare(self, found: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
        """Compare poses: largest distance in pixels, number of missed points and false positives."""
        frames = [compare_poses(here, there, MATCHING_RADIUS_PX) for here, there in zip(found, self.poses, strict=True)]
        distances = np.concatenate([frame.distances for frame in frames])
        n_expected, n_found = _n_points(self.poses), _n_points(found)
        return {
            "agreement": float(distances.max()) if len(distances) else None,
            "n_wrong": n_expected + n_found - 2 * len(distances),
            "n_points": n_expected,
        }


def _n_points(poses: Iterable[NDArray[np.float32]]) -> int:
    return sum(int(np.isfinite(frame[..., 0]).sum()) for frame in poses)
