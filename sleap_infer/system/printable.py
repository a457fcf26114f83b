r"""Escape text of unknown origin for terminals: file names, node names, messages of libraries.

A file name may contain an escape sequence that hides a line, or a character that reverses the text after it. Such
characters are shown as escapes, as in a Python string.
"""

from __future__ import annotations

import json
import logging
import math
import unicodedata
from collections.abc import Mapping
from html import escape
from typing import Any

NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

SURROGATE_BYTES = range(0xDC80, 0xDD00)
"""Code points for bytes of a file name that are not UTF-8 (PEP 383)."""


def printable(text: object) -> str:
    r"""Return a text in one line in which control, formatting and undecodable characters are escapes. Idempotent.

    >>> printable("red\x1b[31m.mp4"), printable("a\nb"), printable("gpj\u202e.mp4"), printable("caf\xe9")
    ('red\\x1b[31m.mp4', 'a\\nb', 'gpj\\u202e.mp4', 'café')
    """
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_shown, shown))


def one_line(error: BaseException, longest: int = 500) -> str:
    r"""Return the message of an error of another library in one line, with its type; long ones are truncated.

    >>> one_line(ValueError("two\n  lines"))
    'ValueError: two lines'
    """
    message = " ".join(str(error).split())
    shown = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def json_text(value: Any, indent: int | None = None) -> str:
    r"""Return JSON that every parser can read: without lone surrogates, NaN and infinity as null.

    >>> json_text({"name": "\udcff.mp4", "score": float("nan")})
    '{"name": "\\\\xff.mp4", "score": null}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def html_text(text: object) -> str:
    """Return a text for HTML, also inside attributes.

    >>> html_text("<script>")
    '&lt;script&gt;'
    """
    return escape(printable(text))


class OneLine(logging.Formatter):
    """Formats a record of the log as one printable line; a traceback follows in lines of its own."""

    def __init__(self, style: str = "%(levelname)s: %(message)s") -> None:
        super().__init__(style)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the record without its traceback."""
        record.message = printable(" ".join(record.message.splitlines()))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Format the traceback."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code in SURROGATE_BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return NAMED.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else "".join(_without_surrogates(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _without_surrogates(text: str) -> list[str]:
    return [_shown(character) if unicodedata.category(character) == "Cs" else character for character in text]
