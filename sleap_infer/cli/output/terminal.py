"""Output to stdout and stderr, without control characters or markup from names.

All other modules of the command line print with `print_line`, `print_lines` and `print_as_json`, or pass tables and
bars of rich to a `Terminal`; `tests/test_architecture.py` enforces this.
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


def print_line(line: object, err: bool = False) -> None:
    """Print one line."""
    typer.echo(printable(line), err=err)


def print_lines(text: object, err: bool = False) -> None:
    """Print a text of several lines; names in it are already `printable`."""
    for line in str(text).removesuffix("\n").split("\n"):
        print_line(line, err)


def print_as_json(value: Any, err: bool = False, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless it is indented."""
    typer.echo(json_text(value, indent), err=err)


def tolerant_streams() -> None:
    """Print characters that the encoding of stdout or stderr lacks as escapes instead of raising errors."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def discard_output() -> None:
    """Redirect stdout to nothing, so that Python does not report a closed pipe at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def words(text: object, style: str = "") -> Text:
    """Return a text for a `Terminal` in a style; brackets in it are not markup."""
    return Text(printable(text), style)


class Terminal(Console):
    """A rich console that shows texts literally: no markup, emoji codes or control characters.

    Args:
        stderr: whether to write to stderr instead of stdout.
        width: of tables; by default that of the terminal.
        options: further options of rich's `Console`.
    """

    def __init__(self, stderr: bool = False, width: int | None = None, **options: Any) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, *, style: Any = "", **_: Any) -> Text:
        """Return a text as it is shown: in one line, literally."""
        return words(text, style)

    def print_line(self, text: object) -> None:
        """Print one line without wrapping, so that it can be copied."""
        self.print(words(text), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would exit."""
        raise

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a text during a block; yield a function that changes it."""
        with self.status(words(text)) as status:
            yield lambda changed: status.update(words(changed))


class Words(TextColumn):
    """A text column of a progress bar; the text may contain names."""

    def render(self, task: Task) -> Text:
        """Return the text of a task."""
        return words(self.text_format.format(task=task))


def progress_bar(console: Terminal, *before_time: ProgressColumn) -> Progress:
    """Return a progress bar with name, count, further columns and remaining time."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), *before_time, TimeRemainingColumn())
    return Progress(*columns, console=console)
