"""What the one way to the terminal makes of names."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from sleap_infer.cli.output.terminal import (
    Terminal,
    Words,
    print_as_json,
    print_line,
    print_lines,
    progress_bar,
    tolerant_streams,
    words,
)

EVIL = "\x1b[31mA\x07\r\n\x9bB[red]x[/red][/][link=http://x]\u202e:smile:\udcff"
SHOWN = r"\x1b[31mA\x07\r\n\x9bB[red]x[/red][/][link=http://x]\u202e:smile:\xff"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_every_way_of_printing_shows_names_as_they_are(is_terminal: bool) -> None:
    shown = io.StringIO()
    console = Terminal(width=1000, file=shown, force_terminal=is_terminal, color_system=None)
    table = Table(EVIL, title=EVIL, box=None)
    table.add_row(EVIL)
    table.add_row(words(EVIL, "red"))
    console.print(table)
    console.print(EVIL)
    console.print_line(EVIL)
    with console.waiting(EVIL) as change:
        change(EVIL)
    with progress_bar(console, Words("{task.fields[note]}")) as progress:
        progress.add_task(EVIL, total=1, note=EVIL)
    text = shown.getvalue()
    for control in ("\x1b[?25l", "\x1b[?25h", "\x1b[1A", "\x1b[2K", "\r"):  # rich's own, which hide and move the cursor
        text = text.replace(control, "")
    assert text.count(SHOWN) >= 8 if is_terminal else 6
    assert all(character.isprintable() or character == "\n" for character in text)


def test_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(EVIL)
    print_lines("one\ntwo\n")
    print_as_json({EVIL: float("nan")})
    print_line(EVIL, err=True)
    out, err = capsys.readouterr()
    line, one, two, json_line = out.splitlines()
    assert (line, one, two) == (SHOWN, "one", "two")
    assert err == f"{SHOWN}\n"
    assert json_line.isascii()
    assert json_line.isprintable()


def test_an_encoding_that_lacks_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    tolerant_streams()
    print("Mäuse", file=stream, flush=True)
    assert raw.getvalue() == b"M\\xe4use\n"
