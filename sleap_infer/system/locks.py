"""Lock files, so that one process at a time works on something; the system releases the lock when a process ends.

Uses `portalocker`. On Windows, shared locks need `pywin32`.
"""

from __future__ import annotations

import errno
import sys
from typing import IO, Any

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""Errors of a kind of lock that the file system does not have."""


class LocksUnsupportedError(Exception):
    """The file system has no locks; the message is the reason that it gives."""


def try_lock(file: IO[str], shared: bool = False) -> bool:
    """Lock an open file until it is closed or this process ends.

    Where a file system has no `flock`, as some network file systems, record locks are used.

    Args:
        file: open for reading and writing.
        shared: whether other shared locks are allowed at the same time.

    Returns:
        False if another process holds a lock that excludes this one.

    Raises:
        LocksUnsupportedError: the file system has no locks.
        OSError: it cannot be locked for another reason.
    """
    from portalocker import AlreadyLocked, LockException, LockFlags  # here: it takes 20 ms

    reason = ""
    for locker in _lockers():
        try:
            locker.lock(file, (LockFlags.SHARED if shared else LockFlags.EXCLUSIVE) | LockFlags.NON_BLOCKING)
            return True
        except AlreadyLocked:
            return False
        except LockException as error:
            cause = error.__cause__
            if not isinstance(cause, OSError):
                raise LocksUnsupportedError(str(error)) from error
            if cause.errno not in UNSUPPORTED:
                raise cause from None
            reason = cause.strerror or str(cause)
    raise LocksUnsupportedError(reason)


def _lockers() -> list[Any]:
    from portalocker import portalocker

    if sys.platform == "win32":
        return [portalocker.MsvcrtLocker()]
    return [portalocker.FlockLocker(), portalocker.LockfLocker()]
