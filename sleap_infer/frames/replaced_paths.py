"""Where the videos of a label file are now: roots of paths that are replaced, those of Windows too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

from sleap_infer.errors import OptionError

Pairs: TypeAlias = Sequence[tuple[str, str]]
"""Old and new roots, as `SourceOptions.replace_paths` holds them."""

WINDOWS = re.compile(r"[A-Za-z]:|//|\\\\|[^/].*\\")
"""Beginning of a Windows path; sleap-io may have replaced its backslashes."""


def read_pairs(given: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return old and new roots, checked.

    Raises:
        OptionError: one of them is empty.
    """
    pairs = tuple((str(old), str(new)) for old, new in (given.items() if isinstance(given, Mapping) else given))
    for old, new in pairs:
        if not old.strip() or not new.strip():
            raise OptionError(f"--replace-path {old}={new}: expected OLD=NEW, two parts of paths.")
    return pairs


def replaced(name: str, pairs: Pairs) -> str | None:
    r"""Return a path with the first root that fits replaced, absolute; `None` where none fits.

    Whole parts of a path are compared, those of Windows without regard to case, whatever slashes they have.

    >>> replaced(r"C:\data\day1\a.mp4", [("c:/data", "/mnt/lab")])
    '/mnt/lab/day1/a.mp4'
    >>> replaced("/data2/a.mp4", [("/data", "/mnt")])
    """
    for old, new in pairs:
        is_windows = bool(WINDOWS.match(name) or WINDOWS.match(old))
        own, root = _parts(name, is_windows), _parts(old, is_windows)
        if len(root) <= len(own) and _same(own[: len(root)], root, is_windows):
            return str(Path(new).expanduser().joinpath(*own[len(root) :]).absolute())
    return None


def last_part(name: str) -> str:
    r"""Return the name of a file without its folder, also of a path of Windows.

    >>> last_part(r"C:\data\a.mp4"), last_part("/data/a.mp4")
    ('a.mp4', 'a.mp4')
    """
    return PureWindowsPath(name).name if WINDOWS.match(name) else Path(name).name


def root_of(names: Sequence[str]) -> str:
    r"""Return the longest folder that some paths have in common, or else that of the first, or its name.

    >>> root_of([r"C:\data\day1\a.mp4", r"C:\data\day2\b.mp4"]), root_of(["/data/a.mp4"])
    ('C:\\data', '/data')
    """
    kind = PureWindowsPath if any(map(WINDOWS.match, names)) else PurePosixPath
    found = [kind(name).parent.parts for name in names]
    common: Sequence[str] = ()
    for parts in zip(*found, strict=False):
        if len(set(parts)) > 1:
            break
        common = (*common, parts[0])
    if not common:
        common = found[0] or kind(names[0]).parts
    return str(kind(*common))


def _parts(path: str, is_windows: bool) -> list[str]:
    parts = (PureWindowsPath(path) if is_windows else PurePosixPath(path)).parts
    return [part.rstrip("\\/") if is_windows else part for part in parts]


def _same(some: Sequence[str], others: Sequence[str], is_windows: bool) -> bool:
    if is_windows:
        return [part.casefold() for part in some] == [part.casefold() for part in others]
    return list(some) == list(others)
