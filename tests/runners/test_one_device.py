"""A model is opened on one device; a job gives each of several devices a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sleap_infer import Predictor
from sleap_infer.errors import DeviceError
from sleap_infer.jobs.api import share_out, split_devices
from sleap_infer.runners import find_runner
from sleap_infer.runners.registry import backend_names

OPENERS: dict[str, Callable[[Path, str, str], Any]] = {
    "predictor": lambda path, backend, device: Predictor.from_model_paths(path, backend=backend, device=device),
    "runner": lambda path, backend, device: find_runner(backend).from_model_path(path, device=device),
    "require": lambda _, backend, device: find_runner(backend).require(device),
}


@pytest.mark.parametrize("device", ["cuda:0,1", "cpu,cpu", "cuda:0,"])
@pytest.mark.parametrize(
    ("opener", "backend"),
    [("predictor", "auto"), *((opener, backend) for opener in OPENERS for backend in backend_names())],
)
def test_several_devices_are_refused(opener: str, backend: str, device: str, models: Path) -> None:
    with pytest.raises(DeviceError, match=rf"one device.*sleap-infer predict --device {device} --workers 2"):
        OPENERS[opener](models / "centroid", backend, device)


@pytest.mark.parametrize(
    ("n_workers", "text", "expected"),
    [
        (1, "cuda:0,1", ["cuda:0", "cuda:1"]),
        (2, "cuda:0,1,2", ["cuda:0", "cuda:1", "cuda:2"]),
        (3, "cuda:0,1", ["cuda:0", "cuda:1", "cuda:0"]),
        (1, "cpu", ["cpu"]),
    ],
)
def test_each_device_has_a_worker(n_workers: int, text: str, expected: list[str]) -> None:
    assert [place.device for place in share_out(n_workers, text)] == expected


@pytest.mark.parametrize("text", ["cuda:0,0", "cuda:0,", "cpu,,cpu", "cuda:1,cuda:1"])
def test_devices_that_are_not_understood(text: str) -> None:
    with pytest.raises(DeviceError, match="cuda:0,1"):
        split_devices(text)
    with pytest.raises(DeviceError, match="cuda:0,1"):
        share_out(2, text)
