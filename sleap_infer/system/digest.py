"""Digests of facts and of files, as keys of cache entries and identities of jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(facts: Any, length: int = 24) -> str:
    """Return the SHA-256 of facts, as the first hexadecimal digits.

    Args:
        facts: values for JSON; the order of the names in mappings has no effect, and other values count as their text.
        length: number of digits.

    >>> digest({"b": 1, "a": [2]}) == digest({"a": (2,), "b": 1})
    True
    """
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
