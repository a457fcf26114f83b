"""A probe in a process of its own, from start to end, whatever end that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from sleap_infer.system import child_process as children
from sleap_infer.system.cache_directory import CACHE_VARIABLE

TIMEOUT_S = 300.0
"""That one probe may take. Engines and compiled networks take minutes on slow machines."""

MODULE = "sleap_infer.doctor.probe_main"
LAST_WORDS = 4000


@frozen
class Ending:
    """How a probe ended.

    Attributes:
        answer: what it said; `None` if it ended before.
        stage: what it was doing, in words that follow "while".
        returncode: `None` if it had to be stopped.
        stderr: its last words.
    """

    answer: dict[str, Any] | None
    stage: str = "starting Python"
    returncode: int | None = 0
    stderr: str = ""


def run_probe(name: str, device: str, timeout: float, folder: Path) -> Ending:
    """Run one probe.

    Args:
        name: of the subject.
        device: where it is checked.
        timeout: seconds that it may take.
        folder: for what it writes. Nothing is taken from the user's cache: what was compiled once may not be today.
    """
    # -P: a file `torch.py` in the user's folder is not PyTorch.
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", MODULE, name, device]
    names = (CACHE_VARIABLE, "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TMPDIR", "TEMP", "TMP")
    variables = {name: str(folder) for name in names}
    # Files, not pipes: these stay open as long as any process that the probe leaves behind.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = children.start(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=os.environ | variables)
        returncode = None
        try:
            with suppress(subprocess.TimeoutExpired):
                returncode = process.wait(timeout)
        finally:
            children.end(process)
        stage, answer = _read(_text(out))
        return Ending(answer, stage, returncode, _text(err)[-LAST_WORDS:])


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _read(out: str) -> tuple[str, dict[str, Any] | None]:
    r"""Last stage and answer among all that was printed.

    >>> _read('noise\n{"stage": "opening"}\n[1]\n')
    ('opening', None)
    """
    stage, answer = Ending(None).stage, None
    for line in out.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            stage, answer = said.get("stage", stage), said.get("answer", answer)
    return stage, answer
