"""Results of the checks, as values and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from sleap_infer.doctor.machine import Machine

SCHEMA = 2
"""Version of `Diagnosis.as_dict`. It is raised when a name changes its meaning or is removed."""

State: TypeAlias = Literal["ok", "absent", "unusable here", "failed"]
"""Works; not installed; cannot work on this machine, which is no fault; installed and does not work."""


@frozen
class Finding:
    """Why a component does not work, and how to fix it.

    Attributes:
        state: resulting state.
        cause: one or two sentences.
        fix: a command; empty if none is known.
    """

    state: State
    cause: str
    fix: str = ""


@frozen
class Check:
    """The result of one check.

    Attributes:
        name: name of the component.
        kind: `"driver"`, `"backend"` or `"reader"`.
        device: on which device.
        state: one of `State`.
        packages: versions of installed packages, by name.
        agreement: largest difference from the reference; `None` if nothing was compared.
        unit: unit of the difference.
        ms: milliseconds per frame in the second call.
        cause: why it does not work, or will soon break.
        fix: command that fixes it.
        detail: end of the output of the check's process, for bug reports.
    """

    name: str
    kind: str
    device: str
    state: State
    packages: Mapping[str, str] = field(factory=dict)
    agreement: float | None = None
    unit: str = ""
    ms: float | None = None
    cause: str = ""
    fix: str = ""
    detail: str = ""

    @property
    def version(self) -> str:
        """The first package with its version."""
        return next((f"{name} {version}" for name, version in self.packages.items()), "")

    @property
    def title(self) -> str:
        """Component and device, for people."""
        return f"{self.name} on {self.device}" if self.kind == "backend" else self.name


@frozen
class Diagnosis:
    """All checks, and the machine."""

    machine: Machine
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks of components that are installed and do not work."""
        return tuple(check for check in self.checks if check.state == "failed")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        from sleap_infer._version import __version__

        return {
            "schema": SCHEMA,
            "sleap_infer": __version__,
            "ok": not self.failed,
            "machine": attrs.asdict(self.machine),
            "checks": [attrs.asdict(check) for check in self.checks],
        }
