"""Predictors on a runner class, or on runners that are open already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleap_infer import BaseInferenceRunner, InferenceRunnerTorch, Predictor
from sleap_infer.errors import BackendError, OptionError


def opened(path: Path, **options: Any) -> BaseInferenceRunner:
    return InferenceRunnerTorch.from_model_path(path, device="cpu", **options)


def poses(predictor: Predictor, video: Path) -> np.ndarray:
    with predictor:
        return np.concatenate([out.pred_keypoints for out in predictor.predict(video, False, range(2))])


def test_a_class_or_opened_runners_give_the_poses_of_their_backend(models: Path, videos: Path) -> None:
    paths = [models / "centroid", models / "centered_instance"]
    video = videos / "two_flies.mp4"
    expected = poses(Predictor.from_model_paths(paths, backend="torch", device="cpu"), video)
    assert np.isfinite(expected).any()

    class Own(InferenceRunnerTorch):
        """A backend that stands in no registry."""

    of_class = Predictor.from_model_paths(paths, backend=Own, device="cpu")
    assert all(type(runner) is Own for runner in of_class.runners)
    np.testing.assert_array_equal(poses(of_class, video), expected)
    runners = [opened(path) for path in paths]
    of_runners = Predictor.from_model_paths(paths, backend=runners)
    assert list(of_runners.runners) == runners
    np.testing.assert_array_equal(poses(of_runners, video), expected)


WRONG: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    r"peak_threshold=0\.2, here 0\.5": (lambda models: opened(models / "bottomup"), {"peak_threshold": 0.5}),
    "the runners are for centroid, the models are bottomup": (lambda models: opened(models / "centroid"), {}),
    "the runners are for bottomup, bottomup": (lambda models: [opened(models / "bottomup")] * 2, {}),
    "the runners are for , the models": (lambda models: [], {}),
    "expected a name, a runner class, or opened runners": (lambda models: [models], {}),
    "device: no effect on opened runners": (lambda models: opened(models / "bottomup"), {"device": "cpu"}),
    "precision, backend_options: no effect": (
        lambda models: opened(models / "bottomup"),
        {"precision": "fp32", "backend_options": {"streams": 1}},
    ),
    "clip: no effect": (lambda models: opened(models / "bottomup"), {"clip": np.zeros((2, 64, 64), np.uint8)}),
    "There is no backend <class 'int'>": (lambda models: int, {}),
}


@pytest.mark.parametrize("message", WRONG)
def test_runners_that_do_not_fit_are_errors(message: str, models: Path) -> None:
    make, options = WRONG[message]
    with pytest.raises(OptionError, match=message):
        Predictor.from_model_paths(models / "bottomup", backend=make(models), **options)


def test_a_class_without_models_of_its_own_is_an_error(models: Path) -> None:
    class Bare(BaseInferenceRunner):
        def _predict(self, images: Any) -> Any:
            raise NotImplementedError

    with pytest.raises(BackendError, match="constructor"):
        Predictor.from_model_paths(models / "bottomup", backend=Bare)
