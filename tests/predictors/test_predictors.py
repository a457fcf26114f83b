"""What predictors do around the networks: sources of all kinds, failures, streams, labels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

import sleap_infer
from sleap_infer import Predictor
from sleap_infer.errors import (
    FrameReadError,
    ModelCombinationError,
    OptionError,
    OutputError,
    OutputExistsError,
    SourceNotFoundError,
)
from sleap_infer.poses.labels import save_labels

TOPDOWN = ("centroid", "centered_instance")


def predictor(models: Path, *names: str, **options: object) -> Predictor:
    return Predictor.from_model_paths([models / name for name in names], device="cpu", **options)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sleap_infer")]


@pytest.fixture
def truth(videos: Path) -> sio.Labels:
    """Labels of two flies, their video found."""
    labels = sio.load_slp(str(videos / "two_flies.truth.slp"), open_videos=False)
    labels.replace_filenames(new_filenames=[str(videos / "two_flies.mp4")])
    return labels


@pytest.fixture
def damaged(videos: Path, tmp_path: Path) -> Path:
    """Five images, of which the third is damaged."""
    video = sio.load_video(str(videos / "two_flies.mp4"))
    import cv2

    for index in range(5):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), video[index])
    (tmp_path / "frame2.png").write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "class_name"),
    [
        (("single_instance",), "SingleInstancePredictor"),
        (("centroid",), "CentroidPredictor"),
        (("centered_instance",), "CenteredInstancePredictor"),
        (("bottomup",), "BottomUpPredictor"),
        (TOPDOWN, "TopDownPredictor"),
        (TOPDOWN[::-1], "TopDownPredictor"),
        (("multi_class_bottomup",), "MultiClassBottomUpPredictor"),
        (("multi_class_topdown", "centroid"), "MultiClassTopDownPredictor"),
    ],
)
def test_models_find_their_class(names: tuple[str, ...], class_name: str, models: Path) -> None:
    wanted = getattr(sleap_infer, class_name)
    assert type(predictor(models, *names)) is wanted
    assert type(wanted.from_model_paths([models / name for name in names], device="cpu")) is wanted
    other = sleap_infer.BottomUpPredictor if "bottomup" not in names else sleap_infer.CentroidPredictor
    with pytest.raises(ModelCombinationError, match=class_name):
        other.from_model_paths([models / name for name in names], device="cpu")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("bottomup", "bottomup"), "two models are of one kind"),
        (("bottomup", "centroid"), "do not make"),
        ((), "No model"),
    ],
)
def test_models_that_do_not_go_together(names: tuple[str, ...], found: str, models: Path) -> None:
    with pytest.raises(ModelCombinationError, match=f"(?i){found}"):
        predictor(models, *names)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"nothing": 1}, "Unknown option 'nothing'"),
        ({"crop_size": 8}, "no effect on a bottomup"),
        ({"backend": "x"}, "no backend"),
    ],
)
def test_wrong_options(options: dict[str, object], found: str, models: Path) -> None:
    with pytest.raises(OptionError, match=found):
        predictor(models, "bottomup", **options)


def test_a_model_of_crops_needs_to_know_where(models: Path, videos: Path) -> None:
    with pytest.raises(ModelCombinationError, match="Add a centroid model"):
        predictor(models, "centered_instance").predict(videos / "two_flies.mp4")


def test_known_instances_are_cropped_around_their_anchor(models: Path, truth: sio.Labels) -> None:
    alone = predictor(models, "centered_instance").predict(truth, as_labels=False, frames=[0, 3])
    assert [out.frame_idx for out in alone] == [0, 3]
    for out in alone:
        frame = truth[out.frame_idx]
        expected = np.array([instance.numpy() for instance in frame.instances])
        np.testing.assert_array_equal(out.pred_centroids, expected[:, 1].astype(np.float32))
        assert out.instance_scores.tolist() == [1.0, 1.0]
        assert np.abs(out.pred_keypoints - expected).max() < 4
    with pytest.raises(OptionError, match="not a node"):
        predictor(models, "centered_instance", anchor_part="tail")


def test_labels_without_instances_give_empty_frames(models: Path, truth: sio.Labels) -> None:
    truth.labeled_frames[1].instances = []
    labels = predictor(models, "centered_instance").predict(truth, frames=[0, 1])
    assert [len(frame) for frame in labels] == [2, 0]


def test_sources_give_the_same(models: Path, videos: Path, truth: sio.Labels) -> None:
    path = videos / "two_flies.mp4"
    video = sio.load_video(str(path))
    frames = video[0:6]
    run = predictor(models, *TOPDOWN)
    expected = [out.pred_keypoints for out in run.predict(path, as_labels=False, frames=range(6))]
    some = range(6)
    sources = [(path, some), (str(path), some), (video, some), (truth, some), (frames, None), (frames[..., 0], None)]
    for source, wanted in sources:
        found = run.predict(source, as_labels=False, frames=wanted)
        for out, points in zip(found, expected, strict=True):
            np.testing.assert_allclose(out.pred_keypoints, points, atol=1e-3)


def test_several_videos_make_one_result(models: Path, videos: Path) -> None:
    sources = [videos / "two_flies.mp4", videos / "two_flies_large.mp4", videos / "two_flies_rgb.mp4"]
    labels = predictor(models, *TOPDOWN, batch_size=3).predict(sources, frames=[0, 5])
    assert [Path(video.filename).name for video in labels.videos] == [path.name for path in sources]
    assert [(labels.videos.index(frame.video), frame.frame_idx) for frame in labels] == [
        (video, index) for video in range(3) for index in (0, 5)
    ]
    assert all(len(frame) == 2 for frame in labels)


def test_a_frame_that_cannot_be_read_keeps_its_place(models: Path, damaged: Path) -> None:
    run = predictor(models, *TOPDOWN)
    outputs = run.predict(damaged, as_labels=False)
    assert [out.failure is not None for out in outputs] == [False, False, True, False, False]
    assert "frame2.png" in (outputs[2].failure or "")
    assert [out.n_instances for out in outputs] == [2, 2, 0, 2, 2]
    labels = run.predict(damaged)
    assert [frame.frame_idx for frame in labels] == [0, 1, 2, 3, 4]
    assert labels.provenance["frame_selection"] == {"frames_processed": 5, "frames_failed": 1}
    assert "frame2.png" in labels.provenance["failures"][0]
    with pytest.raises(FrameReadError, match=r"frame2\.png"):
        predictor(models, *TOPDOWN, on_frame_error="raise").predict(damaged)


@pytest.mark.parametrize("names", [("bottomup",), TOPDOWN])
def test_a_source_of_failures_only(names: tuple[str, ...], models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (outputs,) = predictor(models, *names).predict(tmp_path, as_labels=False)
    assert outputs.failure
    assert len(outputs) == 0


@pytest.mark.parametrize("names", [("bottomup",), ("centroid",), TOPDOWN, ("centroid", "multi_class_topdown")])
def test_nobody_there(names: tuple[str, ...], models: Path) -> None:
    gray = np.full((3, 192, 192), 150, np.uint8)
    labels = predictor(models, *names).predict(gray)
    assert [len(frame) for frame in labels] == [0, 0, 0]


def test_streams_can_be_left(models: Path, videos: Path) -> None:
    run = predictor(models, "bottomup")
    stream = run.stream(videos / "two_flies.mp4")
    assert next(stream).frame_idx == 0
    assert threading.active_count() > 1
    stream.close()


def test_errors_of_a_network_surface(models: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = predictor(models, "bottomup")

    def break_down(_images: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(run.runners[0], "_work", break_down)
    with pytest.raises(MemoryError, match="no room"):
        run.predict(videos / "two_flies.mp4")


def test_missing_sources_are_errors_before_anything_runs(models: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        predictor(models, "bottomup").predict("nowhere.mp4")


def test_heavy_things_of_crops(models: Path, videos: Path) -> None:
    run = predictor(models, *TOPDOWN, return_confmaps=True, return_images=True)
    (out,) = run.predict(videos / "two_flies_large.mp4", as_labels=False, frames=[2])
    assert out.pred_confmaps.shape == (2, 5, 40, 40)
    assert out.original_image.shape == (1, 240, 320)
    assert out.processed_image.shape == (1, 96, 96)


def test_labels_are_what_sleap_expects(models: Path, videos: Path, tmp_path: Path) -> None:
    run = predictor(models, "centroid", "multi_class_topdown", peak_threshold=(0.3, 0.1))
    labels = run.predict(videos / "two_flies.mp4", frames=range(4))
    path = save_labels(labels, tmp_path / "poses.slp")
    back = sio.load_slp(str(path))
    assert back.skeletons[0].node_names == ["head", "thorax", "abdomen", "wing_left", "wing_right"]
    assert len(back.skeletons[0].edges) == 4
    assert {track.name for track in back.tracks} <= {"female", "male"}
    assert back.video.shape == (100, 192, 192, 1)
    assert back.provenance["model_type"] == "multi_class_topdown"
    stages = back.provenance["inference_config"]["stages"]
    assert [stage["peaks"]["peak_threshold"] for stage in stages] == [0.3, 0.1]
    for frame, same in zip(labels, back, strict=True):
        np.testing.assert_allclose(frame.numpy(), same.numpy(), atol=1e-4)
        for instance in same:
            assert 0 < instance.score <= 1.5
            assert 0 <= instance.tracking_score <= 1
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_centroids_are_written_on_a_skeleton_of_one_node(models: Path, videos: Path) -> None:
    labels = predictor(models, "centroid").predict(videos / "two_flies.mp4", frames=[0])
    assert labels.skeletons[0].node_names == ["centroid"]
    assert labels[0].instances[0].numpy().shape == (1, 2)


def test_output_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "poses.slp"
    save_labels(sio.Labels(), path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        save_labels(sio.Labels(), path)
    assert path.read_bytes() == before
    save_labels(sio.Labels(), path, overwrite=True)
    with pytest.raises(OutputError, match="there is no folder"):
        save_labels(sio.Labels(), tmp_path / "nowhere" / "poses.slp")
    with pytest.raises(OutputError, match=r"\.slp"):
        save_labels(sio.Labels(), tmp_path / "poses.csv")
