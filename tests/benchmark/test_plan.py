"""What is planned, and which frames are for what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sleap_infer.benchmark.plan import (
    PRECISIONS,
    BenchmarkOptions,
    Configuration,
    Export,
    divide_frames,
    export_for,
    make_plan,
    read_names,
    read_sizes,
    subsample,
)
from sleap_infer.errors import OptionError
from sleap_infer.runners.registry import BUILT_IN, backend_names


def test_every_combination_once() -> None:
    plan = make_plan(list(BUILT_IN), PRECISIONS, (1, 4, 4))
    assert len(plan) == len(set(plan)) == len(BUILT_IN) * 4 * 2
    assert [item.batch_size for item in plan] == [1] * (4 * len(BUILT_IN)) + [4] * (4 * len(BUILT_IN))


def test_graph_backends_share_a_graph_and_tensorrt_has_its_own() -> None:
    assert export_for(Configuration("onnx", "int8", 1)) == export_for(Configuration("openvino", "int8", 4))
    assert export_for(Configuration("tensorrt", "int8", 1)) == Export("int8", engines=True)
    assert export_for(Configuration("torch", "fp32", 1)) is None
    assert export_for(Configuration("torch_compile", "fp32", 1)) is None


@pytest.mark.parametrize(("n_frames", "total"), [(100, 1000), (100, 100), (100, 110), (100, 40), (10, None), (1, 1)])
def test_no_judged_frame_is_seen_by_an_export(n_frames: int, total: int | None) -> None:
    use = divide_frames(n_frames, total, exports=True)
    assert not set(use.compared) & set(use.calibration)
    assert use.compared
    assert use.n_timed == min(n_frames, total or n_frames)
    assert set(use.compared) <= set(range(use.n_timed))
    assert all(index < (total or n_frames) for index in use.calibration)
    assert use.whole is (use.n_timed == total)


def test_exports_see_the_rest_of_a_long_video_and_every_other_frame_of_a_short_one() -> None:
    long = divide_frames(100, 1000, exports=True)
    assert len(long.compared) == 100
    assert len(long.calibration) == 64
    assert min(long.calibration) == 100
    assert max(long.calibration) > 950
    short = divide_frames(100, 100, exports=True)
    assert short.compared == tuple(range(0, 100, 2))
    assert short.calibration == tuple(range(1, 100, 2))
    assert divide_frames(100, 100, exports=False).compared == tuple(range(100))


def test_thinning_keeps_order_and_spread() -> None:
    assert subsample(range(6), 3) == (0, 2, 4)
    assert subsample([5, 7], 3) == (5, 7)


@pytest.mark.parametrize("text", ["", "onxx", "onnx,onxx", "onnx,all"])
def test_unknown_names(text: str) -> None:
    with pytest.raises(OptionError, match=r"--backends '.*': there is no '.*'\. Use some of torch, torch_compile"):
        read_names(text, backend_names(), "--backends")


@pytest.mark.parametrize("text", ["", "0", "1,-2", "1.5", "four"])
def test_wrong_batch_sizes(text: str) -> None:
    with pytest.raises(OptionError, match=re.escape(f"--batch-sizes {text!r}: expected positive integers")):
        read_sizes(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backends": ("onxx",)}, "backends: there is no 'onxx'"),
        ({"precisions": ("fp8",)}, "precisions: there is no 'fp8'"),
        ({"batch_sizes": ()}, "batch_sizes must be a positive integer, found 0"),
        ({"batch_sizes": (1, 0)}, "batch_sizes must be a positive integer, found 0"),
        ({"n_frames": 0}, "n_frames must be a positive integer"),
        ({"repeats": True}, "repeats must be a positive integer"),
    ],
)
def test_wrong_options(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        BenchmarkOptions(models=(Path("a"),), **given)
