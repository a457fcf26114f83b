"""Report unexpected errors in one line; the traceback goes to a file that a bug report can include."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sleap_infer._version import __version__
from sleap_infer.system.cache_directory import state_directory
from sleap_infer.system.printable import one_line, printable

DEBUG_VARIABLE = "SLEAP_INFER_DEBUG"
"""Environment variable: with 1, tracebacks are shown on stderr."""

FILES_RETAINED = 50
"""Maximum number of files with details; older ones are deleted."""

HINTS: Mapping[int, str] = {
    errno.EACCES: "Check the rights of the file and of its folder.",
    errno.EPERM: "Check the rights of the file and of its folder.",
    errno.EROFS: "Its file system is read-only. Choose a folder on another one.",
    errno.ENOSPC: "Free some space, then run the same command again.",
    errno.EDQUOT: "Your quota is used up. Free some space, then run the same command again.",
    errno.EFBIG: "The limit for the size of a file is reached. Raise it, or choose another file system.",
    errno.ENOENT: "It is not there, or its file system takes no new files. Check the path.",
    errno.EEXIST: "Something else is there already. Choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EIO: "The device reports a fault. Check the disk, or the connection to it.",
    errno.ESTALE: "The network drive was unmounted or has changed. Mount it again.",
    errno.ENOTCONN: "The network drive is not connected. Mount it again.",
    errno.EMFILE: "Too many files are open. Raise the limit (ulimit -n).",
    errno.ENFILE: "Too many files are open on this computer.",
    errno.ENOMEM: "Free some memory.",
    errno.EISDIR: "A file was expected there, not a folder.",
    errno.ENOTDIR: "A part of the path is a file, not a folder.",
    errno.ELOOP: "Its symbolic links refer to each other.",
    errno.ETXTBSY: "The file is in use by another process.",
}
"""Hints for errors of the operating system about rights, space or the device."""

IN_MESSAGE = re.compile(r"errno = (\d+)")
"""Error number in messages of HDF5."""

_written: dict[tuple[str, str], Path | None] = {}
_lock = threading.Lock()


def is_debugging() -> bool:
    """Return whether tracebacks are shown on stderr."""
    return os.environ.get(DEBUG_VARIABLE, "").lower() not in ("", "0", "no", "false")


def os_reason(error: BaseException) -> str | None:
    """Return the reason and a hint, in one line, for an error about rights, space or a device; else `None`.

    HDF5 reports such errors with other types, and the number in the message.
    """
    number: int | None = getattr(error, "errno", None)
    if number is None:
        found = IN_MESSAGE.search(str(error))
        number = int(found[1]) if found else None
    if number is None or number not in HINTS:
        return None
    return f"{os.strerror(number)}. {HINTS[number]}"


def explain_os_error(error: BaseException) -> str | None:
    """Return file, reason and hint for an error about rights, space or a device; else `None`."""
    reason = os_reason(error)
    if reason is None:
        return None
    paths = (getattr(error, name, None) for name in ("filename", "filename2"))
    names = [printable(os.fsdecode(name)) for name in paths if isinstance(name, (str, bytes))]
    where = " -> ".join(names) or _named_in(str(error))
    return f"{where}: {reason}"


def explain(error: BaseException) -> str:
    """Return an unexpected error in one line, which names the file with its details."""
    known = explain_os_error(error) if isinstance(error, (OSError, RuntimeError)) else None
    if known is not None:
        return known
    if isinstance(error, MemoryError):
        return f"Not enough memory ({one_line(error)}). Use smaller batches (--batch-size), or fewer workers."
    path = write_details(error)
    where = "its details could not be written" if path is None else f"details in {path}"
    return (
        f"unexpected {one_line(error)} ({where}). This is a defect of sleap_infer: please report it with these details."
    )


def write_details(error: BaseException) -> Path | None:
    """Write the traceback of an error to a new file that only its owner may read; to stderr if that fails.

    An error of the same type from the same line is written once per process.

    Returns:
        The file; `None` if none could be written.
    """
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    key = (type(error).__name__, f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "")
    with _lock:
        if key not in _written:
            _written[key] = _write(text)
            if _written[key] is None or is_debugging():
                with suppress(OSError, ValueError):
                    sys.stderr.write("\n".join(map(printable, text.rstrip().split("\n"))) + "\n")
        return _written[key]


def _write(text: str) -> Path | None:
    facts = f"sleap_infer {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    facts += f"{' '.join(map(printable, sys.argv))}\n\n"
    for folder in (state_directory(), None):
        with suppress(OSError, ValueError):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _delete_old(folder)
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            handle, name = tempfile.mkstemp(prefix=f"sleap_infer-error-{stamp}-", suffix=".txt", dir=folder)
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(facts + text)
            return Path(name)
    return None


def _delete_old(folder: Path) -> None:
    found = sorted(folder.glob("sleap_infer-error-*.txt"))
    for path in found[: max(len(found) - FILES_RETAINED + 1, 0)]:
        path.unlink(missing_ok=True)


def _named_in(message: str) -> str:
    """Return the name of the file in a message of HDF5."""
    found = re.search(r"name = '([^']*)'", message)
    return printable(found[1]) if found else "A file or folder"
