"""The models that the package ships are good: measured against the known truth of videos they were not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer import Predictor
from sleap_infer.cli.demo import measure
from sleap_infer.poses.compare import MATCHING_RADIUS_PX
from sleap_infer.poses.labels import save_labels

CASES = [
    (("single_instance",), "one_fly"),
    (("centroid", "centered_instance"), "two_flies"),
    (("centroid", "centered_instance"), "two_flies_rgb"),
    (("centroid", "centered_instance"), "two_flies_large"),
    (("bottomup",), "two_flies"),
    (("multi_class_bottomup",), "two_flies"),
    (("centroid", "multi_class_topdown"), "two_flies"),
]


@pytest.mark.parametrize(("names", "video"), CASES, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_median_error_below_a_pixel_and_nobody_lost(
    names: tuple[str, ...], video: str, models: Path, videos: Path, tmp_path: Path
) -> None:
    with Predictor.from_model_paths([models / name for name in names], device="cpu") as predictor:
        labels = predictor.predict(videos / f"{video}.mp4")
    found = measure(save_labels(labels, tmp_path / "poses.slp"), videos / f"{video}.truth.slp")
    assert found.percentile(50) < 1
    assert np.mean([not frame.n_missed for frame in found.frames]) >= 0.95
    if "multi_class" in names[-1]:
        assert share_of_right_names(labels, videos / f"{video}.truth.slp") >= 0.9


def share_of_right_names(labels: sio.Labels, truth: Path) -> float:
    expected = sio.load_slp(str(truth), open_videos=False)
    right = []
    for frame, same in zip(labels, expected, strict=True):
        for instance in frame:
            distances = [np.nanmean(np.linalg.norm(instance.numpy() - other.numpy(), axis=1)) for other in same]
            if min(distances) < MATCHING_RADIUS_PX:
                right.append(
                    instance.track is not None and instance.track.name == same[int(np.argmin(distances))].track.name
                )
    return float(np.mean(right))


def test_assets_are_small() -> None:
    from sleap_infer.cli.demo import ASSETS

    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 5 * 2**20
