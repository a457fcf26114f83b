"""The chosen backend, precision and batch size, and the cache of choices."""

from __future__ import annotations

import json
import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from sleap_infer._version import __version__
from sleap_infer.choices import Precision
from sleap_infer.config.plain import from_plain
from sleap_infer.model import find_model_files
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.predictors.factory import Plan
from sleap_infer.runners.registry import packages
from sleap_infer.system.cache_directory import cache_directory, make_private, require_private
from sleap_infer.system.digest import digest
from sleap_infer.system.files import replacing
from sleap_infer.system.machine import available_cores, cpu_info

FORMAT_VERSION = 2

logger = logging.getLogger(__name__)


@frozen
class Tried:
    """A candidate and its result.

    Attributes:
        backend: its name.
        precision: its precision.
        batch_size: frames per call of the network.
        rate: frames per second; `None` if it was not measured.
        reason: why it was not measured, or is not eligible; `None` if it is.
        note: which of its points differ from those of the reference although it is eligible; empty if none do.
    """

    backend: str
    precision: Precision
    batch_size: int
    rate: float | None = None
    reason: str | None = None
    note: str = ""

    def line(self) -> str:
        """Return a one-line summary for people."""
        name = f"{self.backend} {self.precision}"
        rate = "" if self.rate is None else f"{self.rate:.1f} frames/s, batch size {self.batch_size}"
        return f"{name}: {'; '.join(part for part in (rate, self.reason, self.note) if part)}"


@frozen
class Choice:
    """The choice of a backend, and its reason.

    Attributes:
        backend: name of the backend.
        precision: its precision; `None` for that of the export.
        batch_size: frames per call of the network.
        why: the reason, for people.
        tried: all candidates, the chosen one first, then by speed.
        holds_up_to: maximum number of frames for which it holds, if candidates with a long setup were skipped; `None`
            for any number.
        remembered: whether it was measured earlier.
    """

    backend: str
    precision: Precision | None
    batch_size: int
    why: str
    tried: tuple[Tried, ...] = ()
    holds_up_to: int | None = None
    remembered: bool = attrs.field(default=False, eq=False)

    def holds_for(self, n_frames: int | None) -> bool:
        """Return whether it holds for a number of frames; `None` if that is unknown."""
        return self.holds_up_to is None or (n_frames is not None and n_frames <= self.holds_up_to)


def key_of(plan: Plan, asked: object) -> str:
    """Return a digest of all that a choice depends on except the size of frames.

    These are models, settings, request, machine, and versions of packages.

    Args:
        plan: the models and their settings.
        asked: the request, as an attrs object.
    """
    files = [find_model_files(path) for path in plan.paths]
    facts = {
        "format": FORMAT_VERSION,
        "models": [[hash_file(model.weights), hash_file(model.config)] for model in files],
        "settings": attrs.asdict(plan.settings),
        "asked": attrs.asdict(asked),  # type: ignore[arg-type]
        "machine": machine_facts(),
        "versions": {"sleap-infer": __version__, **{name: _version(name) for name in packages()}},
    }
    return digest(facts)


def machine_facts() -> dict[str, Any]:
    """Return what decides the speed of backends here: CPU, cores, GPUs and their driver."""
    return {"system": platform.system(), "processor": _processor(), "cores": available_cores(), "gpus": _gpus()}


def load(key: str, size: tuple[int, int, int] | None) -> Choice | None:
    """Return an earlier choice; `None` if there is none.

    Args:
        key: from `key_of`.
        size: (height, width, channels) of the frames; `None` takes the newest for any size.
    """
    name = "*" if size is None else _name(size)
    require_private(choices_directory())
    try:
        found = sorted(choices_directory().glob(f"{key}-{name}.json"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return None
    try:
        return _read(found[-1]) if found else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        logger.warning("the cache entry %s is damaged (%s): backends are measured again", found[-1], error)
        return None


def save(key: str, size: tuple[int, int, int], choice: Choice) -> None:
    """Save a choice. If it cannot be written, it is measured again next time."""
    path = choices_directory() / f"{key}-{_name(size)}.json"
    try:
        make_private(path.parent)
        with replacing(path) as beside:
            data = attrs.asdict(choice)
            beside.write_text(json.dumps({"choice": data, "sha256": digest(data, 64)}, indent=1), encoding="utf-8")
    except OSError:
        return


def choices_directory() -> Path:
    """Return the directory of saved choices."""
    return cache_directory("choices")


def _read(path: Path) -> Choice:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["sha256"] != digest(content["choice"], 64):
        raise ValueError("its checksum differs")
    return attrs.evolve(from_plain(Choice, content["choice"]), remembered=True)


def _name(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    facts = dict(line.split("\t: ", 1) for line in cpu_info().splitlines() if "\t: " in line)
    if not facts:
        return platform.processor()
    return " ".join(facts.get(name, "") for name in ("model name", "cpu family", "model\t", "stepping"))


def _gpus() -> list[str]:
    """NVIDIA's driver on Linux says what there is; elsewhere a new GPU calls for `--no-cache`."""
    try:
        about = [path.read_text() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
        driver = Path("/proc/driver/nvidia/version").read_text() if about else ""
    except OSError:
        return []
    models = [line.partition(":")[2].strip() for text in about for line in text.splitlines() if "Model" in line]
    return [*models, driver.partition("\n")[0]]
