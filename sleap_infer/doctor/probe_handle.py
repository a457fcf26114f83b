"""Parent side of a check: start its process, and report how it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from sleap_infer.system.cache_directory import CACHE_VARIABLE
from sleap_infer.system.child_process import Child

TIMEOUT_S = 300.0
"""Default time limit of one check. Engines and compiled networks take minutes on slow machines."""

MODULE = "sleap_infer.doctor.probe_main"


@frozen
class Ending:
    """The end of a probe.

    Attributes:
        answer: its answer; `None` if it ended before.
        stage: its last step, in words that follow "while".
        returncode: `None` if it was stopped at the time limit.
        stderr: the end of its stderr.
    """

    answer: dict[str, Any] | None
    stage: str = "starting Python"
    returncode: int | None = 0
    stderr: str = ""


def run_probe(name: str, device: str, timeout: float, folder: Path) -> Ending:
    """Run one probe.

    Args:
        name: name of the component.
        device: device on which it is checked.
        timeout: maximum seconds.
        folder: directory for what it writes. The user's cache is not used: code compiled earlier may not compile now.
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
