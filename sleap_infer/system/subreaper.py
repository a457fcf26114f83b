"""Run a command so that no process of it outlives it or the process that started it. A script; Linux only.

    python -I -S subreaper.py PID COMMAND...

`PID` is the process that starts it. When that one ends, also by SIGKILL, the kernel signals this process
(PR_SET_PDEATHSIG, prctl(2)), which ends the command. When the command ends, this process ends all that the command
started: processes whose parent ended become its children (PR_SET_CHILD_SUBREAPER), also those in other sessions. It
then ends as the command did. It stays in memory as long as the command runs, so it imports little.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

assert sys.platform == "linux"

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Run the command, wait, and end what is left of it."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    own, libc = os.getpid(), ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: end_like(signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides on it
    if os.getppid() != parent:  # it ended before the kernel was asked
        return
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == own:
            run(command)
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # a reader of the command's output waits for the command alone
        os.dup2(nothing, stream)
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    end_like(-os.waitstatus_to_exitcode(status))


def run(command: list[str]) -> None:
    """Become the command."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)


def end_like(number: int) -> None:
    """End all children, then this process: by a signal, or with the exit code of a number that is not positive."""
    end_children()
    if number > 0:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
    os._exit(max(-number, 0))


def end_children() -> None:
    """Kill children until none is left. The children of each become children of this process."""
    while True:
        for child in children():
            with suppress(OSError):  # another user's, as of sudo
                os.kill(child, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def children() -> list[int]:
    """Return the process ids of the children of this process, also of those that ended and wait to be noticed."""
    found, own = [], os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:  # it ended
                continue
            if parent == own:
                found.append(int(name))
    return found


if __name__ == "__main__":
    main()
