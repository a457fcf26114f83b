"""Progress: a bar on a terminal, a line now and then elsewhere; and JSON lines. All of it goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_EVENTS = 0.5

EVENT_VERSION = 1
"""Of the JSON lines. Keys are added to a version, never changed."""


def track(items: Iterable[Item], name: str, total: int | None, unit: str = "frames") -> Iterator[Item]:
    """Pass items through and show how many there were: a bar on a terminal, else lines.

    Args:
        items: one per whatever `unit` says.
        name: of what they come from.
        total: how many will come, if known.
        unit: what they are.
    """
    console = Console(stderr=True)
    return (_with_bar if console.is_terminal else _with_lines)(items, name, total, unit, console)


def emit(event: str, **facts: Any) -> None:
    """Write one JSON line: its version, what happened, and the facts."""
    print(json.dumps({"version": EVENT_VERSION, "event": event, **facts}), file=sys.stderr, flush=True)


def _with_bar(items: Iterable[Item], name: str, total: int | None, unit: str, console: Console) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]:.1f}} {unit}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
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


def _with_lines(items: Iterable[Item], name: str, total: int | None, unit: str, console: Console) -> Iterator[Item]:
    start = last = perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        now = perf_counter()
        if now - last > SECONDS_BETWEEN_LINES:
            last = now
            of_total = f" of {total}" if total else ""
            console.print(f"{name}: {number}{of_total} {unit}, {number / (now - start):.1f} {unit}/s", highlight=False)
