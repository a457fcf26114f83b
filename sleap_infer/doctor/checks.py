"""Run all checks, one after the other."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from sleap_infer.doctor.causes import find_cause, warn
from sleap_infer.doctor.components import DRIVER, Component, all_components
from sleap_infer.doctor.evidence import Evidence
from sleap_infer.doctor.machine import Machine
from sleap_infer.doctor.probe_handle import TIMEOUT_S, Ending, run_probe
from sleap_infer.doctor.probe_main import IMPORT_ONLY
from sleap_infer.doctor.report import Check, Diagnosis, Finding
from sleap_infer.errors import OptionError

TOLERANCE_PX = 0.05
TOLERANCES = {"video": 3.0, "images": 0.0, "nvdec": 3.0}
"""Maximum difference of a reader from the reference in grey levels: decoders round colours differently."""

NO_GPU = "cuda"
"""Device name if no GPU can be used."""


def examine(
    only: Sequence[str] = (), timeout: float = TIMEOUT_S, progress: Callable[[str], None] = lambda title: None
) -> Diagnosis:
    """Check what works on this machine.

    Args:
        only: names of components to check; all by default.
        timeout: maximum seconds of one check.
        progress: called with the name of the next check.

    Raises:
        OptionError: there is no check of such a name.
    """
    components = _choose(only)
    with tempfile.TemporaryDirectory(prefix="sleap-infer-doctor-", ignore_cleanup_errors=True) as folder:
        exam = Examination.begin(timeout, Path(folder))
        checks = []
        for component, device in _plan(components, exam.machine):
            progress(f"{component.name} on {device}" if component.kind == "backend" else component.name)
            checks.append(exam.check(component, device))
    return Diagnosis(exam.machine, tuple(checks))


def _choose(only: Sequence[str]) -> list[Component]:
    components = all_components()
    names = [component.name for component in components]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise OptionError(f"There is no check {unknown[0]!r}. Use some of: {', '.join(names)}.")
    return [component for component in components if not only or component.name in only]


def _plan(components: Sequence[Component], machine: Machine) -> Iterator[tuple[Component, str]]:
    gpus = [f"cuda:{index}" for index in range(len(machine.gpus))] or [NO_GPU]
    there = {"cpu": ["cpu"], "mps": [], "cuda": gpus}
    if sys.platform == "darwin":
        there |= {"mps": ["mps"] if platform.machine() == "arm64" else [], "cuda": []}
    for component in components:
        for kind in component.devices:
            yield from ((component, device) for device in there.get(kind, [kind]))


@frozen
class Examination:
    """State that all checks share.

    Attributes:
        machine: facts about the machine.
        driver: check of the NVIDIA driver, on which those on GPUs depend.
        timeout: maximum seconds of one check.
        folder: directory for what they write.
    """

    machine: Machine
    driver: Check
    timeout: float
    folder: Path

    @classmethod
    def begin(cls, timeout: float, folder: Path) -> Examination:
        """Query the driver, and read the facts of the machine."""
        ending = Ending({})
        if sys.platform != "darwin":
            ending = run_probe(DRIVER.name, IMPORT_ONLY, timeout, folder)
        answer = ending.answer or {}
        machine = Machine.read(answer)
        check = Check(DRIVER.name, DRIVER.kind, "gpu", "ok", {"NVIDIA": machine.driver} if machine.driver else {})
        if not machine.gpus:
            seen = Evidence(DRIVER, "gpu", machine, {}, ending, answer.get("error", ""), timeout)
            check = _with(check, find_cause(seen), seen.text)
        return cls(machine, check, timeout, folder)

    def check(self, component: Component, device: str) -> Check:
        """Run one check."""
        if component is DRIVER:
            return self.driver
        installed = component.installed()
        check = Check(component.name, component.kind, device, "ok", installed)
        if component.broken:
            return _with(check, Finding("failed", component.broken))
        if component.imports and not installed and not component.module():
            return _with(check, Finding("absent", "It is not installed.", component.install))
        without_gpu = Finding("unusable here", self.driver.cause, self.driver.fix)
        if device == NO_GPU and ("cpu" in component.devices or component.kind == "reader"):
            return _with(check, without_gpu)
        ending = run_probe(component.name, IMPORT_ONLY if device == NO_GPU else device, self.timeout, self.folder)
        answer = ending.answer or {}
        problem = _problem(component, device, answer)
        seen = Evidence(component, device, self.machine, installed, ending, problem, self.timeout)
        unit = "px" if component.kind == "backend" else "levels"
        check = attrs.evolve(check, agreement=answer.get("agreement"), unit=unit, ms=answer.get("ms"))
        if problem or not ending.answer or ending.returncode != 0:
            return _with(check, find_cause(seen), f"{answer.get('trace', problem)}\n{ending.stderr}".strip())
        warning = without_gpu if device == NO_GPU else warn(seen)
        return _with(check, warning) if warning else check


def _problem(component: Component, device: str, answer: Mapping[str, Any]) -> str:
    """Return what is wrong with an answer; empty if nothing is."""
    if "error" in answer:
        return str(answer["error"])
    used = answer.get("device", device)
    if used != device:
        return f"ran on {used}"
    if answer.get("n_wrong"):
        return f"wrong: of {answer['n_points']} points {answer['n_wrong']} are missing or too many"
    agreement, limit = answer.get("agreement"), TOLERANCES.get(component.name, TOLERANCE_PX)
    if agreement is not None and not agreement <= limit:
        what = "points are up to {:.3g} px" if component.kind == "backend" else "pixels are up to {:g} grey levels"
        return f"wrong: {what.format(agreement)} away from where they should be"
    return ""


def _with(check: Check, finding: Finding, detail: str = "") -> Check:
    return attrs.evolve(check, state=finding.state, cause=finding.cause, fix=finding.fix, detail=detail)
