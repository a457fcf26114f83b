"""Progress of a run: a bar on a terminal, a line now and then elsewhere. All of it goes to stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[Item], name: str, total: int | None, unit: str = "frames") -> Iterator[Item]:
    """Pass items through and show how many there were.

    Args:
        items: one per frame, or per whatever `unit` says.
        name: of what they come from.
        total: how many will come, if known.
        unit: what they are.
    """
    console = Console(stderr=True)
    show = _with_bar if console.is_terminal else _with_lines
    return show(items, name, total, unit, console)


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
        start = perf_counter()
        for number, item in enumerate(items, start=1):
            yield item
            progress.update(task, completed=number, rate=number / (perf_counter() - start))


def _with_lines(items: Iterable[Item], name: str, total: int | None, unit: str, console: Console) -> Iterator[Item]:
    start = last = perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        now = perf_counter()
        if now - last > SECONDS_BETWEEN_LINES:
            last = now
            of_total = f" of {total}" if total else ""
            console.print(f"{name}: {number}{of_total} {unit}, {number / (now - start):.1f} {unit}/s", highlight=False)
