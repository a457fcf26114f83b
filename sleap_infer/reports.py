"""Reports while models are opened and run: fallbacks as facts, progress as lines of text.

A fallback is also a warning in the log; progress is INFO of the logger `sleap_infer.progress`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from attrs import frozen

OnProgress: TypeAlias = Callable[[str], object]
"""Takes a line such as "compiling for 4 images of 96 x 96, once: up to a minute", in any thread."""

PROGRESS = "sleap_infer.progress"
"""Name of the logger of progress."""

logger = logging.getLogger(__name__)


@frozen
class Fallback:
    """Something else is used than what was asked for.

    Attributes:
        what: `"backend"`, `"batch_size"`, `"cuda_graph"`, `"decoder"`, `"device"` or `"precision"`.
        asked: what was asked for, such as `"nvdec"`.
        used: what is used instead, such as `"cpu"`.
        why: the reason, for people.
    """

    what: str
    asked: str
    used: str
    why: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.what} {self.asked}: {self.used} is used instead. {self.why}"


class Reports:
    """The reports of one predictor, from any thread.

    Args:
        on_progress: takes each line of progress.
    """

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self._fallbacks: dict[Fallback, None] = {}

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """Return the fallbacks so far, each once, in the order in which they happened."""
        return tuple(self._fallbacks)

    def fall_back(self, fallback: Fallback, message: str | None = None) -> None:
        """Record a fallback and log it as a warning, by default as its own line."""
        self._fallbacks[fallback] = None
        logger.warning("%s", message or fallback)

    def include(self, others: Reports) -> None:
        """Put the fallbacks of others before those of this one, without logging them again."""
        self._fallbacks = {**others._fallbacks, **self._fallbacks}

    def progress(self, text: str) -> None:
        """Log a line of progress and give it to `on_progress`."""
        logging.getLogger(PROGRESS).info("%s", text)
        if self._on_progress is not None:
            self._on_progress(text)


_current: ContextVar[Reports | None] = ContextVar("reports", default=None)


def reports() -> Reports:
    """Return the reports of the predictor that is being opened in this thread; outside of that, new ones.

    What may report later, in another thread, calls this when it is opened, and keeps the result.
    """
    return _current.get() or Reports()


@contextmanager
def reporting_to(target: Reports) -> Iterator[None]:
    """Make reports those of everything that is opened within."""
    token = _current.set(target)
    try:
        yield
    finally:
        _current.reset(token)
