"""Evidence of a check, and rules that recognise a cause."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from sleap_infer.doctor.components import PYTORCH_INDEX, Component
from sleap_infer.doctor.machine import Machine
from sleap_infer.doctor.probe_handle import Ending
from sleap_infer.doctor.report import Finding, State
from sleap_infer.system.child_process import crash_name

MAX_LETTERS = 300


@frozen
class Evidence:
    """Evidence of a check that failed.

    Attributes:
        component: what was checked.
        device: on which device.
        machine: on which machine.
        installed: versions by package.
        ending: how its process ended.
        problem: the chain of errors, or what is wrong with the answer.
        seconds: its time limit.
    """

    component: Component
    device: str
    machine: Machine
    installed: Mapping[str, str]
    ending: Ending
    problem: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The problem, then what the process wrote to stderr."""
        return f"{self.problem}\n{self.ending.stderr}".strip()

    @property
    def on_gpu(self) -> bool:
        """Return whether the check ran on a CUDA device of this machine."""
        return self.device.startswith("cuda") and bool(self.machine.gpus)

    @property
    def capability(self) -> float | None:
        """Compute capability of the GPU of this check; `None` if unknown."""
        index = int(self.device.partition(":")[2] or 0)
        return self.machine.gpus[index].capability if self.on_gpu else None

    @property
    def torch_cuda(self) -> str | None:
        """The CUDA version that PyTorch was built for; `None` for none, or if unknown."""
        return (self.ending.answer or {}).get("torch_cuda")

    @property
    def crash(self) -> str:
        """Name of the signal that ended the process; empty if it exited."""
        return crash_name(self.ending.returncode or 0)

    def words(self) -> dict[str, Any]:
        """Return the values that the texts of rules may contain."""
        package = next(iter(self.installed), next(iter(self.component.packages), "sleap-infer"))
        is_gpu = bool(self.machine.gpus) and "onnxruntime-gpu" in self.installed
        return {
            "name": self.component.name,
            "device": self.device,
            "package": package,
            "versioned": f"{package} {self.installed.get(package, '')}".strip(),
            "version": self.installed.get(package, ""),
            "packages": " and ".join(f"{name} {version}" for name, version in self.installed.items()),
            "names": " ".join(self.installed),
            "wanted": "onnxruntime-gpu" if is_gpu else package,
            "install": self.component.install,
            "reinstall": self.component.reinstall(self.installed),
            "error": next((line for line in self.text.splitlines() if line.strip()), "no message")[:MAX_LETTERS],
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
        cause: one or two sentences. `{...}` are names in `Evidence.words`, or groups of the pattern.
        fix: a command, or one for each `sys.platform`, `""` for all others.
        pattern: regular expression to find in the text.
        names: names of components to which it applies; empty for all.
        when: further condition.
        state: resulting state.
    """

    cause: str
    fix: str | Mapping[str, str] = ""
    pattern: str = ""
    names: tuple[str, ...] = ()
    when: Callable[[Evidence], bool] = lambda evidence: True
    state: State = "failed"

    def apply(self, evidence: Evidence) -> Finding | None:
        """Return the finding; `None` if the rule does not match."""
        if (self.names and evidence.component.name not in self.names) or not self.when(evidence):
            return None
        match = re.search(self.pattern, evidence.text)
        if match is None:
            return None
        words = evidence.words() | match.groupdict()
        fix = self.fix if isinstance(self.fix, str) else self.fix.get(sys.platform, self.fix[""])
        return Finding(self.state, self.cause.format(**words), fix.format(**words))
