"""Ask the package index which extras can be installed from wheels on which system.

    pip install uv && python benchmarks/wheels.py [--output benchmarks/results/wheels.json]

For each extra, system and version of Python, `uv pip compile` resolves the package with this extra from wheels only. It
evaluates markers for that system, which `pip download --platform` does not. Nothing is downloaded but metadata. The
table is printed in Markdown, as summarised in `docs/backends.md`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_34",
    "Windows x86-64": "x86_64-pc-windows-msvc",
    "macOS arm64": "aarch64-apple-darwin",
}
PYTHONS = ("3.11", "3.12", "3.13")
FOR_DEVELOPERS = ("test", "lint", "docs")
YES, NOTHING, UNKNOWN = "yes", "nothing", "unknown"
"""All wheels exist; the extra requires nothing on this system; the resolver failed for another reason."""


def extras_of(project: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the packages that each extra for users requires directly, by extra; `""` is the package without extras.

    >>> extras_of({"tensorrt": ["tensorrt>=10.12", "cuda-python>=12.6"], "lint": ["ruff"]})
    {'': (), 'tensorrt': ('tensorrt', 'cuda-python')}
    """
    names = {
        extra: tuple(re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements)
        for extra, requirements in project.items()
        if extra not in FOR_DEVELOPERS
    }
    return {"": (), **names}


def without_wheels(message: str) -> str:
    """Return the packages for which a message of uv says that there is no wheel.

    >>> without_wheels("Because tensorrt>=10.12.0.36 has no usable wheels and only ...")
    'tensorrt'
    >>> without_wheels("Because all versions of tensorrt-rtx have no usable wheels and ...")
    'tensorrt-rtx'
    """
    found = re.findall(r"([A-Za-z][\w.-]*?)(?:[<>=!~]\S*)? ha(?:s|ve) no (?:usable )?wheels", " ".join(message.split()))
    return ", ".join(dict.fromkeys(found))


def resolve(extra: str, packages: Sequence[str], system: str, python: str) -> str:
    """Return `YES`, `NOTHING`, or the packages without wheels, for an extra on a system."""
    command = [
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"),
        *("--python-platform", SYSTEMS[system], "--python-version", python),
        *(("--extra", extra) if extra else ()),
        str(REPOSITORY / "pyproject.toml"),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        missing = without_wheels(answer.stderr)
        if not missing:
            print(f"{' '.join(command)} failed:\n{answer.stderr}", file=sys.stderr)
        return missing or UNKNOWN
    resolved = {line.partition("==")[0].lower() for line in answer.stdout.splitlines()}
    return YES if not packages or resolved.intersection(packages) else NOTHING


def table(results: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """Return a Markdown table: a row per extra, a column per system; Python versions only where they differ.

    >>> print(table({"onnx": {"macOS arm64": {"3.11": "yes", "3.12": "yes", "3.13": "tensorrt"}}}))
    | extra | macOS arm64 |
    |---|---|
    | `onnx` | 3.11, 3.12: yes; 3.13: no wheel of tensorrt |
    """
    systems = list(next(iter(results.values())))
    lines = [f"| extra | {' | '.join(systems)} |", f"|{'---|' * (len(systems) + 1)}"]
    for extra, by_system in results.items():
        cells = (_cell(by_system[system]) for system in systems)
        lines.append(f"| {f'`{extra}`' if extra else 'none'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(by_python: Mapping[str, str]) -> str:
    pythons: dict[str, list[str]] = {}
    for python, result in by_python.items():
        pythons.setdefault(result, []).append(python)
    words = {
        result: {YES: "yes", NOTHING: "not for this system", UNKNOWN: UNKNOWN}.get(result, f"no wheel of {result}")
        for result in pythons
    }
    if len(pythons) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{', '.join(versions)}: {words[result]}" for result, versions in pythons.items())


def main() -> None:
    """Resolve all combinations, write the results and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "results" / "wheels.json")
    output = parser.parse_args().output
    if shutil.which("uv") is None:
        raise SystemExit("uv is missing. Install it with: pip install uv")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = extras_of(project["optional-dependencies"])
    with ThreadPoolExecutor(8) as pool:
        futures = {
            (extra, system, python): pool.submit(resolve, extra, packages, system, python)
            for extra, packages in extras.items()
            for system in SYSTEMS
            for python in PYTHONS
        }
        results = {
            extra: {
                system: {python: futures[extra, system, python].result() for python in PYTHONS} for system in SYSTEMS
            }
            for extra in extras
        }
    report = {"made": datetime.now(UTC).date().isoformat(), "results": results}
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
