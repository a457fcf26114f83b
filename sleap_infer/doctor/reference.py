"""Frames with known poses, the reference for backends and readers.

`training/make_doctor_assets.py` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.poses.compare import compare_frames
from sleap_infer.runners.registry import find_facts

ASSETS = Path(__file__).resolve().parents[1] / "assets"
EXPORTED = ASSETS / "doctor"
POINTS, FRAMES = EXPORTED / "reference.json", EXPORTED / "frames.npz"


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
        compared = compare_frames(found, self.poses)
        return {
            "agreement": compared.percentile(100) if len(compared.distances) else None,
            "n_wrong": compared.n_missed_points + compared.n_false_points,
            "n_points": compared.n_expected_points,
        }
