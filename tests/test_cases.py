"""Odd inputs that once gave wrong results, with the right outcome, on every backend that runs on a CPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer import Predictor
from sleap_infer.errors import UnsupportedModelError

BACKENDS = ("torch", "onnx", "mnn", "openvino")

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def points(predictor: Predictor, source: object, frames: object = None) -> list[np.ndarray]:
    """Poses (I, N, 2) of each frame."""
    found = predictor.predict(source, as_labels=False, frames=frames)
    assert [outputs.failure for outputs in found] == [None] * len(found)
    return [np.asarray(outputs.pred_keypoints)[outputs.present()] for outputs in found]


def with_config(weights: Path, config: Path, to: Path) -> Path:
    to.mkdir()
    shutil.copy(weights, to / "best.ckpt")
    shutil.copy(config, to / "training_config.yaml")
    return to


def test_a_scaled_legacy_model_finds_what_was_labelled(cases: Path, backend: str) -> None:
    """Within 1.5 px per axis of the labels, SLEAP's own tolerance; `crop_size` counts pixels after scaling."""
    labels = cases / "legacy_frame.slp"
    expected = np.stack([instance.numpy() for instance in sio.load_slp(str(labels))[0].instances])
    with Predictor.from_model_paths(cases / "legacy_scaled_centered_instance", backend=backend) as predictor:
        (found,) = points(predictor, labels)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.5)


def test_a_black_first_frame_does_not_make_a_video_gray(cases: Path, corpus: Path, backend: str) -> None:
    with Predictor.from_model_paths(corpus / "models" / "unet_rgb", backend=backend, peak_threshold=0.0) as predictor:
        plain, black = (
            predictor.predict(cases / f"colour_{name}.mp4", as_labels=False, frames=range(1, 40, 8))
            for name in ("plain", "with_black_first_frame")
        )
    for one, other in zip(plain, black, strict=True):
        # The files were compressed apart, so that values differ a little. Read as gray, poses are 186 px off.
        np.testing.assert_allclose(one.pred_peak_values, other.pred_peak_values, atol=0.05)


def test_channels_first_is_read_as_channels_last(cases: Path, corpus: Path, backend: str) -> None:
    paths = [corpus / "models" / f"minimal_instance_{kind}" for kind in ("centroid", "centered_instance")]
    with Predictor.from_model_paths(paths, backend=backend) as predictor:
        first, last = (points(predictor, cases / f"channels_{name}.h5") for name in ("first", "last"))
    assert len(first) == len(last) == 6
    assert all(len(poses) == 2 for poses in last)
    for one, other in zip(first, last, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bounding_box_crops_are_refused(cases: Path, corpus: Path, backend: str, tmp_path: Path) -> None:
    weights = corpus / "models" / "minimal_instance_centered_instance" / "best.ckpt"
    model = with_config(weights, cases / "crop_mode_bbox.training_config.yaml", tmp_path / "bbox")
    with pytest.raises(UnsupportedModelError, match="crop_mode"):
        Predictor.from_model_paths([corpus / "models" / "minimal_instance_centroid", model], backend=backend)


def test_labels_with_two_skeletons_lose_no_instance(cases: Path, corpus: Path, backend: str) -> None:
    model = corpus / "models" / "minimal_instance_centered_instance"
    with Predictor.from_model_paths(model, backend=backend) as predictor:
        for name in ("two_skeletons", "nodes_renamed"):
            one, other = points(predictor, cases / f"{name}.slp")
            assert one.shape == other.shape == (1, 2, 2), name
