"""Graphs that contain more: preprocessing, both models of a pipeline, tables, fixed sizes. All give the same poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from poses import close

from sleap_infer import Predictor, TopDownPredictor
from sleap_infer.errors import ImageError, OptionError
from sleap_infer.export import ExportOptions, ExportResult, export, validate
from sleap_infer.runners import find_runner

FORMS = {
    "self_contained": (("bottomup",), {"self_contained": True, "max_peaks_per_node": 60}, {}),
    "scaled": (("centroid",), {"self_contained": True}, {"max_height": 160, "max_width": 200}),
    "open_size": (("multi_class_bottomup",), {"self_contained": True, "layout": "flat", "max_peaks_per_node": 60}, {}),
    "flat": (("bottomup",), {"layout": "flat", "max_peaks_per_node": 60}, {}),
    "static": (("single_instance",), {"batch_size": 3, "input_size": (144, 176), "layout": "flat"}, {}),
    "fused": (("centroid", "centered_instance"), {"fused": True}, {}),
    "whole": (
        ("centroid", "multi_class_topdown"),
        {"fused": True, "layout": "flat", "max_instances": 6, "max_batch_size": 2},
        {"input_scaling": 0.75},
    ),
}
SIZED = {"static": {"max_height": 144, "max_width": 176}}


@pytest.fixture(scope="module")
def forms(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportResult]:
    """One export of each form, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("forms")

    class Forms(dict[str, ExportResult]):
        def __missing__(self, name: str) -> ExportResult:
            names, options, given = FORMS[name]
            paths = [models / item for item in names]
            self[name] = export(paths, folder / name, ExportOptions(validate=False, **options), **given)[0]
            return self[name]

    return Forms()


@pytest.mark.parametrize(
    "form",
    [f if f in ("scaled", "flat", "static", "fused") else pytest.param(f, marks=pytest.mark.exhaustive) for f in FORMS],
)
def test_poses_are_those_of_the_pipeline(form: str, forms: dict[str, ExportResult], models: Path, videos: Path) -> None:
    names, _, given = FORMS[form]
    for video, batch_size in (("two_flies", 4), ("two_flies_large", 7), ("two_flies_rgb", 1)):
        path = videos / f"{video}.mp4"
        options = {**given, **SIZED.get(form, {}), "batch_size": batch_size, "device": "cpu"}
        with Predictor.from_model_paths([models / item for item in names], **options) as source:
            expected = source.predict(path, as_labels=False, frames=range(5))
        for backend in ("onnx", "mnn", "openvino"):
            with Predictor.from_model_paths(forms[form].directory, backend=backend, batch_size=batch_size) as exported:
                found = exported.predict(path, as_labels=False, frames=range(5))
            assert not any(out.capped for out in found)
            close(found, expected)


def test_the_graph_alone_takes_frames_of_any_size(forms: dict[str, ExportResult], models: Path, videos: Path) -> None:
    """With nothing but onnxruntime: raw frames in, points in their pixels out."""
    import onnxruntime

    from sleap_infer.frames import open_source

    with open_source(videos / "two_flies_large.mp4", frames=[0]) as source:
        (batch,) = source.batches(1)
    frame = np.ascontiguousarray(batch.images[:, :, 5:, 3:])  # no multiple of anything
    session = onnxruntime.InferenceSession(forms["scaled"].graph)
    centroids, _, valid = session.run(None, {"image": frame})
    with Predictor.from_model_paths(models / "centroid", device="cpu", max_height=160, max_width=200) as source_model:
        (expected,) = source_model.runners[0].predict(frame)
    np.testing.assert_allclose(centroids[0][valid[0]], expected.pred_centroids, atol=0.01)
    assert len(expected.pred_centroids) > 1


def test_a_fused_graph_is_a_top_down_predictor(forms: dict[str, ExportResult], videos: Path) -> None:
    predictor = TopDownPredictor.from_model_paths(forms["fused"].directory)
    labels = predictor.predict(videos / "two_flies.mp4", frames=[0])
    assert len(labels[0]) == 2
    stricter = Predictor.from_model_paths(forms["fused"].directory, peak_threshold=(1.5, 0.2))
    assert len(stricter.predict(videos / "two_flies.mp4", as_labels=False, frames=[0])[0]) == 0
    one = Predictor.from_model_paths(forms["fused"].directory, max_instances=1)
    assert len(one.predict(videos / "two_flies.mp4", as_labels=False, frames=[0])[0]) == 1


@pytest.mark.exhaustive
def test_places_of_a_fused_graph_are_reported_when_full(models: Path, videos: Path, tmp_path: Path) -> None:
    options = ExportOptions(validate=False, fused=True, max_instances=2)
    (result,) = export([models / "centroid", models / "centered_instance"], tmp_path / "f", options)
    (full,) = Predictor.from_model_paths(result.directory).predict(videos / "two_flies.mp4", False, [0])
    assert full.capped


@pytest.mark.parametrize(
    ("form", "option"),
    [
        ("scaled", {"input_scaling": 0.5}),
        ("scaled", {"max_height": 100}),
        ("scaled", {"ensure_rgb": True}),
        ("fused", {"crop_size": 32}),
        ("fused", {"pad_to_stride": 8}),
        ("static", {"max_height": 100}),
    ],
)
def test_what_is_inside_cannot_be_changed(form: str, option: dict[str, object], forms: dict[str, ExportResult]) -> None:
    with pytest.raises(OptionError, match="for good"):
        Predictor.from_model_paths(forms[form].directory, **option)


def test_two_sizes_contradict_each_other(models: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="contradicts"):
        export(models / "centroid", tmp_path / "x", ExportOptions(input_size=(64, 64)), max_height=100)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_fixed_size_is_the_only_one(backend: str, forms: dict[str, ExportResult]) -> None:
    runner = find_runner(backend).from_model_path(forms["static"].directory)
    with pytest.raises(ImageError, match="144, 176"):
        runner.infer(np.zeros((2, 3, 96, 96), np.uint8))


def test_the_snippets_run(forms: dict[str, ExportResult]) -> None:
    import subprocess
    import sys

    for form in ("static", "whole"):
        code = "import sys\nsys.modules['torch'] = sys.modules['sleap_infer'] = None\n" + forms[form].snippet()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_outputs_can_stay_where_the_graph_runs(forms: dict[str, ExportResult]) -> None:
    import torch

    runner = find_runner("onnx").from_model_path(forms["scaled"].directory)
    images = torch.randint(0, 256, (2, 1, 90, 70), dtype=torch.uint8)
    bound = runner.infer_bound(images)
    expected = runner.infer(images.numpy())
    assert sorted(bound) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(bound[name].numpy(), value)


@pytest.mark.parametrize("form", ["scaled", "static", "whole"])
def test_forms_are_validated_with_the_options_of_their_export(
    form: str, forms: dict[str, ExportResult], models: Path, videos: Path
) -> None:
    names, _, _ = FORMS[form]
    video = videos / ("one_fly.mp4" if form == "static" else "two_flies_large.mp4")
    report = validate(forms[form].directory, [models / name for name in names], video, ExportOptions(n_frames=4))
    assert report.verdict == "PASS", report


def test_the_model_is_described(forms: dict[str, ExportResult]) -> None:
    text = str(forms["whole"])
    assert "capacity: 6 centroids" in text
    assert "everything from frames of any size" in text
    assert forms["whole"].spec.exported.source_sha256.count(";") == 1
