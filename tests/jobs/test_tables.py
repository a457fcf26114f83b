"""Tables that spreadsheets open: names are no formulas, numbers are numbers, and names can be read back."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.jobs.store.columns import to_columns
from sleap_infer.jobs.write.tables import as_cell, write_csv
from sleap_infer.poses.outputs import Outputs

BACK = r"^'(?='*[=+\-@\t\r])"
"""As docs/jobs.md says."""


@given(st.text(alphabet="'=+-@\t\rab ", max_size=6))
def test_names_come_back(name: str) -> None:
    cell = as_cell(name)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert re.sub(BACK, "", cell) == name


@pytest.mark.parametrize("mark", ["=", "+", "-", "@", "\t", "\r"])
def test_names_are_no_formulas_and_numbers_are_numbers(mark: str, tmp_path: Path) -> None:
    name = f"{mark}HYPERLINK(1)"
    outputs = Outputs(
        frame_idx=0,
        pred_keypoints=np.array([[[-1.5, 2.0]]], np.float32),
        pred_peak_values=np.array([[-0.25]], np.float32),
        instance_scores=np.array([-1.0], np.float32),
        pred_classes=np.array([0]),
    )
    write_csv(tmp_path / "a.csv", [(0, to_columns([outputs], 1))], [name], [name], [name])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    for column in ("video", "track", "node"):
        assert row[column] == f"'{name}"
        assert re.sub(BACK, "", row[column]) == name
    assert (float(row["x"]), float(row["score"]), float(row["instance_score"])) == (-1.5, -0.25, -1.0)
