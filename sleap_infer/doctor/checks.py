"""What is checked where, one after the other, and what comes of it."""

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
from sleap_infer.doctor.evidence import Evidence
from sleap_infer.doctor.machine import Machine
from sleap_infer.doctor.probe_handle import TIMEOUT_S, Ending, run_probe
from sleap_infer.doctor.probe_main import IMPORT_ONLY
from sleap_infer.doctor.report import Check, Diagnosis, Finding
from sleap_infer.doctor.subjects import DRIVER, Subject, all_subjects
from sleap_infer.errors import OptionError

TOLERANCE_PX = 0.05
TOLERANCES = {"video": 3.0, "images": 0.0, "nvdec": 3.0}
"""Grey levels that a reader may differ from the reference: decoders round colours in ways of their own."""

NO_GPU = "cuda"
"""In place of `cuda:N` where no GPU can be used."""


def examine(
    only: Sequence[str] = (), timeout: float = TIMEOUT_S, say: Callable[[str], None] = lambda title: None
) -> Diagnosis:
    """Check what works on this machine.

    Args:
        only: names of what to check; all by default.
        timeout: seconds that one check may take.
        say: gets what is checked next.

    Raises:
        OptionError: there is no check of such a name.
    """
    subjects = _choose(only)
    with tempfile.TemporaryDirectory(prefix="sleap-infer-doctor-", ignore_cleanup_errors=True) as folder:
        exam = Examination.begin(timeout, Path(folder))
        checks = []
        for subject, device in _plan(subjects, exam.machine):
            say(f"{subject.name} on {device}" if subject.kind == "backend" else subject.name)
            checks.append(exam.check(subject, device))
    return Diagnosis(exam.machine, tuple(checks))


def _choose(only: Sequence[str]) -> list[Subject]:
    subjects = all_subjects()
    names = [subject.name for subject in subjects]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise OptionError(f"There is no check {unknown[0]!r}. Use some of: {', '.join(names)}.")
    return [subject for subject in subjects if not only or subject.name in only]


def _plan(subjects: Sequence[Subject], machine: Machine) -> Iterator[tuple[Subject, str]]:
    gpus = [f"cuda:{index}" for index in range(len(machine.gpus))] or [NO_GPU]
    there = {"cpu": ["cpu"], "mps": [], "cuda": gpus}
    if sys.platform == "darwin":
        there |= {"mps": ["mps"] if platform.machine() == "arm64" else [], "cuda": []}
    for subject in subjects:
        for kind in subject.devices:
            yield from ((subject, device) for device in there.get(kind, [kind]))


@frozen
class Examination:
    """What all checks share.

    Attributes:
        machine: that they are made on.
        driver: the check of the NVIDIA driver, which those on GPUs lean on.
        timeout: seconds that one may take.
        folder: for what they write.
    """

    machine: Machine
    driver: Check
    timeout: float
    folder: Path

    @classmethod
    def begin(cls, timeout: float, folder: Path) -> Examination:
        """Ask the driver, and read the machine's facts."""
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

    def check(self, subject: Subject, device: str) -> Check:
        """Make one check."""
        if subject is DRIVER:
            return self.driver
        installed = subject.installed()
        check = Check(subject.name, subject.kind, device, "ok", installed)
        if subject.broken:
            return _with(check, Finding("failed", subject.broken))
        if subject.imports and not installed and not subject.module():
            return _with(check, Finding("absent", "It is not installed.", subject.install))
        without_gpu = Finding("unusable here", self.driver.cause, self.driver.mend)
        if device == NO_GPU and ("cpu" in subject.devices or subject.kind == "reader"):
            return _with(check, without_gpu)
        ending = run_probe(subject.name, IMPORT_ONLY if device == NO_GPU else device, self.timeout, self.folder)
        answer = ending.answer or {}
        problem = _problem(subject, device, answer)
        seen = Evidence(subject, device, self.machine, installed, ending, problem, self.timeout)
        unit = "px" if subject.kind == "backend" else "levels"
        check = attrs.evolve(check, agreement=answer.get("agreement"), unit=unit, ms=answer.get("ms"))
        if problem or not ending.answer or ending.returncode != 0:
            return _with(check, find_cause(seen), f"{answer.get('trace', problem)}\n{ending.stderr}".strip())
        warning = without_gpu if device == NO_GPU else warn(seen)
        return _with(check, warning) if warning else check


def _problem(subject: Subject, device: str, answer: Mapping[str, Any]) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if "error" in answer:
        return str(answer["error"])
    used = answer.get("device", device)
    if used != device:
        return f"ran on {used}"
    if answer.get("n_wrong"):
        return f"wrong: of {answer['n_points']} points {answer['n_wrong']} are missing or too many"
    agreement, limit = answer.get("agreement"), TOLERANCES.get(subject.name, TOLERANCE_PX)
    if agreement is not None and not agreement <= limit:
        what = "points are up to {:.3g} px" if subject.kind == "backend" else "pixels are up to {:g} grey levels"
        return f"wrong: {what.format(agreement)} away from where they should be"
    return ""


def _with(check: Check, finding: Finding, detail: str = "") -> Check:
    return attrs.evolve(check, state=finding.state, cause=finding.cause, mend=finding.mend, detail=detail)
