"""Exports of earlier versions with a second pass at higher precision are read: the first graph alone, and a warning."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleap_infer import Predictor
from sleap_infer.checks.validate import Source
from sleap_infer.export import ExportOptions, ExportResult
from sleap_infer.export.exporting import check_options
from sleap_infer.model import read_spec


@pytest.fixture(scope="module")
def result(exports: Mapping[str, ExportResult]) -> ExportResult:
    return exports["bottomup"]


@pytest.mark.parametrize(
    ("margins", "n_warnings"),
    [({"values": 0.0136, "scores": 0.028}, 1), (0.0136, 1), ("much", 1), (None, 0), (0.0, 0)],
)
def test_the_first_graph_alone_is_used(
    margins: Any, n_warnings: int, result: ExportResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "export"
    shutil.copytree(result.directory, place)
    metadata = json.loads((place / "export_metadata.json").read_text())
    metadata["sleap_infer"]["exported"]["second_look"] = margins
    (place / "export_metadata.json").write_text(json.dumps(metadata))
    second = place / "second_look"
    second.mkdir()
    (second / "model.onnx").write_bytes(b"never opened")
    frame = np.random.default_rng(0).integers(0, 255, (192, 192, 1), np.uint8)
    with caplog.at_level(logging.WARNING, logger="sleap_infer"):
        assert read_spec(place).exported == read_spec(result.directory).exported
        with (
            Predictor.from_model_paths(place, backend="onnx") as predictor,
            Predictor.from_model_paths(result.directory, backend="onnx") as plain,
        ):
            (found,), (expected,) = (list(item.predict([frame], as_labels=False)) for item in (predictor, plain))
    assert np.array_equal(found.pred_keypoints, expected.pred_keypoints, equal_nan=True)
    lines = [record.getMessage() for record in caplog.records if "second pass" in record.getMessage()]
    assert len(lines) == n_warnings
    assert all(str(place) in line and "Export the model again" in line for line in lines)


@pytest.mark.parametrize(("given", "n_warnings"), [(True, 1), (False, 1), (None, 0)])
def test_the_option_is_accepted_and_has_no_effect(
    given: bool | None, n_warnings: int, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_options(Source.read(models / "bottomup", {}), ExportOptions(precision="int8", second_look=given))
    assert caplog.text.count("second_look is deprecated") == n_warnings
