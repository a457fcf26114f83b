"""Images of a batch side by side, each on cores of its own; small ones in twos to eights.

On a processor this beats all cores working on one image: threads need not meet after every operation, and what the
decoder and the grouping take of one core holds up nobody else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, ClassVar

from attrs import evolve, frozen

from sleap_infer.choices import Aim
from sleap_infer.config.options import DEFAULT_BATCH_SIZE, ReturnOptions
from sleap_infer.errors import OptionError
from sleap_infer.model import ModelSpec
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates, join
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, Pending
from sleap_infer.system.machine import available_cores

MOST_AT_ONCE = 4
"""Small images, crops above all, go through the network together, up to so many."""

PIXELS_AT_ONCE = 384 * 384
"""Of these together. More pays no longer: their activations leave the cache."""

MOST_LANES = 8
"""Each holds the activations of its images: beyond this, cores share an image."""


@frozen
class Lanes:
    """How the cores are divided.

    Attributes:
        n_lanes: images, or parts of a batch, that are worked on at the same time.
        n_threads: cores that work on each; 0 leaves it to the runtime.
        at_once: images of a full batch.
    """

    n_lanes: int = 1
    n_threads: int = 0
    at_once: int = DEFAULT_BATCH_SIZE

    @classmethod
    def divide(cls, aim: Aim, n_cores: int | None = None) -> Lanes:
        """One image at a time on all cores where latency counts, else as many at a time as there are cores.

        >>> Lanes.divide("throughput", 12), Lanes.divide("latency", 12)
        (Lanes(n_lanes=6, n_threads=2, at_once=4), Lanes(n_lanes=1, n_threads=12, at_once=4))
        """
        cores = n_cores or available_cores()
        if aim == "latency":
            return cls(1, cores)
        n_threads = -(-cores // MOST_LANES)
        return cls(max(1, cores // n_threads), n_threads)

    @classmethod
    def read(cls, opening: Opening, threads_name: str) -> tuple[Lanes, dict[str, Any]]:
        """The division that `backend_options` ask for, else one for what it is opened for; and the rest of the options.

        Args:
            opening: its options may hold `lanes`, and the runtime's own name for threads.
            threads_name: that name. Given without lanes, it limits the threads of all.

        Raises:
            OptionError: these are not numbers from 1 up.
        """
        rest = dict(opening.backend_options)
        given = {name: rest.pop(name) for name in ("lanes", threads_name) if name in rest}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"backend option {name}={value!r}: expected a whole number from 1 up.")
        if not given:
            return evolve(cls.divide(opening.aim), at_once=opening.at_once), rest
        n_lanes = given.get("lanes", 1)
        n_threads = given.get(threads_name, max(1, available_cores() // n_lanes))
        return cls(n_lanes, n_threads, opening.at_once), rest

    def n_batches(self, unit: int = 1) -> int:
        """How many batches it takes to keep every lane busy, where so many images go through the network at once.

        >>> Lanes(4, 1, at_once=3).n_batches(), Lanes(4, 1, at_once=3).n_batches(unit=2)
        (2, 3)
        """
        return -(-self.n_lanes * unit // self.at_once)

    def start(
        self,
        work: Callable[[Images], Candidates],
        images: Images,
        unit: int = 1,
        n_ahead: int = 0,
    ) -> Pending:
        """Begin to work on a batch, spread over the lanes.

        Args:
            work: images (B, C, H, W) to candidates; called in several threads at once.
            images: of the batch.
            unit: images that the network takes at once, counted from the first of the batch, so that results do not
                depend on how many lanes there are.
            n_ahead: parts that may wait at the runtime's door while all lanes work.

        Returns:
            What waits for the candidates of all images, in order.
        """
        parts = in_units(images, unit)
        if self.n_lanes == 1:
            found = join([work(part) for part in parts])
            return lambda: found
        pool = _pool(self.n_lanes + n_ahead)
        started = [pool.submit(work, part) for part in parts]
        return lambda: join([part.result() for part in started])


class RunnerInLanes(BaseInferenceRunner):
    """A runner whose runtime works for several threads at a time: it implements `_work` instead of `_predict`.

    Args:
        spec: the model's facts.
        settings: its resolved settings.
        returned: the heavy things that outputs carry.
        lanes: how the cores are divided.
    """

    _neighbours_count: ClassVar[bool] = False
    """Whether the last bits of what is found in an image depend on those beside it. Frames then go one by one, so that
    neither the size of batches nor a crash that halves them changes a bit."""

    _call_costs: ClassVar[int] = 1
    """What a call costs, compared with one of a runtime that has the network as a graph: so many more go together."""

    _n_ahead: ClassVar[int] = 0
    """Parts that wait at the runtime's door, where it has threads of its own: one that is done finds work at once."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        super().__init__(spec, settings, returned)
        self.lanes = lanes or Lanes()
        self._unit = 1

    @property
    def n_lanes(self) -> int:
        """As many as the cores are divided into."""
        return self.lanes.n_lanes

    @property
    def n_batches(self) -> int:
        """As many as fill the lanes with images of the size that was seen last."""
        return self.lanes.n_batches(self._unit)

    @property
    def runs_beside(self) -> bool:
        """Where there are several lanes."""
        return self.n_lanes > 1

    @abstractmethod
    def _work(self, images: Images) -> Candidates:
        """Run the network on a batch, or on a part of one, and count the time; called in several threads at once."""

    def _predict(self, images: Images) -> Candidates:
        return self._start(images)()

    def _start(self, images: Images) -> Pending:
        self._unit = self._images_at_once(images)
        return self.lanes.start(self._work, images, self._unit, self._n_ahead)

    def _images_at_once(self, images: Images) -> int:
        """How many images of a batch go through the network together."""
        facts, alone = self.spec.exported, self._neighbours_count and not self.spec.row.on_crops
        if facts is not None and facts.batch_size:
            return facts.batch_size
        return 1 if alone else images_at_once(images.shape[2], images.shape[3], self._call_costs)


def images_at_once(height: int, width: int, call_costs: int = 1) -> int:
    """How many images of a size go through the network together, a power of two. Each call costs some tenths of a
    millisecond, which is a good part of what a network takes for a small image; where it costs more, more go together.

    >>> images_at_once(1024, 1280), images_at_once(240, 240), images_at_once(160, 160), images_at_once(160, 160, 2)
    (1, 2, 4, 8)
    """
    most = min(max(call_costs * PIXELS_AT_ONCE // (height * width), 1), call_costs * MOST_AT_ONCE)
    return 1 << most.bit_length() - 1


def in_units(images: Images, unit: int) -> list[Images]:
    """Cut a batch into parts of so many images; the last may have fewer.

    >>> import numpy as np
    >>> [len(part) for part in in_units(np.zeros((7, 1, 2, 2)), 3)]
    [3, 3, 1]
    """
    return [images[first : first + unit] for first in range(0, len(images), unit)]


@lru_cache(maxsize=8)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """One for all runners of a process, kept for good: those of a pipeline share the cores."""
    return ThreadPoolExecutor(n_threads, "processor lane")
