"""What a command leaves behind: processes, files, connections."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

MARK = "SLEAP_INFER_TEST_MARK"
"""Children inherit this variable, whatever session or parent they have."""

VARIABLES_OF_REPORTS = (
    "ORT_DISABLE_TELEMETRY",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_USAGE_STATS_PROMPT_ENABLED",
    "SLEAP_INFER_ALLOW_TELEMETRY",
)
HAS_PROC = Path("/proc/self/environ").exists()


@frozen
class Traces:
    """What a command left.

    Attributes:
        code: its exit code.
        text: all that it wrote.
        files: in its home, relative to it.
        connections: addresses on other machines that it, or a child, connected to; `None` where nobody could see.
        processes: command lines of those that are left.
    """

    code: int
    text: str
    files: frozenset[str]
    connections: tuple[str, ...] | None
    processes: tuple[str, ...]


def run(command: Sequence[str], folder: Path, **variables: str) -> Traces:
    """Run a Python command (`-m sleap_infer ...`) in a home of its own in a folder, and look at what it leaves."""
    home, trace, mark = folder / "home", folder / "trace", uuid.uuid4().hex
    home.mkdir(exist_ok=True)
    seen = [*strace(), "-o", str(trace)] if strace() else []
    with (folder / "written.txt").open("wb") as out:
        done = subprocess.run(
            [*seen, sys.executable, *command],
            env=environment(home) | {MARK: mark, **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        )
    text = (folder / "written.txt").read_text(errors="replace")
    files = frozenset(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return Traces(done.returncode, text, files, connections(trace) if seen else None, left(mark))


def environment(home: Path) -> dict[str, str]:
    """Variables of a user who has just installed everything."""
    ours = {name: value for name, value in os.environ.items() if name not in VARIABLES_OF_REPORTS}
    ours.pop("SLEAP_INFER_WORKERS", None)
    return ours | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}


def strace() -> list[str]:
    """Return the command that notes each `connect` of a process and its children; empty where there is none."""
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-f", "true"], capture_output=True, check=False).returncode:
        return []
    return [program, "-f", "-qq", "-e", "trace=connect", "-e", "signal=none"]


def connections(trace: Path) -> tuple[str, ...]:
    """Return the addresses outside of this machine in a trace."""
    calls = re.findall(
        r"connect\(.*?inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\"", trace.read_text(errors="replace")
    )
    return tuple(address for address in calls if not address.startswith("127.") and address != "::1")


def left(mark: str, patience_s: float = 10.0) -> tuple[str, ...]:
    """Return the command lines of processes with a mark, after giving them time to end. Linux only."""
    end = time.monotonic() + patience_s
    while found := _marked(mark):
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return tuple(found.values())


def end_left(mark: str) -> None:
    """Kill the processes with a mark."""
    for pid in _marked(mark):
        os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = line
        except OSError:
            continue
    return found
