from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleap_infer.predictors.pipeline import Channel, run_stages


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("sleap_infer")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert our_threads() == []


@given(items=st.lists(st.integers(), max_size=30), queue_size=st.integers(1, 4), n_stages=st.integers(0, 4))
@settings(max_examples=30)
def test_order_is_kept(items: list[int], queue_size: int, n_stages: int) -> None:
    with run_stages(items, [lambda x: x + 1] * n_stages, queue_size) as results:
        assert list(results) == [item + n_stages for item in items]


def test_an_error_comes_out_at_its_place() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise RuntimeError("at two") from KeyError("cause")
        return item

    with run_stages(range(5), [work, lambda x: x], 2) as results:
        assert next(results) == 0
        assert next(results) == 1
        with pytest.raises(RuntimeError, match="at two") as caught:
            next(results)
        assert isinstance(caught.value.__cause__, KeyError)
        with pytest.raises(StopIteration):
            next(results)


def test_an_error_of_the_source_comes_out() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("cable")

    with run_stages(source(), [str], 2) as results:
        assert next(results) == "1"
        with pytest.raises(OSError, match="cable"):
            next(results)


def test_leaving_early_stops_everything_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    with run_stages(endless(), [str, str, str], 2) as results:
        assert next(results) == "0"
        assert len(our_threads()) == 4
    assert closed.is_set()
    assert our_threads() == []


def test_queues_are_bounded() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with run_stages(source(), [lambda x: x], 2) as results:
        next(results)
        deadline = time.monotonic() + 5
        while len(taken) < 7 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One taken by us, two wait behind each of the two stages, and each stage holds one.
        assert len(taken) == 7


def test_stages_overlap() -> None:
    """Two stages that wait for each other can only pass if both run at the same time."""
    meeting = threading.Barrier(2, timeout=5)

    def meet(item: int) -> int:
        if 0 < item < 4:
            meeting.wait()
        return item

    def meet_before(item: int) -> int:
        if item > 1:
            meeting.wait()
        return item

    with run_stages(range(5), [meet_before, meet], 2) as results:
        assert list(results) == [0, 1, 2, 3, 4]


def test_a_closed_channel_takes_and_gives_nothing() -> None:
    channel: Channel[int] = Channel(2)
    assert channel.put(1)
    channel.close()
    assert not channel.put(2)
    assert channel.take() == (1,)
    assert channel.take() == ()
