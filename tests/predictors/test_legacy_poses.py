"""SLEAP models give the poses of SLEAP 1.4.1 itself, on every backend and in every form of export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import legacy_models
import numpy as np
import pytest

from sleap_infer import Outputs, Predictor
from sleap_infer.errors import ExportedModelError
from sleap_infer.export import ExportOptions, export
from sleap_infer.model import read_spec

POINTS, SCORES = 2e-3, 1e-5
CROPPED_SCORES = 2e-4
"""A pixel of a crop near a whole number is rounded down to it or to the one below: a last bit decides."""
ROOM = 160
"""Peaks of a map, or centroids: more than there are in any."""

ON_GRAPHS = ("single_scaled", "topdown_scaled")
STORED_BY_SLEAP = np.array([[[92.26, 202.26], [151.76, 158.02]], [[205.46, 187.35], [278.09, 202.82]]])
"""Of `cases/legacy_frame.slp`, to two digits (cases/README.md)."""


def compare(outputs: Sequence[Outputs], case: str) -> None:
    """Same instances in the same order, or of the same classes, with the same points and values."""
    golden = legacy_models.found_by_sleap(case)
    n_instances = 0
    for frame, found in enumerate(outputs):
        expected, values = golden["instance_peaks"][frame], golden["instance_peak_vals"][frame]
        there = ~np.isnan(expected).all(axis=(1, 2))
        points, own = np.asarray(found.pred_keypoints), np.asarray(found.pred_peak_values)
        if found.pred_classes is not None:
            named = found.pred_classes >= 0
            order = np.argsort(found.pred_classes[named], kind="stable")
            points, own = points[named][order], own[named][order]
        seen = ~np.isnan(points).all(axis=(1, 2))
        assert seen.sum() == there.sum(), f"frame {frame}"
        is_point = ~np.isnan(expected[there][..., 0])
        np.testing.assert_array_equal(np.isnan(points[seen][..., 0]), ~is_point)
        off = np.abs(points[seen] - expected[there]).max(axis=-1)[is_point]
        score_off = np.abs(own[seen] - values[there])[is_point]
        assert off.max(initial=0) <= POINTS, f"frame {frame}"
        assert score_off.max(initial=0) <= (CROPPED_SCORES if "topdown" in case else SCORES), f"frame {frame}"
        n_instances += int(there.sum())
    assert n_instances >= 3


def predict(paths: Any, case: str, backend: str) -> list[Outputs]:
    options: dict[str, Any] = {}
    if "bottomup" in case and backend != "torch":  # which has room for all
        options["max_peaks_per_node"] = ROOM
    elif "topdown" in case:
        options["max_instances"] = ROOM
    with Predictor.from_model_paths(
        paths, backend=backend, device="cpu", batch_size=3, peak_threshold=0.3, **options
    ) as predictor:
        return predictor.predict(legacy_models.frames_of(case), as_labels=False)


@pytest.mark.parametrize(("refinement", "share"), [("integral", 1.0), ("none", 0.0)])
def test_an_offset_head_moves_peaks_by_its_value_at_their_cell(tmp_path: Path, refinement: str, share: float) -> None:
    """Of equal cells the first is the peak, so that points are 2 px (the stride) times the offsets."""
    offsets = np.array([[0.25, -0.5], [0.0, 0.125], [3.0, 1.5]], np.float32)
    path = legacy_models.write_constant_model(tmp_path / "model", 0.75, offsets)
    with Predictor.from_model_paths(path, backend="torch", device="cpu", refinement=refinement) as predictor:
        (found,) = predictor.predict(np.full((1, 24, 40, 1), 90, np.uint8), as_labels=False)
    np.testing.assert_array_equal(found.pred_keypoints, share * 2 * offsets[None])
    np.testing.assert_array_equal(found.pred_peak_values, np.full((1, 3), 0.75, np.float32))


@pytest.mark.parametrize("case", legacy_models.cases())
def test_poses_are_those_of_sleap(tmp_path: Path, case: str) -> None:
    compare(predict(legacy_models.write_models(tmp_path, case), case, "torch"), case)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of graphs."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(place))
    return place


@pytest.mark.parametrize("case", ON_GRAPHS)
@pytest.mark.usefixtures("cache")
def test_poses_of_graphs_are_those_of_sleap(tmp_path: Path, case: str) -> None:
    paths = legacy_models.write_models(tmp_path, case)
    for backend in ("onnx", "mnn", "openvino"):
        compare(predict(paths, case, backend), case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", [case for case in legacy_models.cases() if case not in ON_GRAPHS])
@pytest.mark.usefixtures("cache")
def test_poses_of_more_graphs_are_those_of_sleap(tmp_path: Path, case: str) -> None:
    paths = legacy_models.write_models(tmp_path, case)
    for backend in ("onnx", "openvino"):
        compare(predict(paths, case, backend), case)


@pytest.mark.parametrize(
    ("case", "form"), [("single_scaled", {"self_contained": True}), ("topdown_scaled", {"fused": True})]
)
def test_poses_of_self_contained_and_fused_exports_are_those_of_sleap(
    tmp_path: Path, case: str, form: dict[str, bool]
) -> None:
    paths = legacy_models.write_models(tmp_path, case)
    export(
        paths if len(paths) > 1 else paths[0],
        tmp_path / "out",
        ExportOptions(validate=False, max_instances=ROOM, **form),
    )
    compare(predict(tmp_path / "out", case, "onnx"), case)


def test_an_export_says_what_it_is_fed_and_an_older_one_is_refused(tmp_path: Path) -> None:
    (path,) = legacy_models.write_models(tmp_path, "single_scaled")
    export(path, tmp_path / "out", ExportOptions(validate=False))
    exported, spec = read_spec(tmp_path / "out"), read_spec(path)
    assert exported.conventions == spec.conventions
    assert exported.exported is not None
    assert exported.exported.inside == "scaling"  # scaled frames are floats, and graphs take whole numbers
    metadata = tmp_path / "out" / "export_metadata.json"
    text = metadata.read_text()
    begin = text.index('"conventions"')
    metadata.write_text(text[:begin] + text[text.index("}", begin) + 1 :].lstrip(", \n"))
    with pytest.raises(ExportedModelError, match=r"made from a SLEAP model.*older version.*Export the model again"):
        read_spec(tmp_path / "out")


@pytest.mark.parametrize("backend", ["torch", "onnx", "mnn", "openvino"])
@pytest.mark.usefixtures("cache")
def test_crops_count_pixels_after_scaling(cases: Path, backend: str) -> None:
    """SLEAP's own test allows 1.5 px from the labels; here, what SLEAP stored is met to its last digit."""
    with Predictor.from_model_paths(
        cases / "legacy_scaled_centered_instance", backend=backend, device="cpu"
    ) as predictor:
        (found,) = predictor.predict(cases / "legacy_frame.slp", as_labels=False)
    np.testing.assert_allclose(found.pred_keypoints, STORED_BY_SLEAP, atol=0.0051, rtol=0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", [{}, {"self_contained": True}])
def test_exports_of_a_model_that_looks_at_crops_of_scaled_frames(
    cases: Path, tmp_path: Path, form: dict[str, bool]
) -> None:
    export(cases / "legacy_scaled_centered_instance", tmp_path / "out", ExportOptions(validate=False, **form))
    with Predictor.from_model_paths(tmp_path / "out", backend="onnx", device="cpu") as predictor:
        (found,) = predictor.predict(cases / "legacy_frame.slp", as_labels=False)
    np.testing.assert_allclose(found.pred_keypoints, STORED_BY_SLEAP, atol=0.0051, rtol=0)
