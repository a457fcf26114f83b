"""The repository's own models give what sleap-nn gives with them; numbers by `training/make_golden.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sleap_infer import Predictor

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN.parents[1] / "training"))

from make_golden import CASES, N_FRAMES  # noqa: E402


@pytest.mark.parametrize("batch_size", [1, 4, 7])
@pytest.mark.parametrize("case", CASES)
def test_poses_equal_sleap_nn(case: str, batch_size: int, models: Path, videos: Path) -> None:
    golden = dict(np.load(GOLDEN / f"{case}.npz"))
    video, names = CASES[case]
    with Predictor.from_model_paths(
        [models / name for name in names], batch_size=batch_size, device="cpu"
    ) as predictor:
        labels = predictor.predict(videos / f"{video}.mp4", frames=range(N_FRAMES))
    assert [frame.frame_idx for frame in labels] == list(range(N_FRAMES))
    for index, frame in enumerate(labels):
        expected = ~np.isnan(golden["instance_scores"][index])
        assert len(frame) == expected.sum(), f"frame {index}"
        for row, instance in zip(np.flatnonzero(expected), frame.instances, strict=True):
            for found, wanted, tolerance in (
                (instance.numpy(), golden["pred_keypoints"], 0.01),
                (instance.points["score"], golden["pred_peak_values"], 1e-3),
                (instance.score, golden["instance_scores"], 1e-3),
            ):
                np.testing.assert_allclose(found, wanted[index, row], atol=tolerance, rtol=0)
            assert (instance.track.name if instance.track else "") == golden["tracks"][index, row]
            if instance.track:
                wanted = golden["instance_tracking_scores"][index, row]
                np.testing.assert_allclose(instance.tracking_score, wanted, atol=1e-3)
