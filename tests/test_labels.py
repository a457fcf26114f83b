"""Outputs become labels, and labels files, instance by instance as sleap-io would make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer import Outputs, open_source, save_labels
from sleap_infer.config.options import FilterOptions, ReturnOptions, StreamOptions
from sleap_infer.model.settings import ImageSettings, PipelineSettings, StageSettings
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, UNetSpec
from sleap_infer.poses import labels as labels_module
from sleap_infer.poses.labels import LabelsBuilder

NAN = np.float32(np.nan)
SKELETON = SkeletonSpec(("a", "b", "c"), (("a", "b"), ("b", "c")))
N_FRAMES = 10


def make_builder(kind: str, skeleton: SkeletonSpec = SKELETON) -> LabelsBuilder:
    spec = ModelSpec(kind, skeleton, UNetSpec(), heads=(), classes=("f", "m"))
    stages = (StageSettings(kind),)
    return LabelsBuilder(
        spec, PipelineSettings(kind, ImageSettings(), stages, FilterOptions(), ReturnOptions(), StreamOptions()), {}
    )


def build(builder: LabelsBuilder, frames: list[Outputs]) -> sio.Labels:
    for outputs in frames:
        builder.add(outputs)
    with open_source(np.zeros((N_FRAMES, 8, 8), np.uint8)) as source:
        return builder.build(source)


def frame(number: int, **fields: object) -> Outputs:
    """Two animals with points missing here and there, and a row of nobody."""
    dice = np.random.default_rng(number)
    points, values = dice.random((3, 3, 2)).astype(np.float32) * 90, dice.random((3, 3)).astype(np.float32)
    points[0, number % 3] = points[2] = values[2] = NAN
    scores = dice.random(3).astype(np.float32)
    return Outputs(
        pred_keypoints=points,
        pred_peak_values=values,
        instance_scores=scores,
        frame_idx=number,
        video_idx=0,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture(params=[1, 3, 256])
def _at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "FRAMES_AT_ONCE", request.param)


def assert_same(found: sio.PredictedInstance, expected: sio.PredictedInstance) -> None:
    assert type(found) is type(expected)
    assert type(found.points) is type(expected.points)
    assert found.points.dtype == expected.points.dtype
    for name in ("xy", "score", "visible", "complete", "name"):
        np.testing.assert_array_equal(found.points[name], expected.points[name], strict=True)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert found.skeleton is expected.skeleton
    assert found.track is expected.track
    for name in ("score", "tracking_score"):
        assert getattr(found, name) == getattr(expected, name)
        assert type(getattr(found, name)) is type(getattr(expected, name))


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("with_classes", [False, True])
def test_instances_are_those_that_sleap_io_makes_of_each_row(with_classes: bool) -> None:
    classes = {
        "pred_classes": np.array([1, -1, 0]),
        "instance_tracking_scores": np.array([0.75, NAN, 0.25], np.float32),
    }
    frames = [frame(number, **(classes if with_classes else {})) for number in range(N_FRAMES)]
    labels = build(make_builder("multi_class_bottomup" if with_classes else "bottomup"), frames)
    assert [track.name for track in labels.tracks] == (["m"] if with_classes else [])
    assert [lf.frame_idx for lf in labels] == list(range(N_FRAMES))
    for outputs, labelled in zip(frames, labels, strict=True):
        assert len(labelled.instances) == 2, "the row of nobody is left out"
        for row, found in enumerate(labelled.instances):
            expected = sio.PredictedInstance.from_numpy(
                points_data=outputs.pred_keypoints[row],
                point_scores=outputs.pred_peak_values[row],
                score=float(outputs.instance_scores[row]),
                skeleton=labels.skeletons[0],
                track=labels.tracks[0] if with_classes and row == 0 else None,
                tracking_score=0.75 if with_classes and row == 0 else None,
            )
            assert_same(found, expected)


@pytest.mark.usefixtures("_at_once")
def test_a_file_has_what_the_outputs_have(tmp_path: Path) -> None:
    frames = [frame(number) for number in range(N_FRAMES)]
    frames[4] = Outputs(failure="damaged", frame_idx=4, video_idx=0)
    frames[5] = frames[5].select(np.array([], int))
    frames[9] = frames[9].select(np.array([2]))
    builder = make_builder("bottomup")
    path = save_labels(build(builder, frames), tmp_path / "poses.slp")
    assert builder.n_failures == 1
    loaded = sio.load_slp(str(path), open_videos=False)
    assert [(lf.frame_idx, len(lf)) for lf in loaded] == [(n, 0 if n in (4, 5, 9) else 2) for n in range(N_FRAMES)]
    assert loaded.provenance["failures"] == ["video 0, damaged"]
    for outputs, labelled in zip(frames, loaded, strict=True):
        for row, instance in enumerate(labelled.instances):
            np.testing.assert_array_equal(instance.numpy(), outputs.pred_keypoints[row])
            np.testing.assert_array_equal(instance.points["score"], outputs.pred_peak_values[row])
            assert instance.points["name"].tolist() == ["a", "b", "c"]
            assert instance.score == outputs.instance_scores[row]


def test_tracks_stand_in_the_order_in_which_they_occur(tmp_path: Path) -> None:
    frames = [
        frame(number, pred_classes=np.array(classes), instance_tracking_scores=np.array([0.5, 0.25, 0], np.float32))
        for number, classes in enumerate(([-1, 1, 0], [0, 1, -1]))
    ]
    labels = build(make_builder("multi_class_topdown"), frames)
    assert [track.name for track in labels.tracks] == ["m", "f"]
    found = [[instance.track and instance.track.name for instance in lf] for lf in labels]
    assert found == [[None, "m"], ["f", "m"]]
    loaded = sio.load_slp(str(save_labels(labels, tmp_path / "poses.slp")), open_videos=False)
    assert [[instance.track and instance.track.name for instance in lf] for lf in loaded] == found
    assert [instance.tracking_score for instance in loaded[1]] == [0.5, 0.25]


@pytest.mark.parametrize(("skeleton", "name"), [(SKELETON, "centroid"), (SkeletonSpec(("body",)), "body")])
def test_centroids_are_instances_of_one_point(skeleton: SkeletonSpec, name: str) -> None:
    points = np.array([[10, 20], [30.5, 40]], np.float32)
    values = np.array([0.5, 0.75], np.float32)
    centroids = Outputs(pred_centroids=points, pred_centroid_values=values, instance_scores=values, frame_idx=3)
    labels = build(make_builder("centroid", skeleton), [centroids])
    assert labels.skeletons[0].node_names == [name]
    assert [instance.numpy().tolist() for instance in labels[0]] == [[[10, 20]], [[30.5, 40]]]
    assert [instance.points["score"].tolist() for instance in labels[0]] == [[0.5], [0.75]]
    assert [instance.score for instance in labels[0]] == [0.5, 0.75]


def test_instances_do_not_share_points() -> None:
    labels = build(make_builder("bottomup"), [frame(0), frame(1)])
    first, second = labels[0].instances[:2]
    before = second.numpy()
    first.points["xy"] = 0
    np.testing.assert_array_equal(second.numpy(), before)


def test_tensors_are_taken_too() -> None:
    pytest.importorskip("torch")
    found = build(make_builder("bottomup"), [frame(0).to("cpu")])
    expected = build(make_builder("bottomup"), [frame(0)])
    for ours, theirs in zip(found[0].instances, expected[0].instances, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert ours.score == theirs.score
