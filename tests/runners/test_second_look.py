"""What lower precision is not sure of is looked at again, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from sleap_infer import FakeRunner, Predictor
from sleap_infer.candidates import Candidates
from sleap_infer.choices import StageName
from sleap_infer.errors import ExportedModelError, OptionError
from sleap_infer.export import ExportOptions, export
from sleap_infer.export.margin import compare_values
from sleap_infer.model import read_spec
from sleap_infer.model.directory import SECOND_LOOK
from sleap_infer.options import PeakOptions
from sleap_infer.profile import Stopwatch
from sleap_infer.runners import BaseInferenceRunner, SpreadRunner, find_runner
from sleap_infer.runners.second_look import SecondLookRunner, find_unsure, lower_thresholds
from sleap_infer.settings import StageSettings

THRESHOLD, MARGIN = 0.2, 0.03


@pytest.fixture(scope="module")
def real(models: Path) -> BaseInferenceRunner:
    return find_runner("torch").from_model_path(models / "single_instance", device="cpu", peak_threshold=THRESHOLD)


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
    return SecondLookRunner(quick, careful, margin)


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
    assert not find_unsure({"peak_vals": np.zeros((3, 2), np.float32)}, settings, 0.1).any()
    assert lower_thresholds(real.settings, 0.5).peak_threshold == THRESHOLD / 2


def test_both_thresholds_of_a_pipeline_count() -> None:
    settings = StageSettings("topdown", peaks=PeakOptions(peak_threshold=(0.5, 0.2)))
    assert lower_thresholds(settings, 0.03).peaks.peak_threshold == (0.47, 0.17)
    sure = {
        "centroid_vals": np.full((4, 3), 0.9, np.float32),
        "peak_vals": np.full((4, 3, 2), 0.9, np.float32),
        "instance_valid": np.array([[True, True, False]] * 4),
    }
    assert not find_unsure(sure, settings, 0.03).any()
    sure["centroid_vals"][1, 1] = 0.49
    sure["peak_vals"][2, 0, 1] = 0.21
    sure["centroid_vals"][3, 2], sure["peak_vals"][3, 2] = 0.5, 0.2  # nobody is there
    assert find_unsure(sure, settings, 0.03).tolist() == [False, True, True, False]
    sure["peak_vals"][2, 0, 1] = 0.49  # near the other threshold
    assert find_unsure(sure, settings, 0.03).tolist() == [False, True, False, False]


@pytest.mark.parametrize("name", ["centroid_vals", "peak_vals"])
def test_every_kind_has_its_values(name: str) -> None:
    found = {name: np.array([[[0.9, 0.21]], [[0.9, 0.24]], [[0.0, np.nan]]], np.float32)}
    settings = StageSettings("bottomup", peaks=PeakOptions(peak_threshold=THRESHOLD))
    assert find_unsure(found, settings, MARGIN).tolist() == [True, False, False]


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

    runner = SecondLookRunner(*(Beside(look, real.spec, real.settings) for _ in range(2)), MARGIN)
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
    assert 0 < facts.second_look < 0.1
    assert "again where a peak is within" in str(result)
    assert result.report is not None
    assert "looked at twice" in result.report.line()
    second = read_spec(place / SECOND_LOOK).exported
    assert second is not None
    assert (second.precision, second.second_look) == ("fp16", 0.0)

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
        assert runner.quick.settings.peak_threshold == pytest.approx(0.2 - facts.second_look)
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


def test_an_export_that_looks_once(models: Path, videos: Path, tmp_path: Path) -> None:
    options = ExportOptions(precision="bf16", n_frames=4, calibration_frames=4, force=True, second_look=False)
    export(models / "centroid", tmp_path / "c", options, videos / "two_flies.mp4")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["export_metadata.json", "model.onnx"]
    facts = read_spec(tmp_path / "c").exported
    assert facts is not None
    assert facts.second_look == 0
    with pytest.raises(OptionError, match="second_look has no effect in fp32"):
        export(models / "centroid", tmp_path / "d", ExportOptions(second_look=False))


def test_values_are_compared_between_the_same_peaks() -> None:
    nan = np.nan
    expected = {
        "peaks": np.array([[[[4, 4], [20, 20], [nan, nan]]]], np.float32),
        "peak_vals": np.array([[[0.5, 0.9, 0]]], np.float32),
    }
    found = {
        "peaks": np.array([[[[nan, nan], [20.5, 20], [4, 5]]]], np.float32),
        "peak_vals": np.array([[[0, 0.8, 0.53]]], np.float32),
    }
    np.testing.assert_allclose(sorted(compare_values(expected, found, reach=2.0)), [0.03, 0.1], atol=1e-6)
    np.testing.assert_allclose(compare_values(expected, found, reach=0.7), [0.1], atol=1e-6)
    single = {"peaks": np.array([[[4, 4], [9, 9]]], np.float32), "peak_vals": np.array([[0.5, 0.4]], np.float32)}
    other = {"peaks": np.array([[[9, 9], [9, 9]]], np.float32), "peak_vals": np.array([[0.4, 0.45]], np.float32)}
    np.testing.assert_allclose(compare_values(single, other, reach=2.0), [0.05], atol=1e-6)  # nodes are not mixed up
