"""What lower precision is not sure of is looked at again, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from sleap_infer import FakeRunner, Predictor
from sleap_infer.checks.margin import compare
from sleap_infer.choices import StageName
from sleap_infer.config.options import PeakOptions
from sleap_infer.errors import ExportedModelError, OptionError
from sleap_infer.export import ExportOptions, export
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.readers.directory import SECOND_LOOK
from sleap_infer.model.readers.exported_spec import spec_from_json, spec_to_json
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import ExportFacts, Margins
from sleap_infer.ops.grouping import group_instances
from sleap_infer.ops.identity import group_by_class
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners import BaseInferenceRunner, SpreadRunner, find_runner
from sleap_infer.runners.doubts import find_unsure, lower_thresholds, near_other_classes, near_thresholds
from sleap_infer.runners.profile import Stopwatch
from sleap_infer.runners.second_look import SecondLookRunner

THRESHOLD, MARGIN = 0.2, 0.03


@pytest.fixture(scope="module")
def real(models: Path) -> BaseInferenceRunner:
    return find_runner("torch").from_model_path(models / "single_instance", device="cpu", peak_threshold=THRESHOLD)


@pytest.fixture(scope="module")
def specs(models: Path) -> Mapping[str, ModelSpec]:
    return {kind: read_spec(models / kind) for kind in ("single_instance", "bottomup", "multi_class_bottomup")}


@pytest.fixture(scope="module")
def bottomup(specs: Mapping[str, ModelSpec]) -> ModelSpec:
    """Of two nodes."""
    skeleton = attrs.evolve(specs["bottomup"].skeleton, nodes=("A", "B"), edges=(("A", "B"),), symmetries=())
    heads = tuple(attrs.evolve(head, channels=2) for head in specs["bottomup"].heads)
    return attrs.evolve(specs["bottomup"], skeleton=skeleton, heads=heads, paf_edges=((0, 1),))


def pretend(
    real: BaseInferenceRunner, values: Callable[[NDArray[Any]], NDArray[Any]], settings: StageSettings
) -> FakeRunner:
    """A network whose two peaks have these values; an image holds its number."""

    def look(images: NDArray[Any]) -> Candidates:
        found = values(images[:, 0, 0, 0].astype(int)).astype(np.float32)
        found[found < settings.peak_threshold] = 0
        places = np.where(found[..., None] > 0, np.float32(3), np.float32(np.nan)).repeat(2, axis=2)
        return {"peaks": places, "peak_vals": found}

    return FakeRunner(look, real.spec, settings)


def looks_twice(
    real: BaseInferenceRunner, values: NDArray[Any], noise: NDArray[Any], margin: float = MARGIN
) -> SecondLookRunner:
    quick = pretend(real, lambda which: values[which] + noise[which], lower_thresholds(real.settings, margin))
    careful = pretend(real, lambda which: values[which].copy(), real.settings)
    return SecondLookRunner(quick, careful, Margins(margin))


def images(n_images: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.arange(n_images, dtype=np.uint8)[:, None, None, None], (n_images, 1, 4, 4)).copy()


def test_errors_within_the_margin_never_make_or_lose_a_peak(real: BaseInferenceRunner) -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0, 1, (200, 2)) ** 3
    noise = generator.uniform(-0.99 * MARGIN, 0.99 * MARGIN, values.shape)
    expected = values >= THRESHOLD
    assert ((values + noise >= THRESHOLD) != expected).sum() > 3  # as one look would have it
    runner = looks_twice(real, values, noise)
    found = np.concatenate([runner.infer(batch)["peak_vals"] for batch in np.split(images(200), 25)]) > 0
    assert np.array_equal(found, expected)
    assert runner.n_images == 200
    assert 10 < runner.n_twice < 60


def test_only_unsure_images_are_looked_at_again(real: BaseInferenceRunner) -> None:
    values = np.array([[0.9, 0.5], [0.9, 0.21], [0.1, 0.5], [0.18, 0.9]])
    noise = np.full(values.shape, 0.004)
    found = looks_twice(real, values, noise).infer(images(4))["peak_vals"]
    np.testing.assert_allclose(found[[0, 2]], [[0.904, 0.504], [0, 0.504]], rtol=1e-6)  # 0.104 is no peak at all
    np.testing.assert_allclose(found[[1, 3]], [[0.9, 0.21], [0, 0.9]], rtol=1e-6)


def test_a_small_threshold_narrows_the_margin(real: BaseInferenceRunner) -> None:
    """All is above 0; there is nothing to be unsure of."""
    settings = attrs.evolve(real.settings, peaks=PeakOptions(peak_threshold=0.0))
    assert lower_thresholds(settings, 0.1).peak_threshold == 0.0
    assert not near_thresholds({"peak_vals": np.zeros((3, 2), np.float32)}, settings, 0.1).any()
    assert lower_thresholds(real.settings, 0.5).peak_threshold == THRESHOLD / 2


def test_both_thresholds_of_a_pipeline_count() -> None:
    settings = StageSettings("topdown", peaks=PeakOptions(peak_threshold=(0.5, 0.2)))
    assert lower_thresholds(settings, 0.03).peaks.peak_threshold == (0.47, 0.17)
    sure = {
        "centroid_vals": np.full((4, 3), 0.9, np.float32),
        "peak_vals": np.full((4, 3, 2), 0.9, np.float32),
        "instance_valid": np.array([[True, True, False]] * 4),
    }
    assert not near_thresholds(sure, settings, 0.03).any()
    sure["centroid_vals"][1, 1] = 0.49
    sure["peak_vals"][2, 0, 1] = 0.21
    sure["centroid_vals"][3, 2], sure["peak_vals"][3, 2] = 0.5, 0.2  # nobody is there
    assert near_thresholds(sure, settings, 0.03).tolist() == [False, True, True, False]
    sure["peak_vals"][2, 0, 1] = 0.49  # near the other threshold
    assert near_thresholds(sure, settings, 0.03).tolist() == [False, True, False, False]


@pytest.mark.parametrize("name", ["centroid_vals", "peak_vals"])
def test_every_kind_has_its_values(name: str) -> None:
    found = {name: np.array([[[0.9, 0.21]], [[0.9, 0.24]], [[0.0, np.nan]]], np.float32)}
    settings = StageSettings("bottomup", peaks=PeakOptions(peak_threshold=THRESHOLD))
    assert near_thresholds(found, settings, MARGIN).tolist() == [True, False, False]


def test_what_is_counted_is_counted_once(real: BaseInferenceRunner) -> None:
    """Runners around other runners hand their stopwatch on."""
    values = np.full((4, 2), THRESHOLD)
    watch = Stopwatch()
    inner = [looks_twice(real, values, np.zeros(values.shape)) for _ in range(2)]
    spread = SpreadRunner(inner)
    spread.count_with(watch)
    assert all(part.stopwatch is watch for runner in inner for part in (runner, runner.quick, runner.careful))
    spread.close()


def test_a_device_beside_the_host_is_counted_once(real: BaseInferenceRunner) -> None:
    """What starts and waits is the runner inside; the one around it adds nothing."""

    class Beside(FakeRunner):
        runs_beside = True  # type: ignore[assignment]  # as on a GPU

    class Counting(Stopwatch):
        def __init__(self) -> None:
            super().__init__()
            self.stages: list[StageName] = []

        def add(self, stage: StageName, seconds: float) -> None:
            self.stages.append(stage)

    def look(batch: NDArray[Any]) -> Candidates:
        return {"peaks": np.zeros((len(batch), 2, 2)), "peak_vals": np.full((len(batch), 2), THRESHOLD)}

    runner = SecondLookRunner(*(Beside(look, real.spec, real.settings) for _ in range(2)), Margins(MARGIN))
    runner.count_with(watch := Counting())
    assert runner.start(images(3))()["peak_vals"].shape == (3, 2)
    assert watch.stages == ["transfer", "network"] * 2  # a first and a second look


def test_an_export_that_looks_twice(models: Path, videos: Path, tmp_path: Path) -> None:
    """With a threshold that is the value of a peak: unsure frames have the poses of one graph, others of the other."""
    video, place = videos / "two_flies.mp4", tmp_path / "b"
    options = ExportOptions(precision="bf16", n_frames=8, calibration_frames=8, force=True)
    (result,) = export(models / "bottomup", place, options, video)
    facts = read_spec(place).exported
    assert facts is not None
    assert facts.second_look is not None
    assert 0 < facts.second_look.values < 0.1
    assert 0 < facts.second_look.scores < 0.2
    assert "again where a peak is within" in str(result)
    assert result.report is not None
    assert "looked at twice" in result.report.line()
    second = read_spec(place / SECOND_LOOK).exported
    assert second is not None
    assert (second.precision, second.second_look) == ("fp16", None)

    def poses(path: Path, threshold: float, batch_size: int) -> list[NDArray[Any]]:
        with Predictor.from_model_paths(
            path, backend="onnx", peak_threshold=threshold, batch_size=batch_size
        ) as predictor:
            found = predictor.predict(video, as_labels=False, frames=range(10))
            return [np.asarray(outputs.pred_keypoints) for outputs in found]

    with Predictor.from_model_paths(place, backend="onnx") as predictor:
        (runner,) = predictor.runners
        assert isinstance(runner, SecondLookRunner)
        assert runner.settings.peak_threshold == runner.careful.settings.peak_threshold == 0.2
        assert runner.quick.settings.peak_threshold == pytest.approx(0.2 - facts.second_look.values)
        assert predictor.describe()["precision"] == "bf16"
        values = [np.asarray(outputs.pred_peak_values) for outputs in predictor.predict(video, as_labels=False)]
        assert runner.n_twice < runner.n_images == len(values)
    threshold = float(np.nanmin(values[4]))
    alone = tmp_path / "alone.onnx"  # a graph that was taken out of its directory looks once
    shutil.copy(place / "model.onnx", alone)
    careful, quick = (poses(path, threshold, 4) for path in (place / SECOND_LOOK, alone))
    for batch_size in (1, 4):
        found = poses(place, threshold, batch_size)
        same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(found, careful, strict=True)]
        assert same[4]
        assert not all(same)
        for a, b, is_same in zip(found, quick, same, strict=True):
            assert is_same or np.array_equal(a, b, equal_nan=True)

    shutil.rmtree(place / SECOND_LOOK)
    with pytest.raises(ExportedModelError, match=r"second_look/ is not there.*Copy the whole directory"):
        Predictor.from_model_paths(place)


def test_margins_as_metadata_have_them(models: Path) -> None:
    """Those of today, and those of exports that looked at values only."""
    spec = attrs.evolve(read_spec(models / "bottomup"), exported=ExportFacts("", 20))
    data = spec_to_json(spec)
    for given, expected in [
        (None, None),
        ({"values": 0.01, "scores": 0.02}, Margins(0.01, 0.02)),
        (0.0, None),
        (0.01, Margins(0.01)),
    ]:
        data["exported"]["second_look"] = given
        facts = spec_from_json(data, Path()).exported
        assert facts is not None
        assert facts.second_look == expected
        written = spec_to_json(attrs.evolve(spec, exported=facts))["exported"]["second_look"]
        assert written == (attrs.asdict(expected) if expected else None)
    for wrong in ("much", {"values": -1.0}, {"value": 0.01}):
        data["exported"]["second_look"] = wrong
        with pytest.raises((TypeError, ValueError)):
            spec_from_json(data, Path())


def test_an_export_that_looks_once(models: Path, videos: Path, tmp_path: Path) -> None:
    options = ExportOptions(precision="bf16", n_frames=4, calibration_frames=4, force=True, second_look=False)
    export(models / "centroid", tmp_path / "c", options, videos / "two_flies.mp4")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["export_metadata.json", "model.onnx"]
    facts = read_spec(tmp_path / "c").exported
    assert facts is not None
    assert facts.second_look is None
    with pytest.raises(OptionError, match="second_look has no effect in fp32"):
        export(models / "centroid", tmp_path / "d", ExportOptions(second_look=False))


def connected(scores: NDArray[Any]) -> Candidates:
    """Images with a peak at each place of two nodes, that score so if connected: (B, K, K)."""
    places = scores.shape[-1]
    return {
        "peak_vals": np.full((len(scores), 2, places), 0.9, np.float32),
        "peak_mask": np.ones((len(scores), 2, places), bool),
        "line_scores": scores.reshape(len(scores), 1, -1).astype(np.float32),
    }


def test_errors_within_the_margin_never_change_who_is_paired(bottomup: ModelSpec) -> None:
    """Two pairings differ by four scores at most."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 1, (2000, 2, 2)) + np.eye(2) / 4
    noise = generator.uniform(-1, 1, scores.shape) * MARGIN / 4
    settings = StageSettings("bottomup", peaks=PeakOptions(peak_threshold=THRESHOLD))
    unsure = find_unsure(connected(scores + noise), bottomup, settings, Margins(0.01, MARGIN))
    assert unsure.mean() < 0.6  # many of these tables are contested

    def members(table: NDArray[Any]) -> list[Any]:
        least = settings.grouping.min_line_scores
        there = np.ones((1, 2, 2), bool)
        return group_instances(there, table[None, None].astype(np.float32), bottomup.paf_edges, least)[1].tolist()

    changed = np.array([members(a) != members(a + b) for a, b in zip(scores, noise, strict=True)])
    assert changed.sum() > 3
    assert not (changed & ~unsure).any()


def test_pairs_that_are_unsure(bottomup: ModelSpec) -> None:
    settings = StageSettings("bottomup", peaks=PeakOptions(peak_threshold=THRESHOLD))
    scores = np.array(
        [
            [[0.9, 0.1], [0.1, 0.8]],
            [[0.9, 0.895], [0.895, 0.9]],  # about as good the other way round
            [[0.9, 0.0], [0.1, 0.26]],  # about to be no connection
            [[0.1, 0.1], [0.1, 0.1]],  # none, whichever way
            [[0.9, np.nan], [np.nan, 0.8]],
            [[0.8, 0.5], [0.9, 0.1]],  # the first source gives way
            [[0.8, 0.9], [0.5, 0.1]],  # the first destination does
            [[0.9, 0.3], [0.24, -0.3]],  # the second has nobody else; alone, it would nearly do
            [[0.9, 0.2], [0.2, -0.3]],
        ]
    )
    found = connected(scores)
    expected = [False, True, True, False, False, True, True, True, False]
    assert find_unsure(found, bottomup, settings, Margins(0.01, 0.02)).tolist() == expected
    assert not find_unsure(found, bottomup, settings, Margins(0.01, 0.0)).any()
    found["peak_mask"][1, :, 1] = False  # one pair is left
    assert not find_unsure(found, bottomup, settings, Margins(0.01, 0.02))[1]
    found["peak_mask"][:] = False
    assert not find_unsure(found, bottomup, settings, Margins(0.01, 0.02)).any()


def test_errors_within_the_margin_never_change_a_class() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.uniform(0, 1, (400, 1, 2, 2)).astype(np.float32)
    noise = generator.uniform(-1, 1, probabilities.shape).astype(np.float32) * MARGIN / 4
    is_peak = np.ones((400, 1, 2), bool)
    unsure = near_other_classes({"peak_mask": is_peak, "class_probs": probabilities + noise}, MARGIN)
    changed = group_by_class(is_peak, probabilities) != group_by_class(is_peak, probabilities + noise)
    changed = changed.reshape(400, -1).any(axis=1)
    assert changed.sum() > 3
    assert unsure.sum() < 100
    assert not (changed & ~unsure).any()
    alone = {"peak_mask": is_peak[:1], "class_probs": probabilities[:1, ..., :1]}  # of one class: the better peak
    assert near_other_classes(alone, float(np.ptp(alone["class_probs"])) + 0.01).all()
    assert not near_other_classes(alone, float(np.ptp(alone["class_probs"])) - 0.01).any()


def test_numbers_are_compared_between_the_same_peaks(bottomup: ModelSpec) -> None:
    """Maps have a cell for every second pixel; the same peaks may be two cells apart."""
    nan = np.nan
    expected = {
        "peaks": np.array([[[[4, 4], [20, 20], [nan, nan]], [[5, 9], [nan, nan], [nan, nan]]]], np.float32),
        "peak_vals": np.array([[[0.5, 0.9, 0], [0.7, 0, 0]]], np.float32),
        "line_scores": np.array([[[0.8, nan, nan, 0.3, nan, nan, nan, nan, nan]]], np.float32),
    }
    found = {
        "peaks": np.array([[[[nan, nan], [20.5, 20], [4, 5]], [[nan, nan], [5, 9], [30, 30]]]], np.float32),
        "peak_vals": np.array([[[0, 0.8, 0.53], [0, 0.72, 0.5]]], np.float32),
        "line_scores": np.array([[[nan, nan, nan, nan, 0.35, 0.9, nan, 0.79, 0.9]]], np.float32),
    }
    values, scores = compare(expected, found, bottomup)
    np.testing.assert_allclose(sorted(values), [0.02, 0.03, 0.1], atol=1e-6)
    np.testing.assert_allclose(sorted(scores), [0.01, 0.05], atol=1e-6)
    found["peaks"][0, 0, 2] = [4, 4 + 2 * 2 + 0.1]  # too far
    values, scores = compare(expected, found, bottomup)
    np.testing.assert_allclose(sorted(values), [0.02, 0.1], atol=1e-6)
    np.testing.assert_allclose(scores, [0.05], atol=1e-6)


def test_nodes_are_not_mixed_up(specs: Mapping[str, ModelSpec]) -> None:
    single = {"peaks": np.array([[[4, 4], [9, 9]]], np.float32), "peak_vals": np.array([[0.5, 0.4]], np.float32)}
    other = {"peaks": np.array([[[9, 9], [9, 9]]], np.float32), "peak_vals": np.array([[0.4, 0.45]], np.float32)}
    values, scores = compare(single, other, specs["single_instance"])
    np.testing.assert_allclose(values, [0.05], atol=1e-6)
    assert len(scores) == 0
    both = attrs.evolve(specs["single_instance"], kind="topdown")
    crops = {  # two places, in another order; of each the two nodes of a crop
        "centroids": np.array([[[8, 8], [40, 40]]], np.float32),
        "centroid_vals": np.array([[0.9, 0.8]], np.float32),
        "peaks": np.array([[[[4, 4], [9, 9]], [[44, 44], [49, 49]]]], np.float32),
        "peak_vals": np.array([[[0.5, 0.4], [0.3, 0.2]]], np.float32),
    }
    turned = {name: values[:, ::-1] + (0.01 if "vals" in name else 0) for name, values in crops.items()}
    np.testing.assert_allclose(compare(crops, turned, both)[0], 0.01, atol=1e-6)
    assert len(compare(crops, turned, both)[0]) == 6
    turned["peaks"] = turned["peaks"][:, :, ::-1]
    assert len(compare(crops, turned, both)[0]) == 2  # the centroids


def test_classes_are_compared_of_the_same_peaks(specs: Mapping[str, ModelSpec]) -> None:
    expected = {
        "peaks": np.array([[[[4, 4], [20, 20]]]], np.float32),
        "peak_vals": np.full((1, 1, 2), 0.9, np.float32),
        "class_probs": np.array([[[[0.9, 0.1], [0.2, 0.7]]]], np.float32),
    }
    found = {name: values[:, :, ::-1] for name, values in expected.items()}
    found["class_probs"] = found["class_probs"] + np.float32(0.02)
    _, scores = compare(expected, found, specs["multi_class_bottomup"])
    np.testing.assert_allclose(scores, [0.02] * 4, atol=1e-6)
