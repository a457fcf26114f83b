"""A probe in a process of its own, from start to end, whatever end that is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from sleap_infer.system.cache_directory import CACHE_VARIABLE
from sleap_infer.system.child_process import Child

TIMEOUT_S = 300.0
"""That one probe may take. Engines and compiled networks take minutes on slow machines."""

MODULE = "sleap_infer.doctor.probe_main"


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
    result = Ending(None)
    with Child(command, variables, timeout) as child:
        for message in child.messages():
            stage, answer = message.get("stage", result.stage), message.get("answer", result.answer)
            result = attrs.evolve(result, stage=stage, answer=answer)
        end = child.ending()
    return attrs.evolve(result, returncode=end.code, stderr=end.stderr)
