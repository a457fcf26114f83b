"""CPU streams: images of a batch run at the same time, each on its own cores; small images in batches of 2 to 8.

This is faster than all cores working on one image: threads do not wait for each other after every operation, and
decoding and grouping delay only the stream whose core they use.
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
"""Maximum number of small images, such as crops, in one call."""

PIXELS_AT_ONCE = 384 * 384
"""Maximum number of pixels in one call. With more, activations do not fit in the cache."""

MAX_STREAMS = 8
"""Each stream holds the activations of its images: with more cores, several work on one image."""

OLD_NAME = "lanes"
"""Earlier name of the backend option `streams`, still accepted."""


@frozen
class Streams:
    """Division of the CPU cores.

    Attributes:
        n_streams: number of images, or parts of a batch, that run at the same time.
        n_threads: cores per stream; 0: the runtime's default.
        at_once: images of a full batch.
    """

    n_streams: int = 1
    n_threads: int = 0
    at_once: int = DEFAULT_BATCH_SIZE

    @classmethod
    def divide(cls, aim: Aim, n_cores: int | None = None) -> Streams:
        """Return one stream on all cores for latency, else one stream per core, up to `MAX_STREAMS`.

        >>> Streams.divide("throughput", 12), Streams.divide("latency", 12)
        (Streams(n_streams=6, n_threads=2, at_once=4), Streams(n_streams=1, n_threads=12, at_once=4))
        """
        cores = n_cores or available_cores()
        if aim == "latency":
            return cls(1, cores)
        n_threads = -(-cores // MAX_STREAMS)
        return cls(max(1, cores // n_threads), n_threads)

    @classmethod
    def read(cls, opening: Opening, threads_name: str) -> tuple[Streams, dict[str, Any]]:
        """Return the division that the options of a backend request, and the other options.

        Args:
            opening: its `backend_options` may contain `streams` and `threads_name`; otherwise `aim` decides.
            threads_name: the runtime's name for the number of threads. Without `streams`, there is one stream.

        Raises:
            OptionError: a value is not a whole number from 1 up.
        """
        rest = dict(opening.backend_options)
        if OLD_NAME in rest:
            rest.setdefault("streams", rest.pop(OLD_NAME))
        given = {name: rest.pop(name) for name in ("streams", threads_name) if name in rest}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"backend option {name}={value!r}: expected a whole number from 1 up.")
        if not given:
            return evolve(cls.divide(opening.aim), at_once=opening.at_once), rest
        n_streams = given.get("streams", 1)
        n_threads = given.get(threads_name, max(1, available_cores() // n_streams))
        return cls(n_streams, n_threads, opening.at_once), rest

    def n_batches(self, n_images: int = 1) -> int:
        """Return the number of batches that keep every stream busy, with `n_images` images per call.

        >>> Streams(4, 1, at_once=3).n_batches(), Streams(4, 1, at_once=3).n_batches(n_images=2)
        (2, 3)
        """
        return -(-self.n_streams * n_images // self.at_once)

    def start(
        self, work: Callable[[Images], Candidates], images: Images, n_images: int = 1, n_ahead: int = 0
    ) -> Pending:
        """Start a batch, divided over the streams.

        Args:
            work: maps images (B, C, H, W) to candidates; called in several threads at once.
            images: (B, C, H, W).
            n_images: images per call, counted from the first of the batch, so that results do not depend on the number
                of streams.
            n_ahead: calls that may be queued in the runtime while all streams work.

        Returns:
            A function that waits for the candidates of all images, in order.
        """
        batches = split(images, n_images)
        if self.n_streams == 1:
            found = join([work(batch) for batch in batches])
            return lambda: found
        pool = _pool(self.n_streams + n_ahead)
        started = [pool.submit(work, batch) for batch in batches]
        return lambda: join([future.result() for future in started])


class StreamedRunner(BaseInferenceRunner):
    """A runner whose runtime can be called from several threads at once. It implements `_work`, not `_predict`.

    Args:
        spec: the model's facts.
        settings: its resolved settings.
        returned: the large arrays that outputs carry.
        streams: how the cores are divided.
    """

    _depends_on_batch: ClassVar[bool] = False
    """Whether results of an image depend on the batch it is in. If so, frames run one by one."""

    _call_costs: ClassVar[int] = 1
    """Relative overhead per call; batches of small images are grown by this factor."""

    _n_ahead: ClassVar[int] = 0
    """Calls queued ahead, so that threads of the runtime never idle."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(spec, settings, returned)
        self.streams = streams or Streams()
        self._n_images = 1

    @property
    def n_streams(self) -> int:
        """Return the number of streams."""
        return self.streams.n_streams

    @property
    def n_batches(self) -> int:
        """Return the number of batches that fill the streams with images of the last size."""
        return self.streams.n_batches(self._n_images)

    @property
    def runs_beside(self) -> bool:
        """Return whether there are several streams."""
        return self.n_streams > 1

    @abstractmethod
    def _work(self, images: Images) -> Candidates:
        """Run the network on images and count the time; called in several threads at once."""

    def _predict(self, images: Images) -> Candidates:
        return self._start(images)()

    def _start(self, images: Images) -> Pending:
        self._n_images = self._images_at_once(images)
        return self.streams.start(self._work, images, self._n_images, self._n_ahead)

    def _images_at_once(self, images: Images) -> int:
        """Return the number of images per call."""
        facts, alone = self.spec.exported, self._depends_on_batch and not self.spec.row.on_crops
        if facts is not None and facts.batch_size:
            return facts.batch_size
        return 1 if alone else images_at_once(images.shape[2], images.shape[3], self._call_costs)


def images_at_once(height: int, width: int, call_costs: int = 1) -> int:
    """Return the number of images per call for a size in pixels, a power of two.

    A call has an overhead of some tenths of a millisecond, a large part of the time of a network on a small image.

    >>> images_at_once(1024, 1280), images_at_once(240, 240), images_at_once(160, 160), images_at_once(160, 160, 2)
    (1, 2, 4, 8)
    """
    most = min(max(call_costs * PIXELS_AT_ONCE // (height * width), 1), call_costs * MOST_AT_ONCE)
    return 1 << most.bit_length() - 1


def split(images: Images, n_images: int) -> list[Images]:
    """Split a batch into batches of `n_images`; the last may have fewer.

    >>> import numpy as np
    >>> [len(batch) for batch in split(np.zeros((7, 1, 2, 2)), 3)]
    [3, 3, 1]
    """
    return [images[first : first + n_images] for first in range(0, len(images), n_images)]


@lru_cache(maxsize=8)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Return the pool shared by all runners of a process, so that networks of a pipeline do not compete for cores."""
    return ThreadPoolExecutor(n_threads, "CPU stream")
