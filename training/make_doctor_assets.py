"""Makes everything under `sleap_infer/assets/doctor`: an exported model, and frames with the poses that it gives.

python training/make_doctor_assets.py
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import attrs
import numpy as np

from sleap_infer.export import ExportOptions, export
from sleap_infer.frames.readers.av import VideoFileReader
from sleap_infer.graphs.metadata import write_metadata
from sleap_infer.graphs.onnx_file import set_metadata
from sleap_infer.model import ModelSpec
from sleap_infer.model.readers.exported import hash_file, metadata_inside
from sleap_infer.runners.torch.runner import InferenceRunnerTorch

REPOSITORY = Path(__file__).resolve().parents[1]
ASSETS = REPOSITORY / "sleap_infer" / "assets"
PLACE = ASSETS / "doctor"
MODEL, VIDEO = "bottomup", "two_flies.mp4"
FRAME_INDS = (0, 50, 99)
DIGITS = 4


def main() -> None:
    """Make all of it anew."""
    with tempfile.TemporaryDirectory() as folder:
        (made,) = export(ASSETS / "models" / MODEL, Path(folder) / MODEL, ExportOptions(), ASSETS / "videos" / VIDEO)
        without_paths(made.graph, made.spec)
        shutil.rmtree(PLACE, ignore_errors=True)
        shutil.copytree(made.directory, PLACE)
    images = np.stack([image for _, image in VideoFileReader(ASSETS / "videos" / VIDEO).read(FRAME_INDS)])
    np.savez_compressed(PLACE / "frames.npz", images=images)
    with InferenceRunnerTorch.from_model_path(ASSETS / "models" / MODEL, device="cpu") as runner:
        poses = [np.round(found.pred_keypoints.astype(float), DIGITS).tolist() for found in runner.predict(images)]
    known = {"model": MODEL, "video": VIDEO, "frame_inds": FRAME_INDS, "poses": poses}
    (PLACE / "reference.json").write_text(json.dumps(known) + "\n", encoding="utf-8")
    for path in sorted(PLACE.iterdir()):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size / 1000:.0f} kB")


def without_paths(graph: Path, spec: ModelSpec) -> None:
    """Replace paths of this machine by those in the repository, in the graph and beside it."""
    assert spec.exported is not None
    root = f"{REPOSITORY}/"
    facts = attrs.evolve(
        spec.exported,
        source=spec.exported.source.replace(root, ""),
        verdict=spec.exported.verdict.replace(root, ""),
        sha256="",
    )
    set_metadata(graph, metadata_inside(attrs.evolve(spec, exported=facts)))
    facts = attrs.evolve(facts, sha256=hash_file(graph))
    write_metadata(graph.parent, attrs.evolve(spec, exported=facts))


if __name__ == "__main__":
    main()
