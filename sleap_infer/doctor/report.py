"""What the doctor found: values, and these as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from sleap_infer.doctor.machine import Machine

SCHEMA = 1
"""Of `Diagnosis.as_dict`. It goes up when a name changes its meaning or goes away."""

State: TypeAlias = Literal["ok", "absent", "unusable here", "failed"]
"""Works; is not installed; cannot work on this machine, which is no fault; is there and does not work."""


@frozen
class Finding:
    """Why something does not work, and what mends it.

    Attributes:
        state: what it comes to.
        cause: in a sentence or two.
        mend: a command; empty where none is known.
    """

    state: State
    cause: str
    mend: str = ""


@frozen
class Check:
    """What one check came to.

    Attributes:
        name: of what was checked.
        kind: `"driver"`, `"backend"` or `"reader"`.
        device: where.
        state: in a word.
        packages: versions by package, of those that are installed.
        agreement: largest difference from the reference; `None` if there is nothing to compare.
        unit: of that difference.
        ms: per frame, in the second call.
        cause: why it does not work, or will not for long.
        mend: the command that mends it.
        detail: the last words of the check's process, for bug reports.
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
    mend: str = ""
    detail: str = ""

    @property
    def version(self) -> str:
        """The first package with its version."""
        return next((f"{name} {version}" for name, version in self.packages.items()), "")

    @property
    def title(self) -> str:
        """What was checked, in words."""
        return f"{self.name} on {self.device}" if self.kind == "backend" else self.name


@frozen
class Diagnosis:
    """All checks, and the machine that they were made on."""

    machine: Machine
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What is there and does not work."""
        return tuple(check for check in self.checks if check.state == "failed")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        from sleap_infer._version import __version__

        return {
            "schema": SCHEMA,
            "sleap_infer": __version__,
            "ok": not self.failed,
            "machine": attrs.asdict(self.machine),
            "checks": [attrs.asdict(check) for check in self.checks],
        }
