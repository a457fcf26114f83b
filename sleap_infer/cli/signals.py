"""Signals that end a command: Ctrl-C, `kill`, a terminal that was closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""SIGHUP does not exist on Windows. A signal that is ignored, as under `nohup`, stays ignored."""


class Stopped(KeyboardInterrupt):
    """An interruption by a signal other than Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return error.exit_code if isinstance(error, Stopped) else 128 + signal.SIGINT


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Yield an event that the first of these signals sets; a second one interrupts as usual."""
    stop = threading.Event()

    def handle(_number: int, _frame: object, restore: Callable[[], None]) -> None:
        stop.set()
        restore()

    with _handling(handle, NAMES):
        yield stop


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP, as Ctrl-C raises `KeyboardInterrupt`; a second one ends the process."""

    def handle(number: int, _frame: object, restore: Callable[[], None]) -> None:
        restore()
        raise Stopped(number)

    with _handling(handle, NAMES[1:]):
        yield


@contextmanager
def _handling(handle: Callable[[int, object, Callable[[], None]], Any], names: tuple[str, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def handler(number: int, frame: object) -> None:
        _discard_closed(terminals)
        handle(number, frame, restore)

    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        restore()


def _discard_closed(terminals: Sequence[int]) -> None:
    """Redirect terminals that were closed to nothing; each further line would be an error."""
    for stream in terminals:
        if not os.isatty(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
