"""Live prediction: the poses of `predict`, in the calling thread, with every frame and millisecond accounted for."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sleap_infer import FakeRunner, Outputs, Predictor
from sleap_infer.config.options import FilterOptions, ReturnOptions, StreamOptions
from sleap_infer.errors import BackendError, FrameReadError, ImageError, ModelCombinationError, OptionError
from sleap_infer.frames import open_source
from sleap_infer.frames.live.source import LiveFrame, LiveSource
from sleap_infer.model import read_spec
from sleap_infer.model.settings import ImageSettings, PipelineSettings, StageSettings
from sleap_infer.predictors import SingleInstancePredictor
from sleap_infer.predictors.live.latency import MAX_LATENCIES, Latencies
from sleap_infer.predictors.live.run import LiveRun
from sleap_infer.predictors.live.session import WARM_UPS, LiveSession, crop_counts

PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "centered_instance"),
    ("centroid", "multi_class_topdown"),
)


class Ticks:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Brightest:
    """Stands for a network: all nodes are at the brightest pixel. Takes `cost` seconds of a clock."""

    def __init__(self, clock: Ticks | None = None, cost: float = 0.0) -> None:
        self.clock, self.cost = clock, cost
        self.threads: set[int] = set()
        self.n_calls = 0

    def __call__(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.threads.add(threading.get_ident())
        self.n_calls += 1
        if self.clock is not None:
            self.clock.now += self.cost
        places = [np.unravel_index(image[0].argmax(), image[0].shape)[::-1] for image in images]
        peaks = np.repeat(np.array(places, np.float32)[:, None], 5, axis=1)
        return {"peaks": peaks, "peak_vals": np.ones(peaks.shape[:2], np.float32)}


def make(models: Path, network: Brightest, **returned: bool) -> SingleInstancePredictor:
    stage = StageSettings("single_instance")
    runner = FakeRunner(network, read_spec(models / "single_instance"), stage)
    heavy = ReturnOptions(**returned)
    settings = PipelineSettings("single_instance", ImageSettings(), (stage,), FilterOptions(), heavy, StreamOptions())
    return SingleInstancePredictor([runner], settings, batch_size=1)


def spot(x: int, y: int, height: int = 12, width: int = 20, kind: Any = np.uint8) -> NDArray[Any]:
    """A frame with one bright pixel."""
    frame = np.zeros((height, width), kind)
    frame[y, x] = 200
    return frame


def place(outputs: Outputs) -> list[float]:
    assert outputs.pred_keypoints is not None
    return np.asarray(outputs.pred_keypoints)[0, 0].tolist()


@pytest.fixture(scope="module")
def flies(videos: Path) -> list[NDArray[np.uint8]]:
    """Two frames (192, 192, 1) of two flies."""
    with open_source(videos / "two_flies.mp4", [3, 50]) as source:
        return [np.asarray(image).transpose(1, 2, 0) for batch in source.batches(1) for image in batch.images]


@pytest.mark.parametrize("names", PIPELINES, ids="-".join)
def test_live_gives_what_predict_gives(names: tuple[str, ...], models: Path, flies: list[NDArray[np.uint8]]) -> None:
    first, second = flies
    forms: list[NDArray[Any]] = [
        first,
        second[..., 0],
        first.astype(np.float32),
        second.astype(np.float64) / 255,
        np.repeat(first, 3, axis=2),
        second[::-1, ::2],
        first[:101, :77],
        np.zeros((192, 192, 1), np.uint8),
    ]
    with Predictor.from_model_paths([models / name for name in names], device="cpu", batch_size=1) as predictor:
        session = LiveSession(predictor)
        for number, frame in enumerate(forms):
            frame.flags.writeable = False
            (expected,) = predictor.predict([frame], as_labels=False)
            found = session(frame)
            assert found.frame_idx == number
            for name, value in expected.as_dict().items():
                if isinstance(value, np.ndarray):
                    np.testing.assert_array_equal(getattr(found, name), value, f"{name} of {frame.shape}")
        (known,) = predictor.predict([first], as_labels=False)
        assert known.n_instances > 0


def test_a_frame_is_worked_on_in_the_calling_thread(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    network = Brightest()
    session = LiveSession(make(models, network))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert place(session(spot(3, 5))) == [3.0, 5.0]
    assert network.threads == {threading.get_ident()}


def test_frames_may_change_their_size_type_and_channels(models: Path) -> None:
    session = LiveSession(make(models, Brightest()))
    assert place(session(spot(3, 5))) == [3.0, 5.0]
    assert place(session(spot(30, 1, 40, 50))) == [30.0, 1.0]
    assert place(session(spot(2, 4, kind=np.float64))) == [2.0, 4.0]
    assert place(session(np.repeat(spot(1, 7)[..., None], 3, axis=2))) == [1.0, 7.0]
    assert place(session(spot(0, 0, 1, 1))) == [0.0, 0.0]
    outputs = session(spot(7, 2)[..., None])
    assert place(outputs) == [7.0, 2.0]
    assert (outputs.frame_idx, outputs.video_idx) == (5, 0)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((0, 8), np.uint8), "empty"),
        (np.zeros((8, 8, 0), np.uint8), "empty"),
        (np.zeros((8, 8), np.int32), "int32"),
        (np.zeros((8, 8), np.uint16), "uint16"),
        (np.zeros((8, 8), bool), "bool"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((8, 8, 4), np.uint8), "alpha"),
        (np.zeros((8, 8, 5), np.uint8), "not one frame"),
        (np.zeros((1, 8, 8), np.uint8), "not one frame"),
        (np.zeros((1, 8, 8, 1), np.uint8), "not one frame"),
        (np.full((8, 8), np.nan, np.float32), "NaN"),
        ([[0, 1], [1, 0]], "list"),
        (None, "NoneType"),
        ("frame.png", "str"),
    ],
)
def test_what_is_not_a_frame_is_refused_and_not_counted(frame: Any, message: str, models: Path) -> None:
    session = LiveSession(make(models, Brightest()), n_warm_up=0)
    with pytest.raises(ImageError, match=message):
        session(frame)
    with pytest.raises(ImageError, match=message):
        session.warm_up(frame)
    assert session.report().n_frames == 0
    assert session(spot(1, 1)).frame_idx == 0


def test_a_closed_session(models: Path) -> None:
    predictor = make(models, Brightest())
    with LiveSession(predictor) as session:
        session(spot(1, 1))
        session(spot(1, 1))
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session(spot(1, 1))
    with pytest.raises(BackendError, match="closed"):
        session.warm_up(spot(1, 1))
    assert session.report().n_frames == 1
    assert place(LiveSession(predictor)(spot(1, 1))) == [1.0, 1.0], "the predictor is open"


def test_a_predictor_keeps_a_session(models: Path) -> None:
    predictor = make(models, Brightest())
    assert predictor.live_report().n_frames == 0
    for number in range(3):
        outputs = predictor.live(spot(number, 4))
        assert (outputs.frame_idx, place(outputs)) == (number, [number, 4.0])
    assert (predictor.live_report().n_frames, predictor.live_report().n_warm_up) == (2, 1)
    predictor.close()
    with pytest.raises(BackendError, match="closed"):
        predictor.live(spot(0, 0))


def test_crops_without_centroids_are_refused(models: Path) -> None:
    with (
        Predictor.from_model_paths(models / "centered_instance", device="cpu") as predictor,
        pytest.raises(ModelCombinationError, match="a live frame does not say where these are"),
    ):
        LiveSession(predictor)


def test_images_that_are_asked_for_are_not_those_of_the_next_frame(models: Path) -> None:
    session = LiveSession(make(models, Brightest(), return_images=True))
    buffer = spot(3, 5)
    outputs = session(buffer)
    buffer[:] = 7
    assert outputs.original_image is not None
    assert np.array_equal(np.asarray(outputs.original_image)[0], spot(3, 5))


def test_the_report_counts_warm_up_apart(models: Path) -> None:
    clock = Ticks()
    network = Brightest(clock, cost=2.0)
    session = LiveSession(make(models, network), clock=clock)
    session(spot(1, 1))
    network.cost = 0.010
    for _ in range(3):
        session(spot(1, 1))
    report = session.report()
    assert (report.n_frames, report.n_warm_up) == (3, 1)
    assert report.warm_up_ms == pytest.approx(2000)
    assert (report.p50_ms, report.p99_ms, report.worst_ms) == pytest.approx((10, 10, 10))
    assert report.fps == pytest.approx(100)
    warm = LiveSession(make(models, network), clock=clock)
    warm.warm_up(spot(1, 1))
    assert warm(spot(1, 1)).frame_idx == 0
    assert (warm.report().n_frames, warm.report().n_warm_up) == (1, WARM_UPS)


def test_percentiles() -> None:
    latencies = Latencies()
    for number in range(1, 101):
        latencies.add(number, number + number / 1000)
    report = latencies.report()
    assert (report.p50_ms, report.p90_ms, report.p99_ms) == pytest.approx((50.5, 90.1, 99.01))
    assert (report.n_frames, report.worst_ms) == (100, pytest.approx(100))
    assert report.fps == pytest.approx(100 / 99.1)
    assert report.line().startswith("p50 50.5, p90 90.1, p99 99.0, worst 100.0 ms")


def test_only_the_last_latencies_are_kept_but_the_worst_of_all() -> None:
    latencies = Latencies()
    for number in range(MAX_LATENCIES):
        latencies.add(number, number + 0.5)
    for number in range(MAX_LATENCIES):
        latencies.add(number, number + 0.002)
    report = latencies.report()
    assert report.n_frames == 2 * MAX_LATENCIES
    assert (report.p50_ms, report.p99_ms) == pytest.approx((2, 2))
    assert report.worst_ms == pytest.approx(500)


def test_a_report_without_frames() -> None:
    report = Latencies().report()
    assert report.n_frames == 0
    assert math.isnan(report.p50_ms)
    assert report.line() == "no frames"
    assert report.as_dict() == {
        "n_frames": 0,
        "p50_ms": None,
        "p90_ms": None,
        "p99_ms": None,
        "worst_ms": None,
        "fps": None,
        "n_warm_up": 0,
        "warm_up_ms": 0.0,
    }


def test_warming_up_runs_the_second_network_whatever_is_in_the_frame(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [models / "centroid", models / "centered_instance"]
    with Predictor.from_model_paths(paths, device="cpu", crop_batch_size=4) as predictor:
        sizes = []
        second = type(predictor.runners[1])._work

        def watched(runner: Any, images: NDArray[Any]) -> Any:
            if runner is predictor.runners[1]:
                sizes.append(len(images))
            return second(runner, images)

        monkeypatch.setattr(type(predictor.runners[1]), "_work", watched)
        session = LiveSession(predictor)
        session.warm_up(np.zeros((192, 192), np.uint8))
        assert sizes == [1, 2, 4]
        assert session.report().n_warm_up == WARM_UPS
        assert crop_counts(1) == [1]


class Frames:
    """A feed of frames that came at known times."""

    name, must_be_read = "frames", False
    first = spot(0, 0)[..., None]

    def __init__(self, *times: float, breaks: bool = False) -> None:
        self.times, self.breaks = times, breaks
        self.turn = threading.Semaphore(0)

    def frames(self, _stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        for index, time in enumerate(self.times):
            self.turn.acquire(timeout=20)
            yield LiveFrame(spot(index, 1)[..., None], index, time)
        if self.breaks:
            raise FrameReadError("frames broke off")

    def video(self, _n_frames: int) -> Any:
        raise AssertionError

    def in_colour(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_deadline(models: Path) -> None:
    """Frames come at 0, 1, 2 and 3 s; the deadline is 125 ms. All are fractions that floats hold exactly."""
    clock = Ticks()
    network = Brightest(clock)
    feed = Frames(0.0, 1.0, 2.0, 3.0)
    session = LiveSession(make(models, network), n_warm_up=0, clock=clock)
    with LiveSource(feed, clock) as source:
        run = LiveRun(session, source, deadline_ms=125)
        results = []
        for now, cost in ((1 / 32, 1 / 32), (1.25, 1 / 32), (2 + 1 / 16, 1 / 8), (3 + 1 / 8, 0.0)):
            clock.now, network.cost = now, cost
            feed.turn.release()
            results.append(run.step(timeout=20))
        in_time, left_out, late, just = results
        assert in_time is not None
        assert (in_time.outputs.frame_idx, in_time.is_late) == (0, False)
        assert in_time.latency_ms == 62.5
        assert place(in_time.outputs) == [0.0, 1.0]
        assert left_out is None
        assert late is not None
        assert (late.outputs.frame_idx, late.is_late) == (2, True)
        assert late.latency_ms == 187.5
        assert just is not None
        assert (just.outputs.frame_idx, just.latency_ms, just.is_late) == (3, 125.0, False)
        assert network.n_calls == 3, "a frame that is too late costs nothing"
        assert run.step(timeout=20) is None
        assert source.has_ended
        report = run.report()
    assert (report.n_seen, report.n_predicted, report.n_dropped, report.n_too_late) == (4, 3, 0, 1)
    assert (report.n_late_results, report.n_late) == (1, 2)
    assert report.as_dict()["predictor"]["n_frames"] == 3
    assert "4 frames seen, 3 predicted, 0 dropped, 2 late (1 not predicted); latency: p50 125.0" in report.line()


def test_without_a_deadline_nothing_is_late(models: Path) -> None:
    clock = Ticks()
    feed = Frames(0.0, 0.1, 0.2, breaks=True)
    clock.now = 1e6
    for _ in range(3):
        feed.turn.release()
    session = LiveSession(make(models, Brightest(clock)), clock=clock)
    with LiveSource(feed, clock) as source:
        results = []
        run = LiveRun(session, source)
        with pytest.raises(FrameReadError, match="broke off"):
            results.extend(run)
        report = run.report()
    assert results[-1].outputs.frame_idx == 2
    assert report.n_late == 0
    assert report.n_seen == 3 == report.n_predicted + report.n_dropped
    assert report.n_predicted == len(results)


@pytest.mark.parametrize("deadline", [0, -1.0, math.nan])
def test_a_deadline_is_above_zero(deadline: float, models: Path) -> None:
    with LiveSource(Frames()) as source, pytest.raises(OptionError, match="deadline_ms"):
        LiveRun(LiveSession(make(models, Brightest())), source, deadline)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_dark_frame_of_floats_keeps_the_range_of_the_frames_before(kind: str, models: Path) -> None:
    """The level 1 is dark where other frames go up to 255; fractions are from 0 to 1 in any case."""
    images: list[Any] = [np.full((64, 64), 200.0, np.float32), np.full((64, 64), 1.0, np.float32)]
    if kind == "tensor":
        torch = pytest.importorskip("torch")
        images = [torch.from_numpy(image) for image in images]
    with (
        Predictor.from_model_paths(models / "centroid", device="cpu", return_images=True) as predictor,
        LiveSession(predictor) as session,
    ):
        tops = [float(session(image).original_image.max()) * 255 for image in (images[1], *images, images[1] / 2)]
    np.testing.assert_allclose(tops, [255, 200, 1, 127.5], rtol=1e-5)
