"""Lower precision: within its budget on real frames, smaller, and honest about what it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sleap_infer import Predictor
from sleap_infer.checks.figures import NodeErrors, PoseErrors
from sleap_infer.checks.validate import Checker, Source
from sleap_infer.choices import Precision
from sleap_infer.errors import OptionError
from sleap_infer.export import ExportOptions, ExportResult, Report, export, validate
from sleap_infer.graphs.bfloat16 import round_weights
from sleap_infer.model import read_spec
from sleap_infer.model.blocks import block_of
from sleap_infer.model.spec import ExportFacts
from sleap_infer.quantization.accuracy_search import (
    Attempt,
    BuiltGraph,
    QuantizableGraph,
    find_excluded,
    revert_blocks,
)


def test_halves_are_smaller_and_near(
    models: Path, videos: Path, exports: Mapping[str, ExportResult], tmp_path: Path
) -> None:
    video = videos / "one_fly.mp4"
    full = exports["single_instance"]
    sizes = {"fp32": full.graph.stat().st_size}
    eight = ExportOptions(n_frames=8)
    for backend in ("onnx", "openvino"):
        report = validate(full.directory, models / "single_instance", video, eight, backend)
        assert report.poses.p95_px < 0.001, report.line()
    halves: tuple[tuple[Precision, float], ...] = (("fp16", 0.02), ("bf16", 0.1))
    for precision, reach in halves:
        options = ExportOptions(precision=precision, n_frames=8)
        (result,) = export(models / "single_instance", tmp_path / precision, options, frames=video)
        assert result.report is not None
        assert result.report.verdict == "PASS", result.report
        sizes[precision] = result.graph.stat().st_size
        poses = result.report.poses
        assert poses.p95_px < reach, result.report.line()
        assert read_spec(result.directory).exported.precision == precision
        again = validate(result.directory, models / "single_instance", video, options, backend="openvino")
        assert again.poses.p95_px < reach, again.line()
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    assert sizes["bf16"] < 0.7 * sizes["fp32"]


@pytest.mark.slow
def test_int8_keeps_its_budget_on_other_frames(models: Path, videos: Path, tmp_path: Path) -> None:
    """Ranges are measured on one video; poses on another, which was not seen, are judged too."""
    said: list[str] = []
    options = ExportOptions(
        precision="int8",
        max_peaks_per_node=60,
        calibration=videos / "two_flies.mp4",
        calibration_frames=24,
        n_frames=8,
    )
    video = videos / "two_flies.mp4"
    (result,) = export(models / "bottomup", tmp_path / "b", options, video, said.append)
    assert result.report is not None
    assert result.report.verdict in ("PASS", "WARN"), result.report.line()
    assert result.report.poses.p95_px < 0.5
    facts = read_spec(result.directory).exported
    assert facts is not None
    assert facts.precision == "int8"
    names = sorted(path.name for path in result.directory.iterdir())
    assert names == ["export_metadata.json", "model.onnx"]
    assert any("measure ranges" in line for line in said)
    for backend in ("onnx", "openvino"):
        report = validate(result.directory, models / "bottomup", videos / "two_flies_rgb.mp4", options, backend)
        assert report.poses.p95_px < 0.5, report.line()
        assert report.poses.changed < 0.05, report.line()


@pytest.mark.exhaustive
def test_int8_takes_back_what_breaks_the_budget(models: Path, videos: Path, tmp_path: Path) -> None:
    """A budget that int8 alone cannot keep: some groups stay, at worst all of them."""
    said: list[str] = []
    options = ExportOptions(precision="int8", max_error_px=0.03, n_frames=8, calibration_frames=16)
    video = videos / "two_flies.mp4"
    (result,) = export(models / "centroid", tmp_path / "c", options, video, said.append)
    facts = read_spec(result.directory).exported
    assert facts is not None
    assert facts.kept
    assert f"blocks in fp32: {', '.join(facts.kept)}" in str(result)
    assert result.report is not None
    assert result.report.poses.p95_px <= 0.03
    assert all(any(group in line for line in said) for group in facts.kept)
    assert len(Predictor.from_model_paths(result.directory).predict(video, frames=[0])[0]) == 2


@pytest.mark.slow
def test_bf16_takes_back_what_breaks_the_budget(models: Path, videos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    budget = 0.001  # a CPU that computes in fp32 on rounded weights keeps 0.01 with no block in 32 bits
    options = ExportOptions(precision="bf16", max_error_px=budget, n_frames=8)
    (result,) = export(models / "centroid", tmp_path / "c", options, videos / "two_flies.mp4", said.append)
    facts = read_spec(result.directory).exported
    assert facts is not None
    assert facts.kept
    assert result.report is not None
    assert result.report.poses.p95_px <= budget
    kept = {block_of(node.name) for node in onnx.load(str(result.graph)).graph.node if is_kept_here(node.name, facts)}
    assert kept == set(facts.kept)


def test_weights_of_kept_blocks_are_not_rounded(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    whole, half = exports["centroid"].graph, tmp_path / "half.onnx"
    round_weights(whole, half, ["encoder_stack.0"])
    expected = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(whole)).graph.initializer}
    graph = onnx.load(str(half)).graph
    stored = {item.name: item for item in graph.initializer}
    taken = {name: block_of(node.name) for node in graph.node for name in node.input if node.op_type == "Conv"}
    large = [name for name in taken if name in expected and expected[name].size >= 256]
    assert {taken[name] for name in large} > {"encoder_stack.0"}
    for name in large:
        if taken[name] == "encoder_stack.0":
            assert np.array_equal(numpy_helper.to_array(stored[name]), expected[name])
        else:
            assert stored[f"{name}_bfloat16"].data_type == onnx.TensorProto.BFLOAT16


def is_kept_here(name: str, facts: ExportFacts) -> bool:
    return (block_of(name) or "") in facts.kept


@pytest.mark.slow
def test_int8_by_force_stays_int8(models: Path, videos: Path, tmp_path: Path) -> None:
    """Beyond its budget, and said so."""
    options = ExportOptions(precision="int8", max_error_px=0.003, n_frames=4, calibration_frames=8, force=True)
    (result,) = export(models / "centroid", tmp_path / "c", options, videos / "two_flies.mp4")
    facts = read_spec(result.directory).exported
    assert facts is not None
    assert (facts.precision, facts.kept) == ("int8", ())
    assert facts.verdict.startswith("FAIL")


@pytest.mark.parametrize(
    ("precision", "n_frames", "expected"),
    [("fp32", 8, 8), ("bf16", 4, 32), ("bf16", 8, 64), ("bf16", 30, 100), ("bf16", 40, 100), ("bf16", 200, 100)],
)
def test_as_many_frames_are_looked_at_as_a_hundredth_of_the_instances_needs(
    models: Path, videos: Path, precision: Precision, n_frames: int, expected: int
) -> None:
    """Two animals in each of a hundred frames; at most eight times as many frames as were asked for."""
    source = Source.read(models / "centroid", {})
    with Checker(source, videos / "two_flies.mp4", ExportOptions(precision=precision, n_frames=n_frames)) as checker:
        assert len(checker.expected) == expected


def test_frames_to_round_by_have_no_effect_in_other_precisions(models: Path, videos: Path, tmp_path: Path) -> None:
    options = ExportOptions(calibration=videos / "two_flies.mp4")
    with pytest.raises(OptionError, match="no effect in fp32"):
        export(models / "centroid", tmp_path / "c", options)


def test_int8_needs_real_frames(models: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--calibration"):
        export(models / "centroid", tmp_path / "c", ExportOptions(precision="int8"))
    assert list(tmp_path.iterdir()) == []


def attempt_with(harms: dict[str, float], kept: list[str]) -> Attempt:
    """An attempt whose error in px is the sum of what the groups do that are not kept."""
    px = sum(harm for name, harm in harms.items() if name not in kept)
    node = NodeErrors("head", 10, px, px, px, 0, 0)
    poses = PoseErrors(1, 1, (node,), 10, px, px, px, px, 0, 0, 0, 0, 1.0, 0, None)
    return Attempt(tuple(kept), Report("here", True, "onnx", "int8", 0.5, (), poses))


@pytest.mark.parametrize(
    ("harms", "kept"),
    [
        ({"a": 0.1, "b": 1.9, "c": 0.2}, {"b"}),
        ({"a": 0.6, "b": 0.3, "c": 1.0}, {"a", "c"}),
        ({"a": 0.7, "b": 0.6, "c": 0.9}, {"a", "b", "c"}),
        ({"a": 0.6}, {"a"}),
    ],
)
def test_groups_that_harm_most_are_kept_first(harms: dict[str, float], kept: set[str]) -> None:
    best = revert_blocks(list(harms), lambda names: attempt_with(harms, list(names)))
    assert set(best.excluded) == kept


@pytest.mark.parametrize(
    ("harms", "given", "excluded", "n_tried"),
    [
        ({"a": 0.2, "b": 0.2}, {}, (), 1),
        ({"a": 4.0, "b": 0.4}, {}, ("a",), 3),
        ({"a": 4.0, "b": 4.0}, {}, ("a", "b"), 4),
        ({"a": 4.0, "b": 4.0}, {"force": True}, (), 0),
        ({"a": 4.0, "b": 4.0}, {"validate": False}, (), 0),
    ],
)
def test_blocks_are_reverted_only_if_the_whole_does_not_pass(
    harms: dict[str, float],
    given: dict[str, bool],
    excluded: tuple[str, ...],
    n_tried: int,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[Sequence[str]] = []

    class Pretended:
        def check_on_cpu(self, _work: Path, poses_only: bool) -> Report:
            return attempt_with(harms, list(written[-1])).report

    def write(
        _graph: BuiltGraph, _quantizable: QuantizableGraph, names: Sequence[str], _options: ExportOptions
    ) -> None:
        written.append(names)

    monkeypatch.setattr("sleap_infer.quantization.accuracy_search._write", write)
    graph = BuiltGraph(Path(), read_spec(models / "centroid"), {})
    quantizable = QuantizableGraph(list(harms), lambda *_: None)
    options = ExportOptions(precision="int8", **given)
    found = find_excluded(graph, quantizable, cast(Checker, Pretended()), Path(), options, lambda _: None)
    assert (tuple(sorted(found)), len(written)) == (excluded, n_tried)


@pytest.mark.parametrize("n_kept", range(1, 16))
def test_halving_tries_few(n_kept: int) -> None:
    harms = {str(number): 0.499 / (16 - n_kept) for number in range(16)}
    tried: list[int] = []

    def attempt(names: Sequence[str]) -> Attempt:
        tried.append(len(names))
        return attempt_with(harms, list(names))

    assert len(revert_blocks(list(harms), attempt).excluded) == n_kept
    assert len(tried) <= 16 + 1 + 4


def test_a_small_plateau_is_one_peak_in_the_graph(models: Path, tmp_path: Path) -> None:
    """Half precision makes equal neighbours: up to 2x2 equal cells are one peak, in the graph as in torch."""
    import onnxruntime
    import torch

    from sleap_infer.graphs.modules import Frame, Graph, OneStage
    from sleap_infer.graphs.onnx_file import InputForm, write_graph
    from sleap_infer.model.settings import ImageSettings, StageSettings
    from sleap_infer.runners.torch.pose_network import PoseNetwork

    class AsTheyAre(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"CentroidConfmapsHead": images.half().float()}

    spec = read_spec(models / "centroid")
    spec = attrs.evolve(spec, heads=(attrs.evolve(spec.heads[0], output_stride=1),))
    network = PoseNetwork(AsTheyAre(), spec, StageSettings("centroid"), n_peaks=4)
    frame = Frame("centroid", "network", ImageSettings())
    write_graph(Graph(OneStage(network, frame), frame), tmp_path / "g.onnx", InputForm(stride=8))
    image = np.zeros((1, 1, 16, 24), np.uint8)
    image[0, 0, 3:5, 4:6] = 200
    image[0, 0, 10, 15:17] = 150
    image[0, 0, 12, 2] = 255
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    centroids, _, valid = session.run(None, {"image": image, "peak_threshold": np.array(0.2, np.float32)})
    np.testing.assert_allclose(centroids[0][valid[0]], [[4.5, 3.5], [15.5, 10.0], [2.0, 12.0]], atol=1e-4)
