"""Makes everything under `sleap_infer/assets`: videos with known truth, and one model of each kind.

python training/make_assets.py            # all of it, about an hour on two cores
python training/make_assets.py videos     # only the videos
python training/make_assets.py centroid   # only one model
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import av
import numpy as np
import sleap_io as sio
import torch
from attrs import evolve
from scene import CLASSES, EDGES, NODES, SYMMETRIES, Arena, walk
from train import Recipe, train

ASSETS = Path(__file__).resolve().parents[1] / "sleap_infer" / "assets"
SEED = 2026
FPS = 15

VIDEOS: dict[str, tuple[Arena, int]] = {
    "two_flies": (Arena(), 100),
    "two_flies_rgb": (Arena(colour=True), 40),
    "two_flies_large": (Arena(height=240, width=320, zoom=1.6), 40),
    "one_fly": (Arena(colour=True, n_flies=1), 40),
}
RECIPES: dict[str, Recipe] = {
    "single_instance": Recipe("single_instance", filters=8, colour=True),
    "centroid": Recipe("centroid", filters=8, scale=0.5, steps=2000),
    "centered_instance": Recipe("centered_instance", filters=10, batch=16),
    "bottomup": Recipe("bottomup", filters=12, steps=3500),
    "multi_class_bottomup": Recipe("multi_class_bottomup", filters=12, steps=1500, second_stride=2),
    "multi_class_topdown": Recipe("multi_class_topdown", filters=10, batch=16, up_interpolate=False, steps=1500),
}


def make_video(name: str, arena: Arena, n_frames: int, seed: int) -> None:
    """Write `name.mp4` and its truth, `name.truth.slp`, with a track per fly named after its class."""
    rng = np.random.default_rng(seed)
    path = ASSETS / "videos" / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = walk(arena, n_frames, rng)
    write_mp4(path, [arena.draw(flies, rng) for flies in frames])
    skeleton = sio.Skeleton(list(NODES), list(EDGES), [list(pair) for pair in SYMMETRIES], name="fly")
    tracks = [sio.Track(label) for label in CLASSES]
    video = sio.Video(filename=path.name, open_backend=False)
    video.backend_metadata["shape"] = (n_frames, arena.height, arena.width, 3 if arena.colour else 1)
    labelled = [
        sio.LabeledFrame(
            video=video,
            frame_idx=i,
            instances=[
                sio.Instance.from_numpy(fly.points(arena.zoom), skeleton=skeleton, track=tracks[fly.label])
                for fly in flies
            ],
        )
        for i, flies in enumerate(frames)
    ]
    labels = sio.Labels(labelled, videos=[video], skeletons=[skeleton], tracks=tracks)
    labels.provenance = {"made_by": "training/make_assets.py", "seed": seed}
    labels.save(str(path.with_suffix(".truth.slp")), embed=False)


def write_mp4(path: Path, images: list[np.ndarray]) -> None:
    """Encode (H, W, C) uint8 images as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryslow", "g": "25"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.repeat(image, 4 - image.shape[2], axis=2)[..., :3], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main(wanted: list[str]) -> None:
    """Make all assets, or the named ones."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(2)
    for offset, (name, (arena, n_frames)) in enumerate(VIDEOS.items()):
        if not wanted or "videos" in wanted:
            make_video(name, arena, n_frames, SEED + offset)
    for offset, (name, recipe) in enumerate(RECIPES.items()):
        if not wanted or name in wanted or "quick" in wanted:
            recipe = evolve(recipe, steps=20) if "quick" in wanted else recipe
            train(recipe, ASSETS / "models" / name, SEED + 100 + offset)


if __name__ == "__main__":
    main(sys.argv[1:])
