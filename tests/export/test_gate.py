"""The gate sees differences, says where they are, and lets nothing bad into place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import pytest
import sleap_io as sio
import torch

from sleap_infer import Outputs
from sleap_infer.checks import limits
from sleap_infer.checks.check import compare_poses
from sleap_infer.checks.figures import PoseErrors, RawErrors
from sleap_infer.checks.images import choose_frames, structured_images
from sleap_infer.checks.validate import Source
from sleap_infer.errors import ExportDiffersError, ModelCombinationError, SourceNotFoundError, UnsupportedModelError
from sleap_infer.export import ExportOptions, ExportResult, Report, export, validate

NAN = float("nan")
NODES = ("head", "tail")


def frame(*poses: list[tuple[float, float]], capped: bool = False) -> Outputs:
    points = np.array(poses, np.float32).reshape(-1, 2, 2)
    return Outputs(pred_keypoints=points, instance_scores=np.ones(len(points), np.float32), capped=capped)


def report(poses: PoseErrors, precision: str = "fp32", raw: tuple[RawErrors, ...] = (), real: bool = True) -> Report:
    budget = 0.01 if precision == "fp32" else 0.5
    return Report("here", real, "onnx", precision, budget, raw, poses)  # type: ignore[arg-type]


def raw(max_abs: float, cosine: float = 1.0, unequal: int = 0) -> RawErrors:
    return RawErrors("bottomup", "peak_vals", 10, max_abs, max_abs**2, cosine, unequal)


FLY, BEE = [(10.0, 10.0), (20.0, 10.0)], [(100.0, 50.0), (110.0, 50.0)]


def test_distances_are_measured_node_by_node() -> None:
    """In the second frame a head is 3 px to the right and 4 down, and the instances are in another order."""
    expected = [frame(FLY), frame(FLY, BEE)]
    found = [frame(FLY), frame(BEE, [(13.0, 14.0), (20.0, 10.0)])]
    errors = compare_poses(expected, found, NODES)
    assert (errors.n_frames, errors.n_instances, errors.n_points) == (2, 3, 6)
    assert (errors.lost, errors.gained, errors.instances_lost, errors.instances_gained) == (0, 0, 0, 0)
    assert errors.max_px == 5.0
    assert errors.worst is not None
    assert (errors.worst.frame, errors.worst.node, errors.worst.px) == (1, "head", 5.0)
    head, tail = errors.nodes
    assert (head.n_points, head.max_px, tail.max_px) == (3, 5.0, 0.0)
    assert errors.p95_px == pytest.approx(np.percentile([0, 0, 0, 0, 0, 5], 95))
    assert 0 < errors.oks < 1


def test_what_is_lost_and_gained_is_counted() -> None:
    expected = [frame(FLY, BEE), frame(FLY)]
    found = [frame([(10.0, 10.0), (NAN, NAN)]), frame(FLY, BEE)]
    errors = compare_poses(expected, found, NODES)
    assert (errors.lost, errors.gained, errors.instances_lost, errors.instances_gained) == (1, 0, 1, 1)
    assert errors.nodes[1].lost == 1
    assert errors.changed == pytest.approx(2 / 3)
    assert report(errors).verdict == "FAIL"


def test_frames_without_animals_and_without_matches() -> None:
    none = compare_poses([frame()], [frame()], NODES)
    assert (none.n_points, none.worst) == (0, None)
    assert report(none).verdict == "WARN"
    assert json.dumps(report(none).as_dict(), allow_nan=False)
    assert report(none).draw() is None
    assert compare_poses([frame(FLY)], [frame(BEE)], NODES).instances_lost == 1


def test_full_frames_count_for_distances_only() -> None:
    errors = compare_poses([frame(FLY, BEE)], [frame(FLY, capped=True)], NODES)
    assert (errors.instances_lost, errors.n_capped) == (0, 1)
    assert report(errors).verdict == "WARN"


SAME = compare_poses([frame(FLY)], [frame(FLY)], NODES)


@pytest.mark.parametrize(
    ("moved", "precision", "verdict"),
    [(0.0, "fp32", "PASS"), (0.009, "fp32", "PASS"), (0.011, "fp32", "FAIL"), (0.4, "int8", "PASS"),
     (0.6, "int8", "FAIL"), (0.6, "fp16", "FAIL"), (0.4, "bf16", "PASS")],
)  # fmt: skip
def test_the_budget_decides(moved: float, precision: str, verdict: str) -> None:
    errors = compare_poses([frame(FLY)], [frame([(10.0 + moved, 10.0), (20.0 + moved, 10.0)])], NODES)
    assert report(errors, precision).pose_verdict == verdict


@pytest.mark.parametrize(
    ("row", "precision", "verdict", "grade"),
    [
        (raw(5e-6), "fp32", "PASS", "excellent"),
        (raw(5e-5), "fp32", "PASS", "good"),
        (raw(5e-4), "fp32", "FAIL", "poor"),
        (raw(0.0, unequal=1), "fp32", "FAIL", "excellent"),
        (raw(0.05, cosine=0.99995), "int8", "PASS", "poor"),
        (raw(0.05, cosine=0.99), "int8", "WARN", "poor"),
    ],
)
def test_limits_of_raw_values(row: RawErrors, precision: str, verdict: str, grade: str) -> None:
    found = report(SAME, precision, (row,))
    assert (found.raw_verdict, limits.grade(row)) == (verdict, grade)
    assert (found.verdict == "FAIL") == (verdict == "FAIL")


def test_poses_on_generated_images_are_not_judged() -> None:
    moved = compare_poses([frame(FLY)], [frame([(15.0, 10.0), (20.0, 10.0)])], NODES)
    assert report(moved, real=False).verdict == "WARN"
    assert report(moved, real=False, raw=(raw(1e-3),)).verdict == "FAIL"


def test_an_export_is_validated_later(
    exports: Mapping[str, ExportResult], models: Path, videos: Path, tmp_path: Path
) -> None:
    found = validate(exports["bottomup"].directory, models / "bottomup", videos / "two_flies.mp4")
    assert found.verdict == "PASS", found.line()
    assert found.poses.n_frames == 32
    assert found.poses.max_px < 0.001
    assert found.poses.oks > 0.999
    assert {row.output for row in found.raw} == {
        "peaks", "peak_vals", "peak_mask", "line_scores", "candidate_mask",
    }  # fmt: skip
    assert all(row.n_values > 0 and row.cosine > 0.999999 for row in found.raw)
    picture = found.draw()
    assert picture is not None
    assert picture.shape == (384, 384, 3)
    for text in (str(found), json.dumps(found.as_dict(), allow_nan=False)):
        assert "wing_left" in text
    openvino = validate(
        exports["bottomup"].directory, models / "bottomup", videos / "two_flies.mp4", backend="openvino"
    )
    assert openvino.verdict == "PASS", openvino.line()


def test_only_exports_are_validated(models: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="not an exported one"):
        validate(models / "bottomup", models / "bottomup")


def test_other_weights_are_not_compared(exports: Mapping[str, ExportResult], models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelCombinationError, match="was not made from"):
        validate(exports["bottomup"].directory, models / "multi_class_bottomup")


def test_an_export_that_differs_is_not_put_in_place(
    models: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real difference: the traced network's weights are rounded, while fp32 is claimed."""
    from sleap_infer.graphs import build as making

    build = making.build_network

    def worse(*arguments: object) -> object:
        network = build(*arguments)  # type: ignore[arg-type]
        for weights in network.parameters():
            weights.data *= 1.02
        return network

    place, video = tmp_path / "c", videos / "two_flies.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(making, "build_network", worse)
        with pytest.raises(ExportDiffersError, match=r"FAIL.*Nothing was written"):
            export(models / "centroid", place, ExportOptions(n_frames=4), frames=video)
        assert list(tmp_path.iterdir()) == []
        options = ExportOptions(force=True, draw=tmp_path / "worst.png", n_frames=4)
        (kept,) = export(models / "centroid", place, options, frames=video)
    assert kept.report is not None
    assert kept.report.verdict == "FAIL"
    assert kept.spec.exported is not None
    assert kept.spec.exported.verdict.startswith("FAIL")
    assert (tmp_path / "worst.png").stat().st_size > 1000


def test_labelled_frames_beside_the_model_come_first(models: Path, videos: Path, tmp_path: Path) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(models / "centered_instance", model)
    source = Source.read(model, {})
    (generated,) = choose_frames(None, [model], source.settings, 1, at_most=8)
    assert not generated.are_real
    assert generated.as_crops
    shutil.copy(videos / "two_flies.mp4", model)
    shutil.copy(videos / "two_flies.truth.slp", model / "labels_val_gt_0.slp")
    labels = sio.load_slp(str(model / "labels_val_gt_0.slp"))
    assert len(labels) > 0
    (chosen,) = choose_frames(None, [model], source.settings, 1, at_most=8)
    assert chosen.are_real
    (result,) = export(model, tmp_path / "out")
    assert result.report is not None
    assert result.report.verdict == "PASS", result.report.line()


def test_frames_that_are_not_there(models: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        export(models / "centroid", tmp_path / "c", frames=tmp_path / "nothing.mp4")
    assert list(tmp_path.iterdir()) == []


def test_centres_of_frames_for_a_model_that_looks_at_crops(models: Path, videos: Path) -> None:
    source = Source.read(models / "centered_instance", {})
    (chosen,) = choose_frames(str(videos / "two_flies.mp4"), [], source.settings, 1, at_most=4)
    assert chosen.as_crops
    assert not chosen.are_real
    assert [crop.shape for crop in chosen.source] == [(80, 80, 1)] * 4


def test_generated_images_have_structure() -> None:
    images = structured_images(3, (40, 60), 3)
    assert images.shape == (3, 40, 60, 3)
    assert images.std(axis=(1, 2)).min() > 5
    np.testing.assert_array_equal(images, structured_images(3, (40, 60), 3))


class Darker(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() * 0.5).to(torch.uint8)


def test_hooks_are_no_reason_to_judge_poses(models: Path, videos: Path, tmp_path: Path) -> None:
    options = ExportOptions(before=Darker(), n_frames=4, batch_size=4, input_size=(96, 96))
    (result,) = export(models / "single_instance", tmp_path / "s", options, frames=videos / "two_flies_rgb.mp4")
    assert result.report is not None
    assert (result.report.verdict, result.report.raw_verdict) == ("WARN", "PASS")
    assert attrs.evolve(result.report, are_real=True).poses.max_px > 0
