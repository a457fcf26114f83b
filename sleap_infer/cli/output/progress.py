"""Progress on stderr: a bar on a terminal, lines elsewhere; and JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any, TypeVar

from sleap_infer.cli.output.terminal import Terminal, Words, print_as_json, progress_bar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_EVENTS = 0.5

EVENT_VERSION = 1
"""Version of the JSON lines. Keys are added to a version, never changed."""


def track(items: Iterable[Item], name: str, total: int | None, unit: str = "frames") -> Iterator[Item]:
    """Yield items and show their number: a bar on a terminal, else lines.

    Args:
        items: to yield.
        name: of their source.
        total: expected number, if known.
        unit: plural name of an item.
    """
    console = Terminal(stderr=True)
    return (_with_bar if console.is_terminal else _with_lines)(items, name, total, unit, console)


def emit(event: str, **facts: Any) -> None:
    """Write one JSON line with its version, the event and facts."""
    print_as_json({"version": EVENT_VERSION, "event": event, **facts}, err=True)


def _with_bar(items: Iterable[Item], name: str, total: int | None, unit: str, console: Terminal) -> Iterator[Item]:
    with progress_bar(console, Words(f"{{task.fields[rate]:.1f}} {unit}/s")) as progress:
        task = progress.add_task(name, total=total, rate=0.0)
        start = last = perf_counter()
        number = 0
        for number, item in enumerate(items, start=1):
            yield item
            now = perf_counter()
            if now - last > 1 / progress.live.refresh_per_second:
                last = now
                progress.update(task, completed=number, rate=number / (now - start))
        progress.update(task, completed=number, rate=number / max(perf_counter() - start, 1e-9))


def _with_lines(items: Iterable[Item], name: str, total: int | None, unit: str, console: Terminal) -> Iterator[Item]:
    start = last = perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        now = perf_counter()
        if now - last > SECONDS_BETWEEN_LINES:
            last = now
            of_total = f" of {total}" if total else ""
            console.print_line(f"{name}: {number}{of_total} {unit}, {number / (now - start):.1f} {unit}/s")
