"""Images side by side on a processor's cores: the same answers in the same order, whatever finishes first."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sleap_infer.candidates import Candidates, join
from sleap_infer.errors import OptionError
from sleap_infer.profile import Stopwatch
from sleap_infer.runners import find_runner
from sleap_infer.runners.base import Images
from sleap_infer.runners.lanes import MOST_AT_ONCE, Lanes, images_at_once, in_units

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult


@pytest.mark.parametrize(
    ("cores", "lanes"), [(1, (1, 1)), (2, (2, 1)), (8, (8, 1)), (12, (6, 2)), (13, (6, 2)), (64, (8, 8))]
)
def test_cores_are_divided_and_none_is_taken_twice(cores: int, lanes: tuple[int, int]) -> None:
    found = Lanes.divide("throughput", cores)
    assert (found.n_lanes, found.n_threads) == lanes
    assert found.n_lanes * found.n_threads <= cores
    assert Lanes.divide("latency", cores) == Lanes(1, cores)


def test_order_is_kept_whatever_finishes_first() -> None:
    chance = random.Random(0)

    def work(images: Images) -> Candidates:
        time.sleep(chance.random() / 200)
        return {"peak_vals": images[:, 0, 0].copy()}

    images = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)
    started = [Lanes(4, 1).start(work, images[n : n + 5], Stopwatch()) for n in range(0, 23, 5)]
    found = np.concatenate([pending()["peak_vals"] for pending in started])
    assert found.ravel().tolist() == list(range(23))


def test_lanes_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(images: Images) -> Candidates:
        together.wait()  # would never come back if one part waited for another
        return {"peak_vals": images[:, 0, 0]}

    Lanes(3, 1).start(work, np.zeros((3, 1, 1, 1), np.uint8), Stopwatch())()


def test_an_error_of_one_part_comes_out() -> None:
    def work(images: Images) -> Candidates:
        if images.max() == 3:
            raise MemoryError("no room for image 3")
        return {"peak_vals": images[:, 0, 0]}

    pending = Lanes(2, 1).start(work, np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), Stopwatch())
    with pytest.raises(MemoryError, match="image 3"):
        pending()


def test_batches_of_a_fixed_size_are_not_torn_apart() -> None:
    parts = in_units(np.zeros((10, 1, 2, 2), np.uint8), 4)
    assert [len(part) for part in parts] == [4, 4, 2]


@pytest.mark.parametrize(
    ("size", "expected"), [((96, 96), MOST_AT_ONCE), ((160, 280), 2), ((363, 362), 1), ((2048, 2048), 1), ((1, 1), 4)]
)
def test_small_images_go_together(size: tuple[int, int], expected: int) -> None:
    assert images_at_once(*size) == expected


def test_one_part_more_than_lanes_may_wait_at_the_door() -> None:
    inside = threading.Barrier(3, timeout=10)

    def work(images: Images) -> Candidates:
        inside.wait()
        return {"peak_vals": images[:, 0, 0]}

    Lanes(2, 1).start(work, np.zeros((3, 1, 1, 1), np.uint8), Stopwatch(), n_ahead=1)()


THREADS = {"onnx": "intra_op_num_threads", "openvino": "INFERENCE_NUM_THREADS"}


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", ["bottomup", "multi_class_topdown"])
def test_neither_lanes_nor_batches_change_a_bit(backend: str, kind: str, exports: Mapping[str, ExportResult]) -> None:
    opened = [
        find_runner(backend).from_model_path(
            exports[kind].directory, device="cpu", backend_options={"lanes": lanes, THREADS[backend]: 1}
        )
        for lanes in (1, 3)
    ]
    side = opened[0].settings.crop_size or 96
    images = np.random.default_rng(0).integers(0, 256, (7, 1, side, side), dtype=np.uint8)
    one, three = opened[0].infer(images), join([opened[1].infer(images[:4]), opened[1].infer(images[4:])])
    assert opened[1].runs_beside
    assert opened[1].n_lanes == 3
    for name in one:
        np.testing.assert_array_equal(three[name], one[name], err_msg=name)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", ["single_instance", "bottomup", "centroid"])
def test_a_frame_gives_the_same_bits_in_any_batch(backend: str, kind: str, exports: Mapping[str, ExportResult]) -> None:
    runner = find_runner(backend).from_model_path(
        exports[kind].directory, device="cpu", backend_options={"lanes": 3, THREADS[backend]: 1}
    )
    channels = runner.spec.backbone.in_channels
    images = np.random.default_rng(1).integers(0, 256, (9, channels, 96, 96), dtype=np.uint8)
    together, alone = runner.infer(images), join([runner.infer(images[n : n + 1]) for n in range(9)])
    for name in together:
        np.testing.assert_array_equal(together[name], alone[name], err_msg=name)


def test_batches_are_as_many_as_fill_the_lanes_with_small_images(exports: Mapping[str, ExportResult]) -> None:
    runner = find_runner("openvino").from_model_path(
        exports["bottomup"].directory, device="cpu", backend_options={"lanes": 3}
    )
    assert runner.n_batches == 1  # of four images, as far as it is known
    runner.infer(np.zeros((4, 1, 96, 96), np.uint8))
    assert runner.n_batches == 3


@pytest.mark.parametrize(
    ("backend", "options", "lanes"),
    [
        ("onnx", {"intra_op_num_threads": 2}, 1),
        ("onnx", {"lanes": 2, "intra_op_num_threads": 1}, 2),
        ("openvino", {"INFERENCE_NUM_THREADS": 1}, 1),
    ],
)
def test_threads_that_were_asked_for(
    backend: str, options: dict[str, int], lanes: int, exports: Mapping[str, ExportResult]
) -> None:
    runner = find_runner(backend).from_model_path(exports["centroid"].directory, device="cpu", backend_options=options)
    assert runner.n_lanes == lanes


@pytest.mark.parametrize("lanes", [0, -1, "many", True])
def test_lanes_are_a_number(lanes: object, exports: Mapping[str, ExportResult]) -> None:
    with pytest.raises(OptionError, match="lanes"):
        find_runner("onnx").from_model_path(
            exports["centroid"].directory, device="cpu", backend_options={"lanes": lanes}
        )


def test_lanes_may_be_the_first_to_use_openvino() -> None:
    """Where two threads are the first to have it look at numpy, OpenVINO 2026.4 stops the whole process for good."""
    pytest.importorskip("openvino")
    program = """
import os, sys, threading
from sleap_infer.runners.openvino import require_openvino
openvino = require_openvino()
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def look():
    together.wait()
    openvino.Type.f32.to_dtype()
threads = [threading.Thread(target=look, daemon=True) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
