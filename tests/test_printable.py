"""Text of unknown origin, as it is shown."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.system.printable import OneLine, json_text, one_line, printable


@given(st.text(alphabet=st.characters()))
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    shown = printable(text)
    kinds = {unicodedata.category(character) for character in shown}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.mp4", "plain name.mp4"),
        ("Mäuse\u3000二.mp4", "Mäuse\u3000二.mp4"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202e4pm.\u2066", r"\u202e4pm.\u2066"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("[red]x[/red] [/] :smile:", "[red]x[/red] [/] :smile:"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.dictionaries(st.text(alphabet=st.characters()), st.text(alphabet=st.characters()) | st.floats()))
def test_json_is_read_by_strict_parsers(value: dict[str, str | float]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = json_text({"facts": [value]})
    assert "\n" not in text
    read = json.loads(text, parse_constant=refuse)
    json.dumps(read, ensure_ascii=False).encode("utf-8")


def test_a_record_of_the_log_is_one_line() -> None:
    def record(message: str, error: bool = False) -> str:
        try:
            raise ValueError("\x1b[31mred")
        except ValueError:
            info = sys.exc_info() if error else None
        return OneLine().format(logging.LogRecord("x", logging.WARNING, "x.py", 1, message, ("\x1b[0m",), info))

    assert record("name %s\nof two\r lines") == r"WARNING: name \x1b[0m of two  lines"
    with_trace = record("%s", error=True)
    assert with_trace.splitlines()[1].startswith("Traceback")
    assert "\x1b" not in with_trace


def test_errors_in_one_line() -> None:
    assert one_line(KeyError()) == "KeyError"
    assert one_line(RuntimeError("a\n\n  b")) == "RuntimeError: a b"
    assert len(one_line(RuntimeError("x" * 10_000))) == 500
