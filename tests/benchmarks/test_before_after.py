"""The comparison of two commits, and the table of wheels; nothing is measured or downloaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("unit", "before", "after", "slowdown"),
    [
        ("frames/s", [100, 110, 90], [50, 60, 40], 0.5),
        ("frames/s", [100], [125], -0.25),
        ("s", [1.0, 9.0, 1.0], [1.5, 1.5, 1.5], 0.5),
        ("s", [2.0], [1.0], -0.5),
    ],
)
def test_a_slowdown_is_relative_and_of_the_medians(
    unit: str, before: list[float], after: list[float], slowdown: float
) -> None:
    row = script("before_after").Row("x", unit, (), {"before": before, "after": after})
    assert row.slowdown == pytest.approx(slowdown)


def test_the_table_of_wheels_names_what_is_missing_and_where() -> None:
    wheels = script("wheels")
    both = {"3.11": "yes", "3.12": "yes"}
    results = {
        "": {"Linux": both, "macOS": both},
        "nvdec": {"Linux": both, "macOS": dict.fromkeys(both, "nothing")},
        "rtx": {"Linux": {"3.11": "yes", "3.12": "a-b"}, "macOS": dict.fromkeys(both, "a-b")},
    }
    assert wheels.table(results).splitlines() == [
        "| extra | Linux | macOS |",
        "|---|---|---|",
        "| none | yes | yes |",
        "| `nvdec` | yes | not for this system |",
        "| `rtx` | 3.11: yes; 3.12: no wheel of a-b | no wheel of a-b |",
    ]


def test_packages_without_wheels_are_read_from_the_message() -> None:
    wheels = script("wheels")
    assert wheels.without_wheels("Because a-b>=1.2 has no usable\n wheels and c==1 has no wheels with ...") == "a-b, c"
    assert wheels.without_wheels("Because all versions of a.b have no usable wheels") == "a.b"
    assert wheels.without_wheels("no network") == ""


def test_extras_for_developers_are_left_out() -> None:
    project = {"a": ["One>=2", "two[x]>1; sys_platform == 'win32'"], "test": ["pytest"]}
    assert script("wheels").extras_of(project) == {"": (), "a": ("one", "two")}
