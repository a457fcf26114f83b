"""Time of each stage of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from attrs import evolve, frozen

from sleap_infer.choices import StageName

Item = TypeVar("Item")

STAGES: Mapping[StageName, str] = {
    "decode": "decoding",
    "preprocess": "preprocessing",
    "transfer": "transfer to the device",
    "network": "the network",
    "candidates": "finding peaks",
    "grouping": "grouping",
    "writing": "writing",
}
"""Stages in order, with their names in sentences."""


class Stopwatch:
    """Seconds of each stage, summed over all threads."""

    def __init__(self) -> None:
        self._seconds: dict[StageName, float] = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()

    def add(self, stage: StageName, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def timing(self, stage: StageName) -> Iterator[None]:
        """Add the time of a block."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.add(stage, perf_counter() - begin)

    def each(self, stage: StageName, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items, and add the time of their iterator."""
        source = iter(items)
        try:
            while True:
                with self.timing(stage):
                    try:
                        item = next(source)
                    except StopIteration:
                        return
                yield item
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def read(self) -> dict[StageName, float]:
        """Return the seconds so far by stage."""
        with self._lock:
            return dict(self._seconds)


@frozen
class Profile:
    """Busy times of a run.

    Attributes:
        seconds: by stage, summed over all threads. On a GPU, the network's are those that the host waited.
        wall: seconds from start to end.
        n_streams: images that run at the same time.
        precision: of the network.
        device: of the network.
    """

    seconds: Mapping[StageName, float]
    wall: float
    n_streams: int = 1
    precision: str = "fp32"
    device: str = "cpu"

    def with_writing(self, seconds: float, wall: float) -> Profile:
        """Return the profile of the whole run, including the given seconds of writing."""
        return evolve(self, seconds={**self.seconds, "writing": seconds}, wall=wall)

    @property
    def shares(self) -> dict[StageName, float]:
        """Return the busy fraction of each stage, from 0 to 1."""
        wall = max(self.wall, 1e-9)
        streams = {"network": self.n_streams, "candidates": self.n_streams}
        return {stage: min(spent / (wall * streams.get(stage, 1)), 1.0) for stage, spent in self.seconds.items()}

    @property
    def bound_by(self) -> StageName:
        """Return the busiest stage."""
        shares = self.shares
        return max(shares, key=lambda stage: shares[stage])

    @property
    def verdict(self) -> str:
        """Return a sentence with the bottleneck and, for runs of a minute or more, advice that changes no pose."""
        stage = self.bound_by
        advice = f": {ADVICE[stage]}" if self.wall >= SECONDS_WORTH_ADVICE else ""
        return f"bound by {STAGES[stage]} (busy {self.shares[stage]:.0%} of the time){advice}"

    def line(self) -> str:
        """Return the busy fractions of all stages in one line."""
        shares = {stage: share for stage, share in self.shares.items() if share >= 0.005}
        return ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())

    def as_dict(self) -> dict[str, Any]:
        """Return seconds and busy fractions by stage, and the result, for JSON."""
        return {
            "wall_seconds": round(self.wall, 3),
            "seconds": {stage: round(spent, 4) for stage, spent in self.seconds.items()},
            "shares": {stage: round(share, 4) for stage, share in self.shares.items()},
            "bound_by": self.bound_by,
            "verdict": self.verdict,
        }


SECONDS_WORTH_ADVICE = 60.0
"""Shorter runs get no advice."""

FASTER_DEVICE = "a faster device would help, or another backend (sleap-infer benchmark compares them)"
MORE_PROCESSES = "more processes can use idle cores (--workers)"

ADVICE: Mapping[StageName, str] = {
    "decode": MORE_PROCESSES,
    "preprocess": MORE_PROCESSES,
    "transfer": "a faster connection to the device would help",
    "network": FASTER_DEVICE,
    "candidates": FASTER_DEVICE,
    "grouping": MORE_PROCESSES,
    "writing": "a faster disk would help",
}
"""Advice by busiest stage."""
