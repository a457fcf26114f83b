"""The only way to stdout and stderr: each line is one line, without control characters or markup from names in it.

Everything else of the command line prints with `say`, `say_lines` and `say_json`, or gives rich's tables and bars to a
`Terminal`; `tests/test_architecture.py` enforces this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from sleap_infer.system.printable import json_text, printable


def say(line: object, err: bool = False) -> None:
    """Print one line."""
    typer.echo(printable(line), err=err)


def say_lines(text: object, err: bool = False) -> None:
    """Print a text of several lines, whose names were made `printable` where the text was composed."""
    for line in str(text).removesuffix("\n").split("\n"):
        say(line, err)


def say_json(value: Any, err: bool = False, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless it is indented, at once."""
    typer.echo(json_text(value, indent), err=err)


def tolerant_streams() -> None:
    """Have characters that the encoding of stdout or stderr lacks printed as escapes, not raised as errors."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def discard_output() -> None:
    """Write nothing more to stdout, where a pipe that nobody reads would make Python complain at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def words(text: object, style: str = "") -> Text:
    """Return a text for a `Terminal`, in a style; brackets in it are no markup."""
    return Text(printable(text), style)


class Terminal(Console):
    """A console of rich that shows texts as they are: no markup, no emoji codes, no control characters.

    Args:
        stderr: whether it writes there instead of to stdout.
        width: of tables; by default that of the terminal.
        options: further ones of rich's `Console`.
    """

    def __init__(self, stderr: bool = False, width: int | None = None, **options: Any) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, *, style: Any = "", **_: Any) -> Text:
        """Turn a text into what is shown: in one line, and literally."""
        return words(text, style)

    def say(self, text: object) -> None:
        """Print one line, however long, so that it can be copied."""
        self.print(words(text), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Have the error raised that rich would turn into the end of the process."""
        raise

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a text while something is done, and give what changes it."""
        with self.status(words(text)) as status:
            yield lambda changed: status.update(words(changed))


class Words(TextColumn):
    """A column of a progress bar with text, which may hold names."""

    def render(self, task: Task) -> Text:
        """Return the text of a task."""
        return words(self.text_format.format(task=task))


def progress_bar(console: Terminal, *before_time: ProgressColumn) -> Progress:
    """Return a bar with its name, its numbers, further columns, and the remaining time."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), *before_time, TimeRemainingColumn())
    return Progress(*columns, console=console)
