"""Exports that sleap-nn itself made of the package's models, against these models run by torch without refinement."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import sleap_io as sio
import yaml
from numpy.typing import NDArray
from typer.testing import CliRunner

from sleap_infer import Outputs, Predictor
from sleap_infer.cli.app import app
from sleap_infer.errors import (
    ExportedModelError,
    ImageError,
    ModelConfigError,
    ModelNotFoundError,
    OptionError,
    UnsupportedModelError,
)
from sleap_infer.model import ModelSpec, SkeletonSpec, read_spec
from sleap_infer.model.readers.exported_spec import spec_from_json, spec_to_json
from sleap_infer.model.readers.sleap_nn_exports.onnx_constants import read_graph_file
from sleap_infer.model.spec import ExportFacts, MapHeadSpec, TrainedPreprocessing, UNetSpec
from sleap_infer.runners import find_runner
from sleap_infer.runners.graph.sleap_nn_exports import undo_quirks

EXPORTS = Path(__file__).resolve().parent / "exports"
BACKENDS = ("onnx", "openvino")
COMBINED = "multi_class_topdown_combined"
Floats = NDArray[np.float32]

SCORE_TOLERANCE = {"bottomup": 0.2}
"""sleap-nn samples connections between cells, we at the nearest: up to 0.055 for each of four."""


@pytest.fixture(scope="session")
def everything() -> Path:
    """Exports of every kind, made by `make_sleap_nn_exports.py`."""
    path = os.environ.get("SLEAP_INFER_FOREIGN_EXPORTS")
    if not path:
        pytest.skip("SLEAP_INFER_FOREIGN_EXPORTS does not name a directory made by make_sleap_nn_exports.py")
    return Path(path)


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a committed export, to be damaged."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(EXPORTS / kind, tmp_path / kind))

    return copy


def points(outputs: Outputs) -> Floats:
    """(I, N, 2), for centroids (I, 1, 2)."""
    found = outputs.pred_keypoints
    return np.asarray(found if found is not None else np.asarray(outputs.pred_centroids)[:, None])


def in_pairs(found: list[Outputs], expected: list[Outputs]) -> list[tuple[Outputs, Outputs]]:
    """Frames with as many instances each, in the same order: that of their first visible coordinates."""
    assert len(found) == len(expected) > 0
    assert sum(outputs.n_instances for outputs in expected) > 0
    pairs = []
    for given, wanted in zip(found, expected, strict=True):
        assert len(given) == len(wanted)
        distance = np.linalg.norm(points(given)[:, None] - points(wanted)[None], axis=-1)
        nearest = np.nan_to_num(distance, nan=0.0).mean(axis=2).argmin(axis=1)
        assert sorted(nearest) == list(range(len(wanted)))
        pairs.append((given, wanted.select(nearest)))
    return pairs


def assert_equal(found: list[Outputs], expected: list[Outputs], score_tolerance: float = 1e-3) -> None:
    """Points within 0.01 px and missing where they are missing, values within 1e-3, classes the same."""
    for given, wanted in in_pairs(found, expected):
        assert not given.capped
        np.testing.assert_allclose(points(given), points(wanted), atol=0.01, rtol=0)
        np.testing.assert_allclose(given.instance_scores, wanted.instance_scores, atol=score_tolerance, rtol=0)
        for name in ("pred_peak_values", "pred_classes", "instance_tracking_scores"):
            a, b = getattr(given, name), getattr(wanted, name)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, atol=1e-3, rtol=0, err_msg=name)


def predict(paths: list[Path], video: Path, backend: str, **options: Any) -> list[Outputs]:
    with Predictor.from_model_paths(paths, backend=backend, device="cpu", **options) as predictor:
        return predictor.predict(video, as_labels=False, frames=range(12))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "video"),
    [
        ("single_instance", "two_flies"),  # gray frames for a graph that takes three channels only
        ("single_instance", "two_flies_rgb"),
        ("single_instance", "two_flies_large"),
        ("bottomup", "two_flies"),
        ("bottomup", "two_flies_rgb"),
    ],
)
def test_poses_are_those_of_torch(kind: str, video: str, backend: str, models: Path, videos: Path) -> None:
    path = videos / f"{video}.mp4"
    expected = predict([models / kind], path, "torch", refinement="none")
    assert_equal(predict([EXPORTS / kind], path, backend), expected, SCORE_TOLERANCE.get(kind, 1e-3))


def test_frames_of_another_size_than_the_traced_one(models: Path, videos: Path) -> None:
    path, given = videos / "two_flies_large.mp4", {"max_height": 240, "max_width": 320}
    expected = predict([models / "single_instance"], path, "torch", refinement="none", **given)
    assert_equal(predict([EXPORTS / "single_instance"], path, "onnx", **given), expected)


def assert_near(found: list[Outputs], expected: list[Outputs], truth: Path) -> None:
    """Two models in one graph: it scales and crops in its own way, which moves peaks by a cell here and there."""
    labels = sio.load_slp(str(truth), open_videos=False)
    differences, errors = [], []
    for number, (given, wanted) in enumerate(in_pairs(found, expected)):
        known = np.stack([instance.numpy() for instance in labels[number].instances])
        if wanted.pred_classes is not None:
            np.testing.assert_array_equal(given.pred_classes, wanted.pred_classes)
        np.testing.assert_allclose(given.instance_scores, wanted.instance_scores, atol=0.2)
        differences.append(points(given) - points(wanted))
        for pose in points(given):
            every = pose - known
            errors.append(every[np.nanmean(np.linalg.norm(every, axis=-1), axis=-1).argmin()])
    difference, error = (np.concatenate(part).reshape(-1, 2) for part in (differences, errors))
    assert np.nanmedian(np.linalg.norm(difference, axis=1)) < 1.0
    assert np.nanmedian(np.linalg.norm(error, axis=1)) < 1.1
    assert np.abs(np.nanmedian(error, axis=0)).max() < 0.4, "a bias; raw it is about one pixel"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("video", ["two_flies", "two_flies_rgb"])
def test_two_models_in_one_graph(video: str, backend: str, models: Path, videos: Path) -> None:
    path = videos / f"{video}.mp4"
    sources = [models / "centroid", models / "multi_class_topdown"]
    expected = predict(sources, path, "torch", refinement="none")
    assert_near(predict([EXPORTS / COMBINED], path, backend), expected, videos / f"{video}.truth.slp")


def sample(image: Floats, columns: Floats, rows: Floats) -> Floats:
    """Bilinear samples (rows, columns) of an image (H, W), 0 outside."""
    image, columns, rows = np.pad(image, 200), columns + 200, rows + 200
    x, y = np.floor(columns).astype(int), np.floor(rows).astype(int)
    right, down = columns - x, (rows - y)[:, None]
    upper = image[y][:, x] * (1 - right) + image[y][:, x + 1] * right
    lower = image[y + 1][:, x] * (1 - right) + image[y + 1][:, x + 1] * right
    return upper * (1 - down) + lower * down


def test_two_models_in_one_graph_are_ours_on_its_own_crops(models: Path, videos: Path) -> None:
    """The same networks on frames scaled, and crops cut, as the graph does it: the same to the last digits."""
    frames = np.stack([np.asarray(frame) for frame in sio.load_video(str(videos / "two_flies.mp4"))[:4]])
    frames = frames[..., 0].astype(np.float32)
    found = find_runner("onnx").from_model_path(EXPORTS / COMBINED).infer(frames[:, None].astype(np.uint8))
    given = {"device": "cpu", "refinement": "none"}
    finder = find_runner("torch").from_model_path(models / "centroid", **given)
    looker = find_runner("torch").from_model_path(models / "multi_class_topdown", **given)
    half = frames.reshape(4, 96, 2, 96, 2).mean(axis=(2, 4))
    centroids = finder.infer(half[:, None] / np.float32(255))
    side, reach = 80, 80 * 191 / 192
    for frame, image in enumerate(frames):
        there, valid = centroids["instance_valid"][frame], found["instance_valid"][frame]
        expected = centroids["centroids"][frame][there] * 2
        np.testing.assert_allclose(found["centroids"][frame][valid], expected, atol=0.01)
        first = expected - reach / 2
        steps = np.arange(side) * reach / (side - 1)
        crops = np.stack([sample(image, x + steps, y + steps) for x, y in first])
        poses = looker.infer(crops[:, None].astype(np.float32) / np.float32(255))
        expected = first[:, None] + poses["peaks"] * reach / (side - 1) + 0.5
        np.testing.assert_allclose(found["peaks"][frame][valid], expected, atol=0.01)
        np.testing.assert_allclose(found["peak_vals"][frame][valid], poses["peak_vals"], atol=1e-4)
        np.testing.assert_allclose(found["class_probs"][frame][valid], poses["class_probs"], atol=1e-4)
        assert np.isnan(found["peaks"][frame][~valid]).all()
        assert not found["centroid_vals"][frame][~valid].any()


def test_labels_have_names_tracks_and_the_scores_of_centroids(videos: Path, tmp_path: Path) -> None:
    with Predictor.from_model_paths(EXPORTS / COMBINED) as predictor:
        labels = predictor.predict(videos / "two_flies.mp4", frames=range(3))
        outputs = predictor.predict(videos / "two_flies.mp4", as_labels=False, frames=range(3))
    labels.save(str(tmp_path / "poses.slp"))
    loaded = sio.load_slp(str(tmp_path / "poses.slp"))
    assert loaded.skeletons[0].node_names == ["head", "thorax", "abdomen", "wing_left", "wing_right"]
    assert len(loaded.skeletons[0].edges) == 4
    assert {track.name for track in loaded.tracks} == {"female", "male"}
    for frame, out in zip(loaded, outputs, strict=True):
        assert len({instance.track.name for instance in frame}) == len(frame) == 2
        np.testing.assert_allclose([instance.score for instance in frame], out.pred_centroid_values, atol=1e-6)
        np.testing.assert_allclose(out.instance_scores, out.pred_centroid_values)


EVERY_ONE = (
    ("single_instance",),
    ("centroid",),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "centered_instance"),
    ("centroid", "multi_class_topdown"),
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("video", ["two_flies", "two_flies_rgb"])
@pytest.mark.parametrize("names", EVERY_ONE, ids=lambda names: names[-1])
def test_every_kind(
    names: tuple[str, ...], video: str, backend: str, everything: Path, models: Path, videos: Path
) -> None:
    """The centroid model has scale 0.5: its graph resizes, which our preprocessing leaves nothing of."""
    path = videos / f"{video}.mp4"
    expected = predict([models / name for name in names], path, "torch", refinement="none")
    found = predict([everything / name for name in names], path, backend)
    if video == "two_flies_rgb" and len(names) > 1:
        # Crops of colour become gray in whole numbers here, in torch in fractions: a peak in a hundred is elsewhere.
        for given, wanted in in_pairs(found, expected):
            assert np.nanmean(np.linalg.norm(points(given) - points(wanted), axis=-1) > 0.01) <= 0.1
        return
    assert_equal(found, expected, SCORE_TOLERANCE.get(names[-1], 1e-3))


def test_a_scaled_graph_on_frames_of_another_size(everything: Path, models: Path, videos: Path) -> None:
    path = videos / "two_flies_large.mp4"
    expected = predict([models / "centroid"], path, "torch", refinement="none")
    assert_equal(predict([everything / "centroid"], path, "onnx"), expected)
    settings = Predictor.from_model_paths(everything / "centroid").settings.stages[0].images
    assert (settings.max_height, settings.max_width, settings.input_scaling) == (192, 192, 0.5)


def test_more_peaks_than_places(everything: Path, models: Path, videos: Path) -> None:
    """Frames that the model was not made for, with many peaks that are equally certain of their class."""
    path, name = videos / "two_flies_large.mp4", "multi_class_bottomup"
    expected = predict([models / name], path, "torch", refinement="none", max_peaks_per_node=20)
    for given, wanted in zip(predict([everything / name], path, "onnx"), expected, strict=True):
        assert given.capped
        np.testing.assert_allclose(given.instance_scores, wanted.instance_scores, atol=1e-3)
        np.testing.assert_allclose(points(given), points(wanted), atol=0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_topdown_in_one_graph(backend: str, everything: Path, models: Path, videos: Path) -> None:
    path = videos / "two_flies.mp4"
    expected = predict([models / "centroid", models / "centered_instance"], path, "torch", refinement="none")
    assert_near(predict([everything / "topdown"], path, backend), expected, videos / "two_flies.truth.slp")


@pytest.mark.parametrize("name", ["centered_instance", "multi_class_topdown"])
def test_crops_around_known_instances(name: str, everything: Path, models: Path, videos: Path) -> None:
    path = videos / "two_flies.truth.slp"
    expected = predict([models / name], path, "torch", refinement="none")
    assert_equal(predict([everything / name], path, "onnx"), expected)


def test_the_spec_says_what_it_is() -> None:
    spec = read_spec(EXPORTS / COMBINED)
    assert spec.exported is not None
    assert (spec.kind, spec.format, spec.written_by, spec.exported.made_by) == (COMBINED, "onnx", "0.3.5", "sleap-nn")
    assert spec.classes == ("female", "male")
    assert spec.exported.inside == "scaling"
    assert spec.exported.input_size == (192, 192)
    assert spec.exported.n_places == 20
    assert spec.preprocessing == TrainedPreprocessing(False, True, 192, 192, 1.0, 80)
    for kind in ("single_instance", "bottomup", COMBINED):
        spec = read_spec(EXPORTS / kind)
        assert spec_from_json(json.loads(json.dumps(spec_to_json(spec))), spec.path) == spec


def test_info() -> None:
    result = CliRunner().invoke(app, ["info", str(EXPORTS / COMBINED)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for text in (COMBINED, "female, male", "80 x 80 around thorax", "thorax-wing_right", "model.onnx"):
        assert text in result.output


def test_on_the_command_line(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "poses.slp"
    arguments = ["predict", str(videos / "two_flies.mp4"), "-m", str(EXPORTS / COMBINED), "-o", str(path)]
    result = CliRunner().invoke(app, [*arguments, "--frames", "0-3"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert [len(frame) for frame in sio.load_slp(str(path))] == [2, 2, 2, 2]


def test_what_it_lacks_is_said_once(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Predictor.from_model_paths(EXPORTS / "bottomup") as predictor:
        predictor.predict(videos / "two_flies.mp4", frames=range(5))
    (record,) = [record for record in caplog.records if "sleap-nn" in record.getMessage()]
    assert "up to 1.4 px" in record.getMessage()
    assert "sleap-infer export MODEL" in record.getMessage()


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("bottomup", "refinement", "integral"),
        ("bottomup", "peak_threshold", 0.3),
        ("bottomup", "n_points", 5),
        ("bottomup", "max_edge_length_ratio", 0.5),
        ("bottomup", "dist_penalty_weight", 0.0),
        ("bottomup", "max_peaks_per_node", 5),
        ("bottomup", "ensure_rgb", True),
        ("single_instance", "ensure_grayscale", True),
        (COMBINED, "peak_threshold", [0.2, 0.3]),
        (COMBINED, "input_scaling", 0.5),
        (COMBINED, "pad_to_stride", 32),
        (COMBINED, "crop_size", 96),
        (COMBINED, "max_height", 240),
    ],
)
def test_what_is_in_the_graph_cannot_be_changed(kind: str, option: str, value: object) -> None:
    for backend in BACKENDS:
        with pytest.raises((OptionError, ModelConfigError), match="for good" if "ensure" not in option else "ensure"):
            Predictor.from_model_paths(EXPORTS / kind, backend=backend, **{option: value})


def test_what_is_not_in_the_graph_can(videos: Path) -> None:
    same = {"refinement": "none", "peak_threshold": 0.2, "n_points": 10, "ensure_grayscale": True}
    given = {"min_line_scores": 0.9, "max_instances": 1, "batch_size": 5}
    found = predict([EXPORTS / "bottomup"], videos / "two_flies.mp4", "onnx", **same, **given)
    assert {outputs.n_instances for outputs in found} <= {0, 1}
    with pytest.raises(OptionError, match="gives no maps"):
        Predictor.from_model_paths(EXPORTS / "bottomup", return_confmaps=True)
    with pytest.raises(UnsupportedModelError, match="backend='onnx'"):
        Predictor.from_model_paths(EXPORTS / "bottomup", backend="torch")


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_of_a_size_that_would_be_cut_wrongly(backend: str) -> None:
    runner = find_runner(backend).from_model_path(EXPORTS / COMBINED)
    with pytest.raises(ImageError, match=r"\(192, 192\).*found \(96, 192\)"):
        runner.infer(np.zeros((1, 1, 96, 192), np.uint8))
    colour = np.repeat(np.arange(192 * 192, dtype=np.uint32).reshape(1, 1, 192, 192) % 251, 3, axis=1).astype(np.uint8)
    assert runner.infer(colour)["peaks"].shape == (1, 20, 5, 2)


def test_a_frame_that_fills_all_places_is_reported(videos: Path) -> None:
    with Predictor.from_model_paths(EXPORTS / "bottomup") as predictor:
        assert not predictor.predict(videos / "two_flies.mp4", False, [0])[0].capped
        runner = predictor.runners[0]
        inputs, geometry = runner.preprocess_image(np.zeros((192, 192), np.uint8))
        found = runner.infer(inputs)
        assert found["peak_mask"].shape == (1, 5, 20)
        found["peak_mask"][:] = True
        assert runner.postprocess_results(found, geometry)[0].capped


# Pieces that are missing, mixed up or damaged.


def edit(place: Path, **changes: object) -> None:
    """Change `export_metadata.json`; `...` removes a key."""
    path = place / "export_metadata.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def strip_texts(place: Path) -> None:
    """Take the metadata out of a graph."""
    import onnx

    model = onnx.load(str(place / "model.onnx"))
    del model.metadata_props[:]
    onnx.save(model, str(place / "model.onnx"))


@pytest.mark.parametrize("kind", ["single_instance", "bottomup"])
def test_a_graph_carries_its_metadata_and_configuration(kind: str, damaged: Callable[[str], Path]) -> None:
    place, whole = damaged(kind), read_spec(EXPORTS / kind)
    (place / "training_config.yaml").unlink()
    assert attrs.evolve(read_spec(place), path=whole.path) == whole
    (place / "export_metadata.json").unlink()
    assert attrs.evolve(read_spec(place / "model.onnx"), path=whole.path) == whole


def test_metadata_are_enough_where_the_size_of_frames_is_fixed(damaged: Callable[[str], Path], videos: Path) -> None:
    place = damaged(COMBINED)
    expected = predict([place], videos / "two_flies.mp4", "onnx")
    for path in place.glob("*.yaml"):
        path.unlink()
    spec = read_spec(place)
    assert (spec.classes, spec.skeleton.edges, spec.preprocessing.crop_size) == (("female", "male"), (), 80)
    for given, wanted in zip(predict([place], videos / "two_flies.mp4", "onnx"), expected, strict=True):
        np.testing.assert_array_equal(given.pred_keypoints, wanted.pred_keypoints)
    assert "5: head" in CliRunner().invoke(app, ["info", str(place)], env={"COLUMNS": "200"}).output


def test_metadata_are_not_enough_without_the_stride(damaged: Callable[[str], Path]) -> None:
    place = damaged("bottomup")
    strip_texts(place)
    assert read_spec(place) == attrs.evolve(
        read_spec(EXPORTS / "bottomup"),
        path=place,
        exported=attrs.evolve(
            read_spec(EXPORTS / "bottomup").exported, sha256=read_graph_file(place / "model.onnx").sha256
        ),
    )
    (place / "training_config.yaml").unlink()
    with pytest.raises(ExportedModelError, match=r"stride.*Copy training_config\.yaml"):
        read_spec(place)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"model_type": "segmentation"}, "'segmentation' is none of"),
        ({"model_type": ["bottomup"]}, "is none of"),
        ({"model_type": "centroid", "max_instances": 20}, "centroid model, but its training configuration"),
        ({"model_type": "topdown", "max_instances": 20, "crop_size": [80, 80]}, "configurations inside are no JSON"),
        ({"sleap_nn_version": ..., "export_format": ...}, "not sleap_infer's, nor sleap-nn's"),
        ({"input_channels": ...}, "input_channels is missing"),
        ({"input_channels": 2}, "channels"),
        ({"input_scale": 0}, "scale"),
        ({"input_scale": 0.5}, "does not say what size"),
        ({"input_scale": "half"}, "input_scale"),
        ({"peak_threshold": None}, "peak_threshold is missing"),
        ({"max_peaks_per_node": None}, "max_instances and max_peaks_per_node are missing"),
        ({"max_peaks_per_node": 0}, "capacity"),
        ({"edge_inds": [[1, 0, 2]]}, "malformed"),
        ({"edge_inds": [[0, 1], [1, 2], [1, 3], [1, 4]]}, "not of the same export"),
        ({"node_names": ["a", "b", "c", "d", "e"]}, "nodes.*not of the same export"),
        ({"node_names": 5}, "node_names"),
        ({"crop_size": [80, 64]}, "not a square"),
    ],
    ids=str,
)
def test_malformed_metadata(changes: dict[str, object], found: str, damaged: Callable[[str], Path]) -> None:
    place = damaged("bottomup")
    edit(place, **changes)
    with pytest.raises(ExportedModelError, match=found):
        read_spec(place)


def test_mixed_up_configurations(damaged: Callable[[str], Path]) -> None:
    place = damaged("bottomup")
    shutil.copy(EXPORTS / "single_instance" / "training_config.yaml", place)
    with pytest.raises(ExportedModelError, match="of a single_instance model"):
        read_spec(place)
    (place / "training_config.yaml").write_text("{")
    with pytest.raises(ModelConfigError, match="not readable YAML"):
        read_spec(place)
    shutil.copy(EXPORTS / "bottomup" / "training_config.yaml", place)
    for kind, found in (("single_instance", "training_config_hash"), (COMBINED, "input_scale")):
        shutil.copy(EXPORTS / kind / "model.onnx", place)
        with pytest.raises(ExportedModelError, match=rf"{found}.*not of the same export"):
            read_spec(place)
    shutil.copy(EXPORTS / "single_instance" / "model.onnx", place)
    strip_texts(place)
    image = np.zeros((1, 1, 192, 192), np.uint8)
    with pytest.raises(ImageError, match=r"\(3, "):
        find_runner("onnx").from_model_path(place).infer(image)
    edit(place, input_channels=3)
    with pytest.raises(ExportedModelError, match="gives no peak_mask"):
        find_runner("onnx").from_model_path(place).infer(image)
    place = damaged(COMBINED)
    edit(place, crop_size=[64, 64])
    with pytest.raises(ExportedModelError, match=r"crop_size 64.*80"):
        read_spec(place)


@pytest.mark.parametrize("content", [b"", b"not a graph", bytes(range(256)) * 20, b"\x3a\xff\xff\xff\xff\x7f", b"\x3a"])
def test_a_damaged_graph(content: bytes, damaged: Callable[[str], Path]) -> None:
    place = damaged("bottomup")
    whole = (place / "model.onnx").read_bytes()
    for damage in (content, whole[: len(whole) // 2], whole[:-5]):
        (place / "model.onnx").write_bytes(damage)
        with pytest.raises(ExportedModelError, match="cannot be opened as an ONNX graph"):
            read_spec(place)
    (place / "model.onnx").unlink()
    with pytest.raises(ModelNotFoundError):
        read_spec(place)


def test_damaged_texts_inside(damaged: Callable[[str], Path]) -> None:
    import onnx

    place = damaged("bottomup")
    for path in place.glob("*.[jy]*"):
        path.unlink()
    for key, text, error, found in (
        ("training_config", "{", ModelConfigError, "model.onnx, the configuration inside is not readable"),
        ("sleap_nn_metadata", "{", ExportedModelError, "malformed metadata"),
        ("sleap_nn_metadata", "[]", ExportedModelError, "expected a mapping"),
    ):
        model = onnx.load(str(place / "model.onnx"))
        next(item for item in model.metadata_props if item.key == key).value = text
        onnx.save(model, str(place / "model.onnx"))
        with pytest.raises(error, match=found):
            read_spec(place / "model.onnx")


@pytest.mark.parametrize("edges", [[], [[0, 5]], [[-1, 0]]])
def test_edges_that_join_nothing(edges: list[list[int]], damaged: Callable[[str], Path]) -> None:
    place = make_scaled(damaged("bottomup"), (96, 96), edge_inds=edges)
    (place / "training_config.yaml").unlink()
    with pytest.raises(ExportedModelError, match="no edges that join"):
        read_spec(place)


def test_a_graph_of_another_scale(damaged: Callable[[str], Path]) -> None:
    place = damaged(COMBINED)
    edit(place, input_scale=1.0)
    with pytest.raises(ExportedModelError, match="input_scale 1"):
        read_spec(place)


def test_constants_of_the_graph() -> None:
    graph = read_graph_file(EXPORTS / COMBINED / "model.onnx")
    assert (graph.input_size, graph.crop_side, graph.cropped_size) == ((96, 96), 80, (192, 192))
    graph = read_graph_file(EXPORTS / "bottomup" / "model.onnx")
    assert (graph.input_size, graph.crop_side, graph.cropped_size) == (None, None, None)
    assert set(graph.properties) == {"sleap_nn_metadata", "training_config"}


def make_scaled(place: Path, size: tuple[int, int], **changes: object) -> Path:
    """An export of which only the first operations are there: those that scale images to a size."""
    from onnx import TensorProto, helper, numpy_helper, save

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", 1, "h", "w"])
    scaled = helper.make_tensor_value_info("scaled", TensorProto.FLOAT, None)
    constants = [
        ("most", np.float32(255)),
        ("shape", np.array([1, 1])),
        ("size", np.array(size)),
        ("none", np.zeros(0)),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "most"], ["shares"]),
        helper.make_node("Concat", ["shape", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["shares", "", "", "sizes"], ["scaled"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "scaled", [image], [scaled], tensors)
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, ir_version=8, opset_imports=opsets), place / "model.onnx")
    edit(place, input_scale=0.5, **changes)
    return place


@pytest.mark.parametrize(
    ("size", "configured", "inside", "expected"),
    [
        ((96, 96), True, "network", (192, 192)),
        ((128, 160), True, "network", (256, 320)),  # as `sleap-nn export --input-height 256 --input-width 320` makes it
        ((100, 92), True, "scaling", (100, 92)),  # padded to the stride, it would be squeezed
        ((96, 96), False, "scaling", (96, 96)),
    ],
)
def test_scaled_frames(
    size: tuple[int, int],
    configured: bool,
    inside: str,
    expected: tuple[int, int],
    damaged: Callable[[str], Path],
) -> None:
    place = make_scaled(damaged("single_instance"), size)
    if not configured:
        (place / "training_config.yaml").unlink()
    spec = read_spec(place)
    images = find_runner("onnx").from_model_path(place).preprocess_image(np.zeros((200, 184), np.uint8))[0]
    assert images.shape[2:] == size
    assert spec.exported is not None
    assert (spec.exported.inside, spec.exported.input_size) == (inside, expected)
    assert spec.exported.output_scale == 0.5


@pytest.mark.parametrize(("side", "inside"), [(48, "network"), (40, "scaling")])
def test_scaled_crops(side: int, inside: str, damaged: Callable[[str], Path]) -> None:
    place = damaged("single_instance")
    config = yaml.safe_load((place / "training_config.yaml").read_text())
    heads = config["model_config"]["head_configs"]
    heads["centered_instance"] = heads.pop("single_instance")
    (place / "training_config.yaml").write_text(yaml.safe_dump(config))
    sizes = {"model_type": "centered_instance", "crop_size": [side * 2, side * 2]}
    spec = read_spec(make_scaled(place, (side, side), **sizes))
    assert spec.exported is not None
    assert (spec.exported.inside, spec.exported.input_size) == (inside, (side * 2, side * 2))
    assert (spec.preprocessing.crop_size, spec.preprocessing.scale) == (side * 2, 0.5 if inside == "network" else 1.0)
    (place / "training_config.yaml").unlink()
    assert read_spec(place).preprocessing.crop_size == side * 2


def test_crops_without_a_configuration(damaged: Callable[[str], Path]) -> None:
    place = damaged("single_instance")
    edit(place, model_type="centered_instance", crop_size=[80, 80])
    strip_texts(place)
    (place / "training_config.yaml").unlink()
    spec = read_spec(place)
    assert spec.exported is not None
    assert (spec.exported.inside, spec.exported.input_size) == ("scaling", (80, 80))


def test_other_versions_are_doubted(damaged: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    place = damaged("bottomup")
    edit(place, sleap_nn_version="0.4.0")
    with caplog.at_level(logging.WARNING):
        read_spec(place)
    assert "0.4.0, and read as those of 0.3.5" in caplog.text


# The arrays by themselves.


def facts(kind: Any, scale: float = 1.0, size: tuple[int, int] | None = None, crop: int | None = None) -> ModelSpec:
    exported = ExportFacts("", 2, made_by="sleap-nn", output_scale=scale, input_size=size)
    images = TrainedPreprocessing(crop_size=crop)
    heads = (MapHeadSpec("ConfmapsHead", 2, 2),)
    return ModelSpec(kind, SkeletonSpec(("a", "b")), UNetSpec(), heads, images, ((0, 1),), exported=exported)


def test_one_of_each() -> None:
    peaks = np.array([[[8, 4], [np.nan, np.nan]]], np.float32)
    found = undo_quirks({"peaks": peaks, "peak_vals": np.ones((1, 2), np.float32)}, facts("single_instance", 0.5))
    np.testing.assert_array_equal(found["peaks"], peaks / 2)
    assert found["peaks"].dtype == np.float32


def test_centroids_that_are_none() -> None:
    arrays = {
        "centroids": np.array([[[8, 4], [4, 0]]], np.float32),
        "centroid_vals": np.array([[0.9, -1e9]], np.float32),
        "instance_valid": np.array([[1, 0]], np.uint8),
    }
    found = undo_quirks(arrays, facts("centroid", 0.5))
    np.testing.assert_array_equal(found["centroids"], [[[4, 2], [np.nan, np.nan]]])
    np.testing.assert_array_equal(found["centroid_vals"], np.array([[0.9, 0]], np.float32))
    assert arrays["centroid_vals"][0, 1] == -1e9, "what was given stays as it is"


def test_peaks_and_connections_that_are_none() -> None:
    arrays = {
        "peaks": np.array([[[[8, 4], [2, 0]], [[6, 6], [2, 0]]]], np.float32),
        "peak_vals": np.array([[[0.9, -1e9], [0.8, -1e9]]], np.float32),
        "peak_mask": np.array([[[True, False], [True, False]]]),
        "line_scores": np.array([[[0.5, -2, -2, -2]]], np.float32),
        "candidate_mask": np.array([[[True, False, False, False]]]),
    }
    found = undo_quirks(arrays, facts("bottomup", 1.0))
    np.testing.assert_array_equal(found["peaks"], [[[[8, 4], [np.nan, np.nan]], [[6, 6], [np.nan, np.nan]]]])
    np.testing.assert_array_equal(found["peak_vals"], np.array([[[0.9, 0], [0.8, 0]]], np.float32))
    np.testing.assert_array_equal(found["line_scores"], [[[0.5, np.nan, np.nan, np.nan]]])


def test_places_are_in_the_order_of_reading() -> None:
    """Three peaks of the source and two of the destination, strongest first; the second row has a flat top."""
    source, destination = [[6, 9], [8, 4], [2, 5], [0, 0]], [[0, 8], [4, 2], [0, 0], [2, 0]]
    mask = np.array([[[1, 1, 1, 0], [1, 1, 0, 0]]], bool)
    scores = np.full((1, 1, 4, 4), -2, np.float32)
    scores[0, 0, :3, :2] = np.arange(6).reshape(3, 2)
    arrays = {
        "peaks": np.array([[source, destination]], np.float32),
        "peak_vals": np.array([[[0.9, 0.8, 0.7, -1e9], [0.6, 0.5, -1e9, -1e9]]], np.float32),
        "peak_mask": mask,
        "line_scores": scores.reshape(1, 1, 16),
        "candidate_mask": scores.reshape(1, 1, 16) >= 0,
    }
    found = undo_quirks(arrays, facts("bottomup"))
    np.testing.assert_array_equal(found["peaks"][0, 0, :3], [[2, 5], [8, 4], [6, 9]])
    np.testing.assert_array_equal(found["peaks"][0, 1, :2], [[4, 2], [0, 8]])
    np.testing.assert_array_equal(found["peak_vals"][0], np.array([[0.7, 0.8, 0.9, 0], [0.5, 0.6, 0, 0]], np.float32))
    np.testing.assert_array_equal(found["peak_mask"], mask)
    np.testing.assert_array_equal(found["line_scores"].reshape(4, 4)[:3, :2], [[5, 4], [3, 2], [1, 0]])
    np.testing.assert_array_equal(found["candidate_mask"].reshape(4, 4)[:3, :2], True)
    assert found["candidate_mask"].sum() == 6


def test_classes_of_peaks_that_are_none() -> None:
    arrays = {
        "peaks": np.array([[[[8, 4], [2, 0]]]], np.float32),
        "peak_vals": np.array([[[0.9, -1e9]]], np.float32),
        "peak_mask": np.array([[[True, False]]]),
        "class_probs": np.array([[[[0.25, 0.75], [0, 0]]]], np.float32),
    }
    found = undo_quirks(arrays, facts("multi_class_bottomup", 0.5))
    np.testing.assert_array_equal(found["peaks"], [[[[4, 2], [np.nan, np.nan]]]])
    np.testing.assert_array_equal(found["class_probs"], [[[[0.25, 0.75], [np.nan, np.nan]]]])


def test_points_in_crops() -> None:
    """A graph sees column k of a crop at x(k), and reports it at c - S / 2 + k."""
    centroid, columns = np.array([100.0, 60.0]), np.array([[0.0, 0.0], [79.0, 79.0]])
    arrays = {
        "centroids": np.array([[centroid, [0, 0]]], np.float32),
        "centroid_vals": np.array([[0.9, 0]], np.float32),
        "peaks": np.array([[centroid - 40 + columns, np.zeros((2, 2))]], np.float32),
        "peak_vals": np.array([[[0.5, 0.6], [0, 0]]], np.float32),
        "instance_valid": np.array([[True, False]]),
    }
    found = undo_quirks(arrays, facts("topdown", size=(160, 320), crop=80))
    half = 40 * np.array([319 / 320, 159 / 160])
    np.testing.assert_allclose(found["peaks"][0, 0], [centroid - half + 0.5, centroid + half + 0.5], atol=1e-4)
    assert np.isnan(found["peaks"][0, 1]).all()
    assert np.isnan(found["centroids"][0, 1]).all()
    np.testing.assert_allclose(found["peak_vals"], [[[0.5, 0.6], [0, 0]]])
