"""Import third-party runtimes with their reports of usage switched off.

Some runtimes send data about their use to their vendor, or prepare to, unless a variable or a missing package stops
them. `docs/privacy.md` lists what each would send. Every module imports these runtimes with `import_runtime`, and
`import sleap_infer` already switches the reports off, so that worker processes do too.

Messages about a missing runtime name the command of `install_command`.

To add a runtime: its variables in `VARIABLES` or its reporting package in `PACKAGES`, and its row in `docs/privacy.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

DISTRIBUTION = "sleap-infer"
NVIDIA_INDEX = "https://pypi.nvidia.com"

ALLOW_VARIABLE = "SLEAP_INFER_ALLOW_TELEMETRY"
"""Environment variable: names of runtimes that may report, separated by commas; `all` for every one."""

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0"},
}
"""Environment variables that switch the reports of a runtime off."""

PACKAGES: Mapping[str, str] = {"openvino": "openvino_telemetry", "MNN": "MNN.tools"}
"""The package with which a runtime reports. Without it, the runtime works and does not report."""


def import_runtime(name: str) -> Any:
    """Return a module of a runtime, imported with reports switched off.

    Args:
        name: module, such as `"onnxruntime.quantization"`.

    Raises:
        ImportError: it is not installed, or broken.
    """
    switch_reports_off()
    return import_module(name)


def switch_reports_off() -> None:
    """Switch off the reports of runtimes, except for those in `$SLEAP_INFER_ALLOW_TELEMETRY`.

    Variables that the user set are not changed. A reporting package that was imported before stays imported.
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


def install_command(extra: str, index: str = "") -> str:
    """Return the pip command that installs an extra of this package.

    The package is not on a package index yet, so the command names the directory, archive or repository from which
    pip installed it, as recorded by pip (PEP 610). If there is no record, it is the command for a clone.

    Args:
        extra: one extra, or several separated by commas, such as `torch,export`.
        index: a further package index that the extra needs.
    """
    import shlex

    words = ["pip", "install", *(["--extra-index-url", index] if index else [])]
    where = _origin()
    if where is None:
        return f"{shlex.join([*words, f'.[{extra}]'])}  # in a clone of the repository"
    is_directory = "://" not in where
    return shlex.join([*words, f"{where}[{extra}]" if is_directory else f"{DISTRIBUTION}[{extra}] @ {where}"])


@cache
def _origin() -> str | None:
    """Return the directory or URL that this package was installed from, `None` if unknown or gone."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        text = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    return origin_of(text)


def origin_of(record: str | None) -> str | None:
    """Return the directory or URL in a `direct_url.json`, `None` if it is unknown or no longer exists.

    >>> origin_of('{"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "1a"}}')
    'git+https://host/x.git@1a'
    """
    import json
    from urllib.parse import unquote, urlsplit

    try:
        facts = json.loads(record or "")
        url = str(facts["url"])
        vcs = facts.get("vcs_info")
        if vcs:
            return f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    parts = urlsplit(url)
    if parts.scheme != "file":
        return url
    path = Path(unquote(parts.path))
    if not path.exists():
        return None
    return str(path) if path.is_dir() else url
