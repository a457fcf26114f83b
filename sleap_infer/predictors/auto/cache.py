"""What was chosen to run a pipeline's networks, and how that is remembered."""

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
    """One thing that could run the networks.

    Attributes:
        backend: its name.
        precision: that it would compute in.
        batch_size: frames at once.
        rate: frames per second, `None` where it was not measured.
        reason: why it was not, or why it cannot be taken; `None` where it can.
    """

    backend: str
    precision: Precision
    batch_size: int
    rate: float | None = None
    reason: str | None = None

    def line(self) -> str:
        """One line for people."""
        name = f"{self.backend} {self.precision}"
        rate = "" if self.rate is None else f"{self.rate:.1f} frames/s, batch size {self.batch_size}"
        return f"{name}: {'; '.join(part for part in (rate, self.reason) if part)}"


@frozen
class Choice:
    """What runs a pipeline's networks, and why.

    Attributes:
        backend: its name.
        precision: that it computes in; `None` for what an export was made in.
        batch_size: frames at once.
        why: in words.
        tried: everything that was looked at, the chosen first, then by speed.
        holds_up_to: most frames that it is right for, since making something faster ready did not pay for fewer;
            `None` for any number.
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
        """Whether it is right for so many frames; `None` if their number is not known."""
        return self.holds_up_to is None or (n_frames is not None and n_frames <= self.holds_up_to)


def key_of(plan: Plan, asked: object) -> str:
    """What a choice depends on but for the size of the frames: models, settings, what was asked for, machine, versions.

    Args:
        plan: the models and their settings.
        asked: what the user left open and what not, as an attrs object.
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
    """What decides how fast a backend is here: processor, cores, GPUs and their driver."""
    return {"system": platform.system(), "processor": _processor(), "cores": available_cores(), "gpus": _gpus()}


def recall(key: str, size: tuple[int, int, int] | None) -> Choice | None:
    """A choice that was made earlier, if there is one.

    Args:
        key: of `key_of`.
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


def keep(key: str, size: tuple[int, int, int], choice: Choice) -> None:
    """Remember a choice. Where nothing can be written it is measured again the next time."""
    path = choices_directory() / f"{key}-{_name(size)}.json"
    try:
        make_private(path.parent)
        with replacing(path) as beside:
            data = attrs.asdict(choice)
            beside.write_text(json.dumps({"choice": data, "sha256": digest(data, 64)}, indent=1), encoding="utf-8")
    except OSError:
        return


def choices_directory() -> Path:
    """Where choices are kept."""
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
