"""Components to check: backends and readers, the packages they need, and how to install these."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

from attrs import frozen

from sleap_infer.runners.registry import backend_names, find_facts
from sleap_infer.system.runtimes import NVIDIA_INDEX, install_command

PYTORCH_INDEX = "https://download.pytorch.org/whl"


@frozen
class Component:
    """A backend, a reader or the GPU driver.

    Attributes:
        name: short name.
        kind: `"driver"`, `"backend"` or `"reader"`.
        imports: modules, any one of which is enough.
        packages: their names on the package index; the first is the usual one.
        install: command that installs it.
        devices: kinds of devices that it can run on.
        only_one: whether its packages overwrite each other's files.
        broken: why a backend of another package cannot be loaded; empty if it can.
    """

    name: str
    kind: Literal["driver", "backend", "reader"]
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""
    devices: tuple[str, ...] = ("cpu",)
    only_one: bool = False
    broken: str = ""

    def installed(self) -> dict[str, str]:
        """Return the versions of its installed packages, without importing them."""
        found = {}
        for name in self.packages:
            try:
                found[name] = version(name) or "?"
            except (PackageNotFoundError, KeyError):  # the second: of an entry without a version
                continue
        return found

    def module(self) -> str:
        """Return the first of its modules that is installed; empty if none is."""
        return next((name for name in self.imports if find_spec(name) is not None), "")

    def reinstall(self, installed: Mapping[str, str]) -> str:
        """Return the command that installs it again, in the same build."""
        package = next(iter(installed), next(iter(self.packages), "sleap-infer"))
        build = installed.get(package, "").partition("+")[2]
        if package == "torch" and build:
            return f"pip install --force-reinstall torch --index-url {PYTORCH_INDEX}/{build}"
        if package.startswith("tensorrt") and not package.startswith("tensorrt_rtx"):
            return f"pip install --force-reinstall --extra-index-url {NVIDIA_INDEX} tensorrt"
        return f"pip install --force-reinstall {package}"


DRIVER = Component("driver", "driver")
READERS: tuple[Component, ...] = (
    Component("video", "reader", ("av",), ("av",), "pip install av"),
    Component(
        "images",
        "reader",
        ("cv2",),
        ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
        "pip install opencv-python-headless",
        only_one=True,
    ),
    Component(
        "nvdec",
        "reader",
        ("PyNvVideoCodec",),
        ("PyNvVideoCodec",),
        install_command("nvdec"),
        ("cuda",),
    ),
)


def backend_component(name: str) -> Component:
    """Return the component of a backend, from its facts in the registry."""
    try:
        facts = find_facts(name)
    except Exception as error:  # also where the package of a backend cannot import what this package needs
        return Component(name, "backend", broken=str(error))
    return Component(
        name, "backend", facts.imports, facts.packages, facts.how_to_install, facts.devices, only_one=facts.one_package
    )


def all_components() -> tuple[Component, ...]:
    """Return all components that can be checked on this operating system, in the order of the report."""
    backends = map(backend_component, backend_names())
    if sys.platform == "darwin":  # no CUDA
        return (*(item for item in (*backends, *READERS) if set(item.devices) != {"cuda"}),)
    return (DRIVER, *backends, *READERS)
