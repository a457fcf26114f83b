"""Several devices take turns: order, errors, and the ends of threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sleap_infer import FakeRunner, Predictor
from sleap_infer.errors import DeviceError
from sleap_infer.runners import SpreadRunner, find_runner
from sleap_infer.runners.spread import split_devices


def test_batches_come_back_in_order(models: Path) -> None:
    """The second device is ten times slower than the first."""
    real = find_runner("torch").from_model_path(models / "single_instance", device="cpu")
    used: list[int] = []

    def device(number: int) -> FakeRunner:
        def look(images: np.ndarray) -> dict[str, np.ndarray]:
            time.sleep(0.001 + 0.01 * number)
            used.append(number)
            if images[0, 0, 0, 0] == 255:
                raise MemoryError("full")
            value = images[:, :1, 0, 0].astype(np.float32)
            return {"peaks": np.stack([value, value], -1), "peak_vals": value}

        return FakeRunner(look, real.spec, real.settings)

    spread = SpreadRunner([device(0), device(1)])
    assert spread.runs_beside
    assert spread.n_batches == 2
    started = [spread.start(np.full((1, 1, 4, 4), number, np.uint8)) for number in range(20)]
    assert [float(pending()["peak_vals"][0, 0]) for pending in started] == list(range(20))
    assert sorted(set(used)) == [0, 1]
    broken = spread.start(np.full((1, 1, 4, 4), 255, np.uint8))
    with pytest.raises(MemoryError, match="full"):
        broken()
    assert spread.infer(np.full((1, 1, 4, 4), 7, np.uint8))["peak_vals"][0, 0] == 7
    spread.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sleap_infer cpu")]


def test_a_pipeline_on_two_devices_gives_the_same(models: Path, videos: Path) -> None:
    paths = [models / "centroid", models / "centered_instance"]
    video = videos / "two_flies.mp4"
    with Predictor.from_model_paths(paths, device="cpu", batch_size=3) as one:
        expected = one.predict(video, as_labels=False)
    with Predictor.from_model_paths(paths, device="cpu,cpu", batch_size=3) as two:
        assert two.describe()["device"] == "cpu,cpu"
        assert two.describe()["backend"] == "torch"
        found = two.predict(video, as_labels=False)
    for a, b in zip(found, expected, strict=True):
        assert a.frame_idx == b.frame_idx
        np.testing.assert_array_equal(a.pred_keypoints, b.pred_keypoints)


@pytest.mark.parametrize("text", ["cuda:0,0", "cuda:0,", "cpu,,cpu", "cuda:1,cuda:1"])
def test_devices_that_are_not_understood(text: str, models: Path) -> None:
    with pytest.raises(DeviceError, match="cuda:0,1"):
        Predictor.from_model_paths(models / "centroid", device=text)


def test_one_of_several_devices_is_not_there(models: Path) -> None:
    assert split_devices("cuda:0,1,cpu") == ["cuda:0", "cuda:1", "cpu"]
    with pytest.raises(DeviceError, match="cuda:98"):
        Predictor.from_model_paths(models / "centroid", device="cpu,cuda:98")
