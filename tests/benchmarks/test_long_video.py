"""A short video that is repeated has the same frames again and again, and one that is long enough stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sleap_infer import open_source

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def of_length() -> Iterator[Callable[[Path, int, Path], Path]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from long_video import of_length

        yield of_length


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return write(tmp_path / "short.mp4")


def write(path: Path) -> Path:
    """Ten frames that all differ, stored in another order than they are shown."""
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=30, options={"bf": "2", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            image = np.random.default_rng(number // 2).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(np.roll(image, number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode())
    return path


def frames(path: Path) -> list[np.ndarray]:
    with open_source(path) as source:
        return [image for batch in source.batches(4) for image in batch.images]


def test_frames_come_again_in_their_order(of_length: Callable[[Path, int, Path], Path], short: Path) -> None:
    long = of_length(short, 25, short.parent)
    once, found = frames(short), frames(long)
    assert len(once) == 10
    assert len(found) == 30
    np.testing.assert_array_equal(found, once * 3)


def test_a_video_that_is_long_enough_stays(of_length: Callable[[Path, int, Path], Path], short: Path) -> None:
    assert of_length(short, 10, short.parent) == short


def test_a_video_whose_packets_do_not_say_when_they_are_decoded_stays(
    of_length: Callable[[Path, int, Path], Path], tmp_path: Path
) -> None:
    short = write(tmp_path / "short.mkv")
    assert of_length(short, 25, tmp_path) == short
