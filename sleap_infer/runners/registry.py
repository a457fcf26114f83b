"""The registry of backends: those of this package, and those that other packages declare as entry points.

    [project.entry-points."sleap_infer.runners"]
    toy = "toy_backend:ToyRunner"

Listing names imports neither runners nor runtimes. A backend that cannot be loaded is an error only where it is used.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sleap_infer.errors import BackendError, OptionError, SleapInferError
from sleap_infer.runners.facts import FACTS, BackendFacts, require_one_device

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from sleap_infer.runners.base import BaseInferenceRunner

GROUP = "sleap_infer.runners"
"""Group of the entry points. Name: of the backend; value: `module:class`."""

BUILT_IN: Mapping[str, str] = {
    "torch": "sleap_infer.runners.torch.runner:InferenceRunnerTorch",
    "torch_compile": "sleap_infer.runners.torch.compiled:InferenceRunnerTorchCompile",
    "onnx": "sleap_infer.runners.graph.onnxruntime:InferenceRunnerONNX",
    "mnn": "sleap_infer.runners.graph.mnn:InferenceRunnerMNN",
    "openvino": "sleap_infer.runners.graph.openvino:InferenceRunnerOpenVINO",
    "tensorrt": "sleap_infer.runners.tensorrt.runner:InferenceRunnerTRT",
}

RESERVED = ("auto", "all")
"""Names that mean something else on the command line."""

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

logger = logging.getLogger(__name__)


def backend_names() -> tuple[str, ...]:
    """Return the names of all backends, built-in ones first. Nothing is imported."""
    return (*BUILT_IN, *_entry_points(tuple(sys.path)))


def find_runner(backend: str | type[BaseInferenceRunner]) -> type[BaseInferenceRunner]:
    """Return the runner class of a backend; a class is returned as it is.

    Raises:
        OptionError: there is no backend of that name.
        BackendError: the package that provides it is broken.
    """
    from sleap_infer.runners.base import BaseInferenceRunner

    if isinstance(backend, type) and issubclass(backend, BaseInferenceRunner):
        return backend
    if backend in BUILT_IN:
        module, _, name = BUILT_IN[backend].partition(":")
        runner: type[BaseInferenceRunner] = getattr(import_module(module), name)
        return runner
    declared = _entry_points(tuple(sys.path)).get(backend) if isinstance(backend, str) else None
    if declared is None:
        raise OptionError(f"There is no backend {backend!r}. Use one of: {', '.join(backend_names())}.")
    return _load(declared)


def find_facts(backend: str) -> BackendFacts:
    """Return the facts of a backend. For a built-in one, its module is not imported.

    Raises:
        OptionError: there is no backend of that name.
        BackendError: the package that provides it is broken.
    """
    return FACTS[backend] if backend in FACTS else find_runner(backend).facts


def all_facts() -> dict[str, BackendFacts]:
    """Return the facts of all backends by name, except those whose packages are broken."""
    found = {}
    for name in backend_names():
        try:
            found[name] = find_facts(name)
        except BackendError as error:
            _warn_once(str(error))
    return found


def why_not(backend: str | type[BaseInferenceRunner], device: str = "auto") -> str | None:
    """Return why a backend cannot run on a device here; `None` if it can."""
    try:
        find_runner(backend).require(device)
    except SleapInferError as error:
        return str(error)
    except Exception as error:  # a package from elsewhere may raise anything
        return f"{type(error).__name__}: {error}"
    return None


def what_can_run(device: str = "auto") -> dict[str, str | None]:
    """Return, for every backend, why it cannot run on a device here; `None` if it can.

    Raises:
        DeviceError: several devices are named.
    """
    require_one_device(device)
    return {name: why_not(name, device) for name in backend_names()}


def packages() -> tuple[str, ...]:
    """Return the names of the packages whose versions decide what backends do, sorted."""
    needed = {package for facts in all_facts().values() for package in facts.packages}
    providing = {_package(entry) for (entry, *_) in _entry_points(tuple(sys.path)).values()}
    return tuple(sorted(needed | providing))


@lru_cache
def _entry_points(path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points of other packages by name, sorted; more than one of a name is a conflict."""
    if not any(map(_declares_backends, path)):  # importing importlib.metadata takes longer than all else of --help
        return {}
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _package(entry))):
        if entry.name in BUILT_IN:
            logger.warning("%s provides a backend %r, which is built in: it is ignored", _package(entry), entry.name)
        elif entry.name in RESERVED or not NAME.fullmatch(entry.name):
            logger.warning("%s provides a backend named %r, which is no valid name", _package(entry), entry.name)
        else:
            found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _declares_backends(folder: str) -> bool:
    """Return whether packages in a directory of `sys.path` may declare backends."""
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return os.path.isfile(folder)  # a zip file
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            try:
                if GROUP.encode() in Path(folder, name, "entry_points.txt").read_bytes():
                    return True
            except OSError:
                continue
    return False


def _load(entries: tuple[EntryPoint, ...]) -> type[BaseInferenceRunner]:
    """Load the class that an entry point names.

    Raises:
        BackendError: it cannot be loaded, or is not a runner.
    """
    from sleap_infer.runners.base import BaseInferenceRunner

    entry, name = entries[0], entries[0].name
    if len(entries) > 1:
        raise BackendError(
            f"Several packages provide a backend {name!r}: {', '.join(map(_package, entries))}. Uninstall all but one."
        )
    where = f"Backend {name!r} of the package {_package(entry)} cannot be used: {entry.value}"
    hint = f"Update that package, or uninstall it: pip uninstall {_package(entry)}"
    try:
        runner = entry.load()
    except Exception as error:  # a package from elsewhere may raise anything
        raise BackendError(f"{where} cannot be imported ({type(error).__name__}: {error}). {hint}") from error
    if not (isinstance(runner, type) and issubclass(runner, BaseInferenceRunner)):
        raise BackendError(f"{where} is not a subclass of BaseInferenceRunner. {hint}")
    if runner.backend != name:
        raise BackendError(f"{where}.backend is {runner.backend!r}, expected {name!r}. {hint}")
    return runner


@lru_cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
