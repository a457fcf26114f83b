"""Import third-party runtimes with their reports of usage switched off.

Some runtimes send data about their use to their vendor, or prepare to, unless a variable or a missing package stops
them. `docs/privacy.md` lists what each would send. Every module imports these runtimes with `import_runtime`, and
`import sleap_infer` already switches the reports off, so that worker processes do too.

To add a runtime: its variables in `VARIABLES` or its reporting package in `PACKAGES`, and its row in `docs/privacy.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

ALLOW_VARIABLE = "SLEAP_INFER_ALLOW_TELEMETRY"
"""Names of runtimes, with commas between them, that may report; `all` for every one."""

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0"},
}
"""Environment variables that switch the reports of a runtime off."""

PACKAGES: Mapping[str, str] = {"openvino": "openvino_telemetry"}
"""The package with which a runtime reports. Without it, the runtime works and does not report."""


def import_runtime(name: str) -> Any:
    """Return a module of a runtime, imported with reports switched off.

    Args:
        name: of the module, such as `"onnxruntime.quantization"`.

    Raises:
        ImportError: it is not installed, or broken.
    """
    switch_reports_off()
    return import_module(name)


def switch_reports_off() -> None:
    """Keep runtimes from reporting. What the user set is not changed.

    Variables that are set to a value keep it. A reporting package that the program imported before stays imported.
    Runtimes that `$SLEAP_INFER_ALLOW_TELEMETRY` names are left as they are.
    """
    allowed = {name.strip() for name in os.environ.get(ALLOW_VARIABLE, "").split(",")}
    if "all" in allowed:
        return
    for runtime, variables in VARIABLES.items():
        for name, value in variables.items():
            if runtime not in allowed and not os.environ.get(name):
                os.environ[name] = value
    for runtime, package in PACKAGES.items():
        if runtime not in allowed and package not in sys.modules:
            sys.modules[package] = None  # type: ignore[assignment]  # `import` of it now raises ImportError
