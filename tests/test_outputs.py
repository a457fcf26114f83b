from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sleap_infer import Outputs
from sleap_infer.errors import ImageError, OutputError
from sleap_infer.model.spec import SkeletonSpec

NAN = np.nan


@pytest.fixture
def outputs() -> Outputs:
    return Outputs(
        pred_keypoints=np.array([[[10, 10], [30, 10]], [[NAN, NAN], [NAN, NAN]], [[5, 40], [NAN, NAN]]], np.float32),
        pred_peak_values=np.array([[1, 0.5], [NAN, NAN], [0.3, NAN]], np.float32),
        instance_scores=np.array([1.5, NAN, 0.3], np.float32),
        original_image=np.zeros((1, 50, 60), np.uint8),
        skeleton=SkeletonSpec(("a", "b"), (("a", "b"),)),
        frame_idx=7,
    )


def test_rows_without_points_are_not_there(outputs: Outputs) -> None:
    assert len(outputs) == 3
    assert outputs.n_instances == 2
    assert outputs.present().tolist() == [True, False, True]


@pytest.mark.parametrize("empty", [Outputs(), Outputs(pred_keypoints=np.zeros((0, 2, 2))), Outputs(failure="gone")])
def test_nothing_is_no_instance(empty: Outputs) -> None:
    assert empty.n_instances == 0
    assert empty.present().shape == (0,)


def test_select_takes_rows_and_leaves_images(outputs: Outputs) -> None:
    chosen = outputs.select(np.array([2, 0]))
    assert chosen.instance_scores.tolist() == pytest.approx([0.3, 1.5])
    assert chosen.pred_keypoints.shape == (2, 2, 2)
    assert chosen.original_image is outputs.original_image
    assert len(outputs) == 3


def test_to_torch_and_back(outputs: Outputs) -> None:
    torch = pytest.importorskip("torch")
    moved = outputs.to("cpu")
    assert isinstance(moved.pred_keypoints, torch.Tensor)
    assert moved.n_instances == 2
    back = moved.numpy()
    np.testing.assert_array_equal(back.pred_keypoints, outputs.pred_keypoints)
    assert isinstance(back.original_image, np.ndarray)
    assert (back.device, back.frame_idx) == ("cpu", 7)


def test_as_dict_has_every_field(outputs: Outputs) -> None:
    fields = outputs.as_dict()
    assert fields["frame_idx"] == 7
    assert fields["pred_confmaps"] is None
    assert {"original_image", "processed_image", "pred_raw_keypoints", "pred_pafs", "pred_raw_centroids"} <= set(fields)


def test_repr_shows_shapes_not_pixels(outputs: Outputs) -> None:
    assert "pred_keypoints=(3, 2, 2)" in repr(outputs)
    assert len(repr(outputs)) < 700


def test_plot_draws_points_and_edges(outputs: Outputs, tmp_path: Path) -> None:
    picture = outputs.plot(path=tmp_path / "poses.png", scale=2)
    assert picture.shape == (100, 120, 3)
    coloured = picture.max(axis=2) > 0
    assert coloured[20:22, 20:60].any(axis=0).all(), "the edge from (10, 10) to (30, 10)"
    assert coloured[80, 10]
    assert not coloured[60:70].any()
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "poses.png"))[..., ::-1], picture)


def test_plot_of_colour_and_float_images_and_centroids(outputs: Outputs) -> None:
    for image in (np.ones((50, 60, 3), np.float32), np.zeros((3, 50, 60), np.uint8), np.zeros((50, 60), np.uint8)):
        assert outputs.plot(image).shape == (50, 60, 3)
    centroids = Outputs(pred_centroids=np.array([[8.0, 9.0]], np.float32))
    assert centroids.plot(np.zeros((20, 20), np.uint8))[9, 8].any()
    assert not Outputs().plot(np.zeros((20, 20), np.uint8)).any()


def test_points_far_outside_do_no_harm() -> None:
    far = Outputs(pred_keypoints=np.array([[[1e9, -1e9], [5, 5]]], np.float32), skeleton=SkeletonSpec(("a", "b")))
    assert far.plot(np.zeros((20, 20), np.uint8))[5, 5].any()


def test_plot_says_what_is_missing(outputs: Outputs, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="return_images=True"):
        Outputs().plot()
    with pytest.raises(OutputError, match=r"\.png"):
        outputs.plot(path=tmp_path / "poses.nonsense")
    with pytest.raises(OutputError, match="folder"):
        outputs.plot(path=tmp_path / "nowhere" / "poses.png")
