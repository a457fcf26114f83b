"""Time stamps of frames: those of the container, in Python, in journals and in tables."""

from __future__ import annotations

import csv
import math
import sqlite3
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest

from sleap_infer import FakeRunner, InferenceRunnerTorch, Predictor, open_live
from sleap_infer.choices import OutputFormat
from sleap_infer.frames import open_source
from sleap_infer.frames.readers.av import VideoFileReader
from sleap_infer.jobs import JobOptions, Models, Task, run_job
from sleap_infer.jobs.store.columns import Columns, join
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.predictors import SingleInstancePredictor
from sleap_infer.predictors.live.run import LiveRun
from sleap_infer.predictors.live.session import LiveSession

MILLISECOND = Fraction(1, 1000)
N_FRAMES = 30
TIMES = [round(40 * n + 7 * (n % 3) + 400 * (n >= 11)) for n in range(N_FRAMES)]
"""When frames are shown, in milliseconds: about 25 per second, irregular, with a pause of 0.4 s."""

N_LONG = 700
LONG_TIMES = [20 * n + 11 * (n % 2) for n in range(N_LONG)]


def write(path: Path, times: list[int], codec: str = "libx264", **options: str) -> Path:
    """Write a video of gray frames that are shown at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = MILLISECOND
        for n, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 5 * n % 250, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = time, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("videos") / "irregular.mp4", TIMES, g="10", bf="2")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("videos") / "long.mkv", LONG_TIMES, g="50", bf="2", preset="ultrafast")


@pytest.fixture(scope="module")
def predictor(models: Path) -> Predictor:
    """A predictor that finds one point of each instance in every frame, in no time."""
    own = InferenceRunnerTorch.from_model_path(models / "single_instance", device="cpu")

    def everywhere(images: Any) -> dict[str, Any]:
        points = np.full((len(images), own.spec.n_nodes, 2), 3, np.float32)
        return {"peaks": points, "peak_vals": np.ones(points.shape[:2], np.float32)}

    opened = Predictor.from_model_paths(models / "single_instance", device="cpu", backend="torch")
    runner = FakeRunner(everywhere, own.spec, own.settings)
    return SingleInstancePredictor([runner], opened.settings, batch_size=4)


def seconds(times: list[int]) -> list[float]:
    return [time / 1000 for time in times]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx")])
def test_the_times_are_those_of_the_container(suffix: str, codec: str, tmp_path: Path, predictor: Predictor) -> None:
    path = write(tmp_path / f"v{suffix}", TIMES, codec)
    found = predictor.predict(path, as_labels=False)
    assert [outputs.time_s for outputs in found] == pytest.approx(seconds(TIMES), abs=1e-6)
    chosen = predictor.predict(path, as_labels=False, frames=[0, 12, 29])
    assert [outputs.time_s for outputs in chosen] == pytest.approx(seconds([TIMES[n] for n in (0, 12, 29)]), abs=1e-6)


def test_sought_frames_have_the_same_times(long: Path) -> None:
    reader = VideoFileReader(long)
    wanted = [3, 350, 351, 650]
    assert [reader.time_s for _ in reader.read(wanted)] == seconds([LONG_TIMES[n] for n in wanted])
    assert [reader.time_s for _ in reader.read_from(N_LONG - 9)] == seconds(LONG_TIMES[-9:])
    assert reader.times_s() == seconds(LONG_TIMES)


def test_a_damaged_frame_keeps_its_time(video: Path, tmp_path: Path) -> None:
    content = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        victim = next(packet for packet in packets[12:] if not packet.is_keyframe)
        pts, start, size = victim.pts, victim.pos, victim.size
    content[start : start + size] = bytes(size)
    (tmp_path / "torn.mp4").write_bytes(content)
    reader = VideoFileReader(tmp_path / "torn.mp4")
    assert [reader.time_s for _ in reader.read(None)] == pytest.approx(seconds(TIMES), abs=1e-6), pts


def images(folder: Path) -> Any:
    import cv2

    for n in range(3):
        cv2.imwrite(str(folder / f"{n}.png"), np.full((64, 64), n, np.uint8))
    return folder


def hdf5(folder: Path) -> Any:
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"] = np.zeros((3, 64, 64, 1), np.uint8)
    return folder / "a.h5"


@pytest.mark.parametrize("make", [images, hdf5, lambda folder: np.zeros((3, 64, 64), np.uint8)])
def test_other_sources_have_no_times(make: Any, tmp_path: Path, predictor: Predictor) -> None:
    assert [outputs.time_s for outputs in predictor.predict(make(tmp_path), as_labels=False)] == [None] * 3


def test_live_frames_have_the_time_of_the_clock(video: Path, predictor: Predictor) -> None:
    ticks = iter(range(100))
    session = LiveSession(predictor, clock=lambda: float(next(ticks)))
    assert session(np.zeros((64, 64), np.uint8)).time_s == 0.0
    assert session(np.zeros((64, 64), np.uint8)).time_s == 2.0, "each call looks at the clock twice"
    with open_live(video) as source:
        result = next(iter(LiveRun(session, source)))
    assert result.outputs.time_s == result.frame.time


# Journals and tables


def job(models: Path, video: Path, folder: Path, listen: Any = lambda event: None, **facts: Any) -> Path:
    given = Models((str(models / "single_instance"),), {"peak_threshold": 0.0}, "torch", "cpu", None, 4)
    task = Task((str(video),), folder / "v.slp", **facts)
    formats: tuple[OutputFormat, ...] = ("csv", "parquet")
    run_job(given, [task], JobOptions(chunk=8, formats=formats, keep_journal=True), listen, n_workers=0)
    return task.journal


def csv_times(path: Path) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(int(row["frame"]), set()).add(row["time_s"])
    return found


def columns_of(journal: Path) -> Columns:
    return join([columns for _, columns in Journal.open(journal).read()])


def test_tables_and_journals_have_the_times_also_of_a_job_that_was_resumed(
    models: Path, video: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(event: object) -> None:
        if type(event).__name__ == "Progress":
            raise Stop

    with pytest.raises(Stop):
        job(models, video, tmp_path, stop)
    (begun,) = tmp_path.glob("*.journal")
    assert 0 < len(columns_of(begun)) < N_FRAMES
    journal = job(models, video, tmp_path)
    assert columns_of(journal).times_s.tolist() == pytest.approx(seconds(TIMES), abs=1e-6)
    expected = {n: {str(time / 1000)} for n, time in enumerate(TIMES)}
    found = csv_times(tmp_path / "v.csv")
    assert found
    assert found == {n: expected[n] for n in found}
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "v.parquet")
    pairs = set(zip(parquet["frame"].to_pylist(), parquet["time_s"].to_pylist(), strict=True))
    assert pairs == {(n, TIMES[n] / 1000) for n in found}


def test_tables_of_images_have_an_empty_column(models: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    journal = job(models, images(tmp_path / "images"), tmp_path)
    assert np.isnan(columns_of(journal).times_s).all()
    assert set().union(*csv_times(tmp_path / "v.csv").values()) <= {""}
    assert pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "v.parquet")["time_s"].null_count > 0


def test_a_journal_of_an_earlier_version_is_read_and_resumed(models: Path, video: Path, tmp_path: Path) -> None:
    journal = job(models, video, tmp_path)
    before = columns_of(journal)
    with sqlite3.connect(journal / "0.sqlite") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(pieces)")]
        assert "times_s" not in columns, "earlier versions add rows to this table"
        database.execute("DROP TABLE times")
        database.execute("DELETE FROM pieces WHERE start >= 16")
    database.close()
    for suffix in (".csv", ".parquet"):
        (tmp_path / f"v{suffix}").unlink()
    after = columns_of(job(models, video, tmp_path))
    assert [math.isnan(time) for time in after.times_s] == [n < 16 for n in range(N_FRAMES)]
    assert after.times_s[16:].tolist() == pytest.approx(seconds(TIMES[16:]), abs=1e-6)
    for name, array in before.arrays().items():
        assert after.arrays()[name].tobytes() == array.tobytes(), name
    assert csv_times(tmp_path / "v.csv")[0] == {""}


def test_source_batches_carry_the_times(video: Path) -> None:
    with open_source(video, frames=[4, 5, 6]) as source:
        (batch,) = source.batches(4)
    assert [frame.time_s for frame in batch.frames] == pytest.approx(seconds(TIMES[4:7]), abs=1e-6)
