"""Several devices in one process: batches go to them in turn, and come back in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import DeviceError
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, Pending
from sleap_infer.runners.outer import OuterRunner


class SpreadRunner(OuterRunner):
    """Runs one network on several devices, each fed by a thread of its own.

    Args:
        runners: of one model with the same settings, one per device.
    """

    def __init__(self, runners: Sequence[BaseInferenceRunner]) -> None:
        super().__init__(runners)
        self._threads = [ThreadPoolExecutor(1, f"sleap_infer {runner.device}") for runner in runners]
        self._turn = count()

    @property
    def device(self) -> str:
        """All devices."""
        return ",".join(runner.device for runner in self.runners)

    @property
    def runs_beside(self) -> bool:
        """Always."""
        return True

    @property
    def n_lanes(self) -> int:
        """Of all devices."""
        return sum(runner.n_lanes for runner in self.runners)

    @property
    def n_batches(self) -> int:
        """Of all devices, which take turns."""
        return sum(runner.n_batches for runner in self.runners)

    def _start(self, images: Images) -> Pending:
        return self._take_turn(lambda runner: runner.start(images))

    def _start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        return self._take_turn(lambda runner: runner.start_crops(frames, which, first, at_once))

    def _take_turn(self, begin: Callable[[BaseInferenceRunner], Pending]) -> Pending:
        number = next(self._turn) % len(self.runners)
        started = self._threads[number].submit(begin, self.runners[number])
        return lambda: started.result()()

    def _close(self) -> None:
        for thread in self._threads:
            thread.shutdown()
        super()._close()


def open_runner(runner: type[BaseInferenceRunner], opening: Opening) -> BaseInferenceRunner:
    """Open a model on the device, or the devices, of an opening.

    Raises:
        BackendError: the backend or a device is not there.
        OptionError: this backend does not have the precision.
    """
    names = split_devices(opening.device)
    if len(names) == 1:
        return runner.open(opening)
    opened: list[Any] = []
    try:
        for name in names:
            opened.append(runner.open(attrs.evolve(opening, device=name)))
    except BaseException:
        for other in opened:
            other.close()
        raise
    return SpreadRunner(opened)


def split_devices(text: str) -> list[str]:
    """Names of single devices; a number alone is of the kind before it.

    Raises:
        DeviceError: a name is missing, or one device is named twice.

    >>> split_devices("cuda:0,1"), split_devices("auto")
    (['cuda:0', 'cuda:1'], ['auto'])
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        names.append(f"{names[-1].partition(':')[0]}:{part}" if part.isdigit() and names else part)
    twice = {name for name in names if names.count(name) > 1 and name != "cpu"}
    if twice or (len(names) > 1 and "" in names):
        raise DeviceError(f"Devices {text!r}: expected different ones, such as cuda:0,1.")
    return names
