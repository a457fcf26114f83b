"""`sleap-infer doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from attrs import frozen

from sleap_infer.cli.flags import command, flag
from sleap_infer.cli.groups import JSON_HELP
from sleap_infer.doctor.probe_handle import TIMEOUT_S

if TYPE_CHECKING:
    from rich.table import Table

    from sleap_infer.cli.output.terminal import Terminal
    from sleap_infer.doctor.machine import Machine
    from sleap_infer.doctor.report import Check, Diagnosis

COLOURS = {"ok": "green", "failed": "bold red"}
"""Colours of states; the others are dim."""

LONGEST_NAME = len("opencv-python-headless")


@frozen
class DoctorFlags:
    """Selection of checks, and the form of the report."""

    only: list[str] | None = flag(None, "Check only this backend or reader. Repeatable.", "--only")
    timeout: float = flag(TIMEOUT_S, "Maximum time of one check, in seconds.", min=1)
    as_json: bool = flag(False, JSON_HELP, "--json")


@command
def doctor(given: DoctorFlags) -> None:
    """Check backends and readers on this machine, and suggest fixes.

    Examples:
      sleap-infer doctor
      sleap-infer doctor --only onnx --only video

    Each backend predicts a few frames on each device, and each reader reads some. Results are compared with known ones.

    Exit codes: 0 nothing is broken, 1 something is broken, 2 wrong usage.
    """
    from sleap_infer.cli.output.terminal import Terminal, print_as_json
    from sleap_infer.doctor.checks import examine

    with Terminal(stderr=True).waiting("querying the NVIDIA driver") as show_line:
        diagnosis = examine(given.only or (), given.timeout, lambda title: show_line(f"checking {title}"))
    if given.as_json:
        print_as_json(diagnosis.as_dict(), indent=1)
    else:
        show(diagnosis, Terminal())
    if diagnosis.failed:
        raise typer.Exit(1)


def show(diagnosis: Diagnosis, console: Terminal) -> None:
    """Print a diagnosis. Commands are never wrapped, so that they can be copied."""
    from sleap_infer.cli.output.terminal import words
    from sleap_infer.system.printable import printable

    for line in describe(diagnosis.machine):
        console.print(line)
    console.print()
    console.print(table(diagnosis))
    for checks in together(diagnosis):
        first = checks[0]
        titles = ", ".join(check.title for check in checks)
        console.print()
        console.print(
            words(titles, COLOURS.get(first.state, "bold")).append(printable(f": {first.cause}"), "default not bold")
        )
        if first.fix:
            console.print_line(f"    {first.fix}")
    console.print()
    n_failed = len(diagnosis.failed)
    console.print(f"{n_failed} of {len(diagnosis.checks)} checks failed." if n_failed else "Nothing is broken.")


def describe(machine: Machine) -> list[str]:
    """Describe a machine in a few lines."""
    memory = f", {machine.memory_gb:g} GB" if machine.memory_gb else ""
    lines = [f"{machine.os}, Python {machine.python}", f"CPU: {machine.cpu}, {machine.cores} cores{memory}"]
    for index, gpu in enumerate(machine.gpus):
        size = f", {gpu.memory_gb:g} GB" if gpu.memory_gb else ""
        lines.append(f"GPU {index}: {gpu.name}{size}")
    if machine.driver or machine.driver_cuda:
        lines.append(f"NVIDIA driver {machine.driver}, for CUDA up to {machine.driver_cuda or 'unknown'}")
    return lines


def table(diagnosis: Diagnosis) -> Table:
    """Return a table with one row for each check."""
    from rich.table import Table

    from sleap_infer.cli.output.terminal import words

    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("check", "device", "state"):
        found.add_column(name, no_wrap=True)
    found.add_column("version", min_width=LONGEST_NAME)
    found.add_column("agreement", justify="right", no_wrap=True)
    found.add_column("ms", justify="right", no_wrap=True)
    for check in diagnosis.checks:
        state = words(check.state, COLOURS.get(check.state, "dim"))
        ms = f"{check.ms:.1f}" if check.ms is not None else ""
        found.add_row(check.name, check.device, state, check.version, agreement(check), ms)
    return found


def agreement(check: Check) -> str:
    """Return the largest difference from the reference, with its unit."""
    if check.agreement is None:
        return ""
    if 0 < check.agreement < 0.001:
        return f"< 0.001 {check.unit}"
    return f"{check.agreement:.3g} {check.unit}"


def together(diagnosis: Diagnosis) -> list[list[Check]]:
    """Group checks that have a cause by this cause; failed ones come first."""
    groups: dict[tuple[str, str, str], list[Check]] = {}
    fixed = {check.fix for check in diagnosis.failed}
    for state in ("failed", "ok", "unusable here", "absent"):
        for check in diagnosis.checks:
            if check.state == state and check.cause and (state != "ok" or check.fix not in fixed):
                groups.setdefault((state, check.cause, check.fix), []).append(check)
    return list(groups.values())
