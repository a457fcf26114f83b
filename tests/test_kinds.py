"""A kind of model is one row, its mathematics and its decoder: the steps of CONTRIBUTING.md, walked with a toy kind."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import sleap_infer
from sleap_infer import Predictor
from sleap_infer.config.kinds import KINDS, Head, Kind, model_kinds, pipeline_kinds, register
from sleap_infer.config.options import applies_to, option_fields
from sleap_infer.errors import OptionError
from sleap_infer.graphs.layout import flat_names
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.ops import candidates as mathematics
from sleap_infer.ops.candidates import Arrays, Finding, to_candidates
from sleap_infer.poses import postprocess as decoders
from sleap_infer.poses.candidates import Candidates
from sleap_infer.poses.postprocess import Indices, Rows
from sleap_infer.predictors.factory import read_plan
from sleap_infer.predictors.one_stage import OneStagePredictor
from sleap_infer.runners.fake import FakeRunner

sys.path.append(str(Path(__file__).parent / "model"))

TOY = Kind(
    name="toy",
    label="toy",
    arrays={"peaks": "BN2", "peak_vals": "BN", "sums": "BN"},
    finder="find_toy",
    decoder="decode_toy",
    heads=(Head("confmaps", "ToyConfmapsHead", "nodes"),),
    scopes=("frames", "points"),
)


def find_toy(maps: Arrays, finding: Finding) -> Arrays:
    """The highest peaks, and the sum of each map."""
    (head,) = finding.spec.heads
    return {**mathematics.find_highest(maps, finding), "sums": maps[head.name].sum(dim=(2, 3))}


def decode_toy(candidates: Candidates, spec: ModelSpec, settings: object) -> tuple[Indices, Rows]:
    """One instance per image, whose score is the sum of its maps."""
    rows = {
        "pred_raw_keypoints": candidates["peaks"],
        "pred_peak_values": candidates["peak_vals"],
        "instance_scores": candidates["sums"].sum(axis=1),
    }
    return np.arange(len(candidates["peaks"])), rows


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(mathematics.FINDERS, "find_toy", find_toy)
    monkeypatch.setitem(decoders.DECODERS, "decode_toy", decode_toy)
    register(TOY)
    yield
    del KINDS["toy"]


@pytest.fixture
def model(toy: None, tmp_path: Path) -> Path:
    from tiny_model import tiny_config, write_model

    write_model(tmp_path / "toy", tiny_config("toy"))
    return tmp_path / "toy"


def test_a_toy_kind_is_predicted_from_its_configuration_to_labels(model: Path) -> None:
    """A fake network draws its maps from the first row of the image: a peak of 0.5 at (8, 0), 0.25 beside it."""
    plan = read_plan(model, {"refinement": "none"})
    (spec,), (settings,) = plan.specs, plan.settings.stages
    assert (spec.kind, plan.kind) == ("toy", "toy")
    head = spec.map_head("ConfmapsHead")

    def network(images: np.ndarray) -> Candidates:
        maps = torch.zeros(len(images), 3, images.shape[2] // 2, images.shape[3] // 2)
        maps[:, :, 0, 4], maps[:, :, 0, 5] = 0.5, 0.25
        found = to_candidates({head.name: maps}, spec, settings)
        return {name: values.numpy() for name, values in found.items()}

    predictor = Predictor.class_for(plan.kind)([FakeRunner(network, spec, settings)], plan.settings)
    assert isinstance(predictor, OneStagePredictor)
    with predictor:
        labels = predictor.predict(np.zeros((3, 64, 64), np.uint8))
    assert len(labels) == 3
    for frame in labels:
        (instance,) = frame.instances
        np.testing.assert_array_equal(instance.numpy(), [[8, 0]] * 3)
        assert instance.score == pytest.approx(3 * 0.75)


def test_a_toy_kind_runs_its_own_network(model: Path) -> None:
    options = {"refinement": "none", "peak_threshold": -100.0}
    with Predictor.from_model_paths(model, backend="torch", device="cpu", **options) as predictor:
        (outputs,) = predictor.predict(np.zeros((1, 64, 64), np.uint8), as_labels=False)
    assert outputs.pred_keypoints.shape == (1, 3, 2)
    assert not np.isnan(outputs.pred_keypoints).any()


def test_everything_that_reads_rows_knows_a_toy_kind(model: Path) -> None:
    assert "toy" in model_kinds()
    assert "toy" in pipeline_kinds("points")
    assert "toy" not in applies_to(option_fields()["n_points"])
    assert flat_names("toy") == ("points",)
    with pytest.raises(OptionError, match="no effect on a toy model"):
        read_plan(model, {"max_edge_length_ratio": 0.5})
    with pytest.raises(OptionError, match="'toy' already"):
        register(TOY)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind is 'toy', expected one of single_instance, centroid"):
        ModelSpec("toy", None, None, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("row", KINDS.values(), ids=lambda row: row.name)
def test_a_row_names_functions_that_are_there(row: Kind, models: Path) -> None:
    assert row.decoder in decoders.DECODERS
    assert row.is_fused or row.finder in mathematics.FINDERS
    assert row.pipeline in KINDS
    assert Predictor.class_for(row.pipeline).uses_crops is row.uses_crops
    if not row.is_fused:
        names = [head.name for head in read_spec(models / row.name).heads]
        assert names == [head.name for head in row.heads]


def test_no_other_module_asks_for_a_kind_by_its_name() -> None:
    """Kinds are compared nowhere: what depends on them is in their row."""
    package = Path(sleap_infer.__file__).parent
    asked = re.compile(rf"""kinds?(\[\d\])? (==|!=|in|not in) \(?["']({"|".join(KINDS)})["']""")
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if asked.search(line)
    ]
    assert not found


def test_documents_describe_every_kind() -> None:
    concepts = (Path(__file__).parents[1] / "docs" / "concepts.md").read_text(encoding="utf-8")
    for row in KINDS.values():
        assert f"| {row.label} |" in concepts, row.label
        for name, axes in row.arrays.items():
            assert f"`{name}` ({', '.join(axes)})" in concepts, (row.name, name)
