"""Environments that are broken in a known way, and the doctor run in them as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

DRIVER = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Pretended GPU", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8000000000; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 6; return 0; }
"""
"""A driver with one GPU, in so far as the doctor asks it."""

WRAP = """
import importlib.machinery, importlib.util, os, sys

def real(name):
    '''The real module, in place of the one that hides it.'''
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.machinery.PathFinder.find_spec(name, [path for path in sys.path if path != here])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
"""


class Environment:
    """Variables of the environment, and a folder of packages that hide the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {"PYTHONPATH": str(folder / "packages"), "COLUMNS": "80"}

    def add_package(self, name: str, code: str) -> None:
        """A package whose import runs some code, in which `real` is at hand."""
        package = self.folder / "packages" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(WRAP + textwrap.dedent(code), encoding="utf-8")

    def add_metadata(self, name: str, version: str) -> None:
        """What pip leaves of an installed package."""
        folder = self.folder / "packages" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")

    def add_program(self, name: str, script: str) -> None:
        """A program before all others on the PATH."""
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        (programs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
        self.variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def add_gpu(self) -> None:
        """A driver, with its library and its program."""
        compiler = shutil.which("gcc") or shutil.which("g++") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler to make a driver with")
        libraries = self.folder / "libraries"
        libraries.mkdir()
        (libraries / "driver.c").write_text(DRIVER, encoding="utf-8")
        command = [compiler, "-x", "c", "-shared", "-fPIC", "driver.c", "-o", "libcuda.so.1"]
        subprocess.run(command, cwd=libraries, check=True)
        self.variables["LD_LIBRARY_PATH"] = str(libraries)
        self.add_program("nvidia-smi", 'echo "580.65.06, Pretended GPU"')

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `sleap-infer doctor`."""
        code = "from sleap_infer.cli import main; main()"
        command = [sys.executable, "-P", "-c", code, "doctor", *arguments]
        variables = os.environ | self.variables
        return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=900)

    def diagnose(self, *names: str, returncode: int | None = None) -> Mapping[str, Mapping[str, Any]]:
        """Checks of some names, by name and device."""
        result = self.run("--json", *(word for name in names for word in ("--only", name)))
        assert result.stdout.startswith("{"), result.stderr
        found = json.loads(result.stdout)
        expected = int(not found["ok"]) if returncode is None else returncode
        assert result.returncode == expected, result.stdout
        return {f"{check['name']} {check['device']}": check for check in found["checks"]}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """One that is whole so far."""
    (tmp_path / "packages").mkdir()
    return Environment(tmp_path)
