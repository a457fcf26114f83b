"""What was seen of a check, and the shape of a rule that knows its cause."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from sleap_infer.doctor.machine import Machine
from sleap_infer.doctor.probe_handle import Ending
from sleap_infer.doctor.report import Finding, State
from sleap_infer.doctor.subjects import PYTORCH_INDEX, Subject
from sleap_infer.system.child_process import crash_name

MOST_LETTERS = 300


@frozen
class Evidence:
    """What was seen of a check that did not succeed.

    Attributes:
        subject: what was checked.
        device: where.
        machine: on what.
        installed: versions by package.
        ending: of its process.
        problem: the error with those that led to it, or what is wrong with the answer.
        seconds: that it was given.
    """

    subject: Subject
    device: str
    machine: Machine
    installed: Mapping[str, str]
    ending: Ending
    problem: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All that was said, the most telling first."""
        return f"{self.problem}\n{self.ending.stderr}".strip()

    @property
    def on_gpu(self) -> bool:
        """Whether this is about CUDA, on a machine that has it."""
        return self.device.startswith("cuda") and bool(self.machine.gpus)

    @property
    def capability(self) -> float | None:
        """Of the GPU that this is about."""
        index = int(self.device.partition(":")[2] or 0)
        return self.machine.gpus[index].capability if self.on_gpu else None

    @property
    def torch_cuda(self) -> str | None:
        """The CUDA that PyTorch was built for; `None` for none, or if that is unknown."""
        return (self.ending.answer or {}).get("torch_cuda")

    @property
    def crash(self) -> str:
        """What ended the process, in a word; empty if it ended by itself."""
        return crash_name(self.ending.returncode or 0)

    def words(self) -> dict[str, Any]:
        """What the texts of rules may name."""
        package = next(iter(self.installed), next(iter(self.subject.packages), "sleap-infer"))
        is_gpu = bool(self.machine.gpus) and "onnxruntime-gpu" in self.installed
        return {
            "name": self.subject.name,
            "device": self.device,
            "package": package,
            "versioned": f"{package} {self.installed.get(package, '')}".strip(),
            "version": self.installed.get(package, ""),
            "packages": " and ".join(f"{name} {version}" for name, version in self.installed.items()),
            "names": " ".join(self.installed),
            "wanted": "onnxruntime-gpu" if is_gpu else package,
            "install": self.subject.install,
            "reinstall": self.subject.reinstall(self.installed),
            "error": next((line for line in self.text.splitlines() if line.strip()), "no message")[:MOST_LETTERS],
            "stage": self.ending.stage,
            "end": self.crash or f"exit code {self.ending.returncode}",
            "seconds": f"{self.seconds:g}",
            "more": f"{max(4 * self.seconds, 600):g}",
            "gpu": self.machine.gpus[0].name if self.machine.gpus else "",
            "memory": f"{self.machine.memory_gb or 0:g}",
            "driver": self.machine.driver or "here",
            "driver_cuda": self.machine.driver_cuda,
            "torch_cuda": self.torch_cuda,
            "index": f"{PYTORCH_INDEX}/{'cu126' if self.machine.driver_cuda.startswith('12.') else 'cu130'}",
        }


@frozen
class Rule:
    """A cause that can be recognised.

    Attributes:
        cause: in a sentence or two. `{...}` are names in `Evidence.words`, or groups of the pattern.
        mend: the command; or one for each `sys.platform`, `""` being for all others.
        pattern: that the text has somewhere.
        names: of subjects that it is about; empty for all.
        when: what holds besides.
        state: what it comes to.
    """

    cause: str
    mend: str | Mapping[str, str] = ""
    pattern: str = ""
    names: tuple[str, ...] = ()
    when: Callable[[Evidence], bool] = lambda evidence: True
    state: State = "failed"

    def apply(self, evidence: Evidence) -> Finding | None:
        """The finding, if the rule fits."""
        if (self.names and evidence.subject.name not in self.names) or not self.when(evidence):
            return None
        match = re.search(self.pattern, evidence.text)
        if match is None:
            return None
        words = evidence.words() | match.groupdict()
        mend = self.mend if isinstance(self.mend, str) else self.mend.get(sys.platform, self.mend[""])
        return Finding(self.state, self.cause.format(**words), mend.format(**words))
