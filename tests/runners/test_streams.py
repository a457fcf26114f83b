"""Images side by side on a processor's cores: the same answers in the same order, whatever finishes first."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sleap_infer import Predictor
from sleap_infer.errors import OptionError
from sleap_infer.frames import open_source
from sleap_infer.poses.candidates import Candidates, join
from sleap_infer.runners import find_runner
from sleap_infer.runners.base import Images
from sleap_infer.runners.streams import MOST_AT_ONCE, StreamedRunner, Streams, images_at_once, split
from sleap_infer.runners.torch.compiled import COMPILERS
from sleap_infer.runners.torch.runner import InferenceRunnerTorch

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult


@pytest.mark.parametrize(
    ("cores", "streams"), [(1, (1, 1)), (2, (2, 1)), (8, (8, 1)), (12, (6, 2)), (13, (6, 2)), (64, (8, 8))]
)
def test_cores_are_divided_and_none_is_taken_twice(cores: int, streams: tuple[int, int]) -> None:
    found = Streams.divide("throughput", cores)
    assert (found.n_streams, found.n_threads) == streams
    assert found.n_streams * found.n_threads <= cores
    assert Streams.divide("latency", cores) == Streams(1, cores)


def test_order_is_kept_whatever_finishes_first() -> None:
    chance = random.Random(0)

    def work(images: Images) -> Candidates:
        time.sleep(chance.random() / 200)
        return {"peak_vals": images[:, 0, 0].copy()}

    images = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)
    started = [Streams(4, 1).start(work, images[n : n + 5]) for n in range(0, 23, 5)]
    found = np.concatenate([pending()["peak_vals"] for pending in started])
    assert found.ravel().tolist() == list(range(23))


def test_streams_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(images: Images) -> Candidates:
        together.wait()  # would never come back if one part waited for another
        return {"peak_vals": images[:, 0, 0]}

    Streams(3, 1).start(work, np.zeros((3, 1, 1, 1), np.uint8))()


def test_an_error_of_one_part_comes_out() -> None:
    def work(images: Images) -> Candidates:
        if images.max() == 3:
            raise MemoryError("no room for image 3")
        return {"peak_vals": images[:, 0, 0]}

    pending = Streams(2, 1).start(work, np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))
    with pytest.raises(MemoryError, match="image 3"):
        pending()


def test_batches_of_a_fixed_size_are_not_torn_apart() -> None:
    parts = split(np.zeros((10, 1, 2, 2), np.uint8), 4)
    assert [len(part) for part in parts] == [4, 4, 2]


@pytest.mark.parametrize(
    ("size", "expected"), [((96, 96), MOST_AT_ONCE), ((160, 280), 2), ((363, 362), 1), ((2048, 2048), 1), ((1, 1), 4)]
)
def test_small_images_go_together(size: tuple[int, int], expected: int) -> None:
    assert images_at_once(*size) == expected


def test_one_batch_more_than_streams_may_be_queued() -> None:
    inside = threading.Barrier(3, timeout=10)

    def work(images: Images) -> Candidates:
        inside.wait()
        return {"peak_vals": images[:, 0, 0]}

    Streams(2, 1).start(work, np.zeros((3, 1, 1, 1), np.uint8), n_ahead=1)()


needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")

THREADS = {"torch": "num_threads", "onnx": "intra_op_num_threads", "openvino": "INFERENCE_NUM_THREADS"}


@pytest.fixture
def opened(models: Path, exports: Mapping[str, ExportResult]) -> Callable[[str, str, int], StreamedRunner]:
    """A runner of a backend for a kind of model, with so many streams of one core."""

    def opened(backend: str, kind: str, streams: int) -> StreamedRunner:
        path = models / kind if backend == "torch" else exports[kind].directory
        runner = find_runner(backend).from_model_path(
            path, device="cpu", backend_options={"streams": streams, THREADS[backend]: 1}, peak_threshold=0.01
        )
        assert isinstance(runner, StreamedRunner)
        return runner

    return opened


@pytest.mark.parametrize("backend", list(THREADS))
@pytest.mark.parametrize("kind", ["bottomup", "multi_class_topdown"])
def test_neither_streams_nor_batches_change_a_bit(
    backend: str, kind: str, opened: Callable[[str, str, int], StreamedRunner]
) -> None:
    one_stream, three_streams = (opened(backend, kind, streams) for streams in (1, 3))
    side = one_stream.settings.crop_size or 96
    together = one_stream._images_at_once(
        np.empty((8, 1, side, side), np.uint8)
    )  # what these give may change with them
    first = max(2 * together, 4)
    images = np.random.default_rng(0).integers(0, 256, (first + 3, 1, side, side), dtype=np.uint8)
    one, three = (
        one_stream.infer(images),
        join([three_streams.infer(images[:first]), three_streams.infer(images[first:])]),
    )
    assert three_streams.runs_beside
    assert three_streams.n_streams == 3
    for name in one:
        np.testing.assert_array_equal(three[name], one[name], err_msg=name)


@pytest.mark.parametrize("backend", list(THREADS))
@pytest.mark.parametrize("kind", ["single_instance", "bottomup", "centroid"])
def test_a_frame_gives_the_same_bits_in_any_batch(
    backend: str, kind: str, opened: Callable[[str, str, int], StreamedRunner]
) -> None:
    runner = opened(backend, kind, 3)
    channels = runner.spec.backbone.in_channels
    images = np.random.default_rng(1).integers(0, 256, (9, channels, 96, 96), dtype=np.uint8)
    together, fewer = runner.infer(images), join([runner.infer(images[n : n + 2]) for n in range(0, 8, 2)])
    assert together["centroid_vals" if kind == "centroid" else "peak_vals"].any()
    for name in together:
        np.testing.assert_array_equal(together[name][:8], fewer[name], err_msg=name)
    if backend != "torch":  # which gives all cores to a frame that is alone
        alone = join([runner.infer(images[n : n + 1]) for n in range(9)])
        for name in together:
            np.testing.assert_array_equal(together[name], alone[name], err_msg=name)


@pytest.mark.parametrize("streams", [1, 3])
def test_pytorch_gives_all_cores_to_a_frame_that_is_alone(
    streams: int, opened: Callable[[str, str, int], StreamedRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, seen = opened("torch", "bottomup", streams), []
    compute = InferenceRunnerTorch._compute

    def look(self: InferenceRunnerTorch, images: Images) -> Candidates:
        seen.append((threading.get_ident(), len(images)))
        return compute(self, images)

    monkeypatch.setattr(InferenceRunnerTorch, "_compute", look)
    images = np.zeros((5, 1, 96, 96), np.uint8)
    runner.infer(images[:1])
    assert seen == [(threading.get_ident(), 1)]
    runner.infer(images)
    assert [count for _, count in seen[1:]] == [4, 4]
    assert (threading.get_ident() in [thread for thread, _ in seen[1:]]) == (streams == 1)


@pytest.mark.parametrize(("batch_size", "together"), [(1, 1), (2, 2), (6, 2), (5, 1), (8, 8), (12, 4)])
def test_pytorch_cuts_batches_without_a_rest(batch_size: int, together: int, models: Path) -> None:
    with Predictor.from_model_paths(
        models / "bottomup", device="cpu", backend="torch", batch_size=batch_size
    ) as opened:
        runner = opened.runners[0]
        assert isinstance(runner, InferenceRunnerTorch)
        assert runner._images_at_once(np.zeros((batch_size, 1, 96, 96), np.uint8)) == together


def test_pytorch_has_frames_side_by_side_that_come_one_by_one(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    compute = InferenceRunnerTorch._compute

    def look(self: InferenceRunnerTorch, images: Images) -> Candidates:
        threads.append(threading.get_ident())
        return compute(self, images)

    monkeypatch.setattr(InferenceRunnerTorch, "_compute", look)
    with Predictor.from_model_paths(
        models / "bottomup", device="cpu", backend="torch", batch_size=1, backend_options={"streams": 2}
    ) as opened:
        opened.runners[0].infer(np.zeros((1, 1, 96, 96), np.uint8))
    (thread,) = threads
    assert thread != threading.get_ident()


def test_batches_are_as_many_as_fill_the_streams_with_small_images(exports: Mapping[str, ExportResult]) -> None:
    runner = find_runner("openvino").from_model_path(
        exports["bottomup"].directory, device="cpu", backend_options={"streams": 3}
    )
    assert runner.n_batches == 1  # of four images, as far as it is known
    runner.infer(np.zeros((4, 1, 96, 96), np.uint8))
    assert runner.n_batches == 3


@pytest.mark.parametrize(
    ("backend", "options", "streams"),
    [
        ("onnx", {"intra_op_num_threads": 2}, 1),
        ("onnx", {"streams": 2, "intra_op_num_threads": 1}, 2),
        ("openvino", {"INFERENCE_NUM_THREADS": 1}, 1),
        ("torch", {"num_threads": 1}, 1),
        ("torch", {"streams": 3}, 3),
        ("torch", {"lanes": 3}, 3),  # the earlier name
        ("torch_compile", {"streams": 2, "at_once": 4}, 2),
    ],
)
def test_threads_that_were_asked_for(
    backend: str, options: dict[str, int], streams: int, models: Path, exports: Mapping[str, ExportResult]
) -> None:
    path = models / "centroid" if backend.startswith("torch") else exports["centroid"].directory
    runner = find_runner(backend).from_model_path(path, device="cpu", backend_options=options)
    assert runner.n_streams == streams


def test_pytorch_has_the_threads_of_its_stream_and_other_threads_keep_theirs() -> None:
    from sleap_infer.runners.torch.threads import limit_threads

    seen = []

    def stream(*asked: int) -> None:
        for n_threads in asked:
            limit_threads(n_threads)
            seen.append(torch.get_num_threads())

    before = threads_of_others()
    in_threads([lambda: stream(before + 1, before + 2, 1)])
    assert seen == [before + 1, before + 2, 1]
    assert threads_of_others() == before


def test_many_streams_may_begin_with_pytorch_at_once() -> None:
    from sleap_infer.runners.torch.threads import limit_threads

    before, together, seen = threads_of_others(), threading.Barrier(8), []

    def stream() -> None:
        together.wait()
        limit_threads(before + 3)
        seen.append(torch.get_num_threads())

    in_threads([stream] * 8)
    assert seen == [before + 3] * 8
    assert threads_of_others() == before


def threads_of_others() -> int:
    """How many cores PyTorch uses in a thread that has not used it yet."""
    found: list[int] = []
    in_threads([lambda: found.append(torch.get_num_threads())])
    return found[0]


def in_threads(functions: list[Callable[[], None]]) -> None:
    """Run each in a thread that has not used PyTorch yet."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@needs_compiler
@pytest.mark.exhaustive
def test_streams_share_what_one_of_them_compiles(models: Path, videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On animals: peaks of noise come and go with the last bits, which differ between compiled and other code."""
    with open_source(videos / "two_flies.mp4", frames=range(22)) as source:
        images = np.ascontiguousarray(next(iter(source.batches(22))).images[:, :, 48:144, 48:144])
    compiled = find_runner("torch_compile").from_model_path(
        models / "bottomup",
        device="cpu",
        backend_options={"streams": 3, "at_once": 4, "num_threads": 1},
    )
    plain = find_runner("torch").from_model_path(models / "bottomup", device="cpu")
    caplog.set_level("INFO", logger="sleap_infer.progress")
    found, expected = compiled.infer(images), plain.infer(images)
    assert caplog.text.count("compiling for 4 images") == caplog.text.count("compiling") == 1
    assert expected["peak_mask"].any()
    np.testing.assert_array_equal(found["peak_mask"], expected["peak_mask"])
    np.testing.assert_allclose(found["peaks"], expected["peaks"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("streams", [0, -1, "many", True])
def test_streams_are_a_number(streams: object, exports: Mapping[str, ExportResult]) -> None:
    with pytest.raises(OptionError, match="streams"):
        find_runner("onnx").from_model_path(
            exports["centroid"].directory, device="cpu", backend_options={"streams": streams}
        )


def test_streams_may_be_the_first_to_use_openvino() -> None:
    """Where two threads are the first to have it look at numpy, OpenVINO 2026.4 stops the whole process for good."""
    pytest.importorskip("openvino")
    program = """
import os, sys, threading
from sleap_infer.runners.graph.openvino import require_openvino
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
