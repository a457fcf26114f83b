"""Options of the package as options of the command line, with the same names, help and groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import attrs

from sleap_infer.cli.flags import default_text, parameter, plain
from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.config.kinds import pipeline_kinds
from sleap_infer.config.options import applies_to, option_groups
from sleap_infer.errors import OptionError
from sleap_infer.runners.facts import FACTS
from sleap_infer.runners.registry import backend_names

PANELS = {
    "peaks": "Peaks",
    "grouping": "Grouping (bottom-up)",
    "filters": "Filters",
    "preprocess": "Preprocessing (default: as the model was trained)",
    "stream": "Frames and batches",
    "reading": "Model",
}
"""Heading of each group in the help. Groups that are not here return arrays, which are not written to files."""


if TYPE_CHECKING:
    BackendName: TypeAlias = str
    BackendChoice: TypeAlias = str
else:  # names, which the help lists; nothing is imported for it
    BackendName = Literal[backend_names()]
    BackendChoice = Literal[("auto", *backend_names())]

FIRST = ("max_instances", "peak_threshold")
"""Inference options that stand among the first in the help."""

FOR_VALIDATION = ("n_frames", "max_error_px", "device", "draw")


def read_threshold(text: str) -> float | tuple[float, float]:
    """Return a threshold, or two from `0.3,0.1` for the two stages of a top-down pipeline.

    >>> read_threshold("0.3,0.1")
    (0.3, 0.1)
    """
    try:
        first, *second = map(float, text.split(","))
        if len(second) > 1:
            raise ValueError("too many numbers")
    except ValueError as error:
        raise OptionError(f"--peak-threshold {text!r}: expected one number, or two as in 0.3,0.1.") from error
    return (first, *second) if second else first  # type: ignore[return-value]


def read_number(text: str) -> float | int:
    """Return a number: `3` is a count and `0.5` a fraction.

    >>> read_number("3"), read_number("0.5")
    (3, 0.5)
    """
    try:
        return int(text) if text.strip().isdigit() else float(text)
    except ValueError as error:
        raise OptionError(
            f"--min-instance-peaks {text!r}: expected a count such as 3, or a fraction such as 0.5."
        ) from error


def read_size(text: str) -> tuple[int, int] | tuple[tuple[int, int], ...]:
    """Return (height, width) from `HEIGHTxWIDTH`, or three of them for an engine.

    >>> read_size("384x512"), read_size("64x64,384x512,1024x1024")
    ((384, 512), ((64, 64), (384, 512), (1024, 1024)))
    """
    sizes = []
    for part in text.lower().split(","):
        sides = part.split("x")
        if len(sides) != 2 or not all(side.strip().isdigit() and int(side) for side in sides):
            raise OptionError(
                f"--input-size {text!r}: expected HEIGHTxWIDTH, such as 384x512, or three as MIN,BEST,MAX."
            )
        sizes.append((int(sides[0]), int(sides[1])))
    if len(sizes) not in (1, 3):
        raise OptionError(f"--input-size {text!r}: expected one HEIGHTxWIDTH, or three as MIN,BEST,MAX.")
    return sizes[0] if len(sizes) == 1 else tuple(sizes)


def read_batch_size(text: str) -> int | tuple[int, ...]:
    """Return a batch size, or three for an engine.

    >>> read_batch_size("4"), read_batch_size("1,4,8")
    (4, (1, 4, 8))
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (1, 3) or not all(part.isdigit() and int(part) for part in parts):
        raise OptionError(f"--batch-size {text!r}: expected a whole number from 1 up, or three as MIN,BEST,MAX.")
    numbers = tuple(map(int, parts))
    return numbers[0] if len(numbers) == 1 else numbers


READERS: Mapping[str, Callable[[str], Any]] = {
    "peak_threshold": read_threshold,
    "min_instance_peaks": read_number,
    "input_size": read_size,
    "batch_size": read_batch_size,
}
"""Options that are written in a form of their own."""

METAVARS = {
    "peak_threshold": "<number>",
    "min_instance_peaks": "<number>",
    "input_size": "<height>x<width>",
    "batch_size": "<n|min,best,max>",
    "precision": "<precision>",
    "format": "<format>",
}
"""Forms of values in the help, and lists that are too long for their column."""

ALIASES = {"input_scaling": ("--input-scale", "--input-scaling")}
"""All names of options that also have that of another command."""

OFF = {"max_overlap": "off"}
"""Words for defaults of `None`."""

HIDDEN = ("second_look",)
"""Options that the help does not show."""


def backends_of_graphs() -> str:
    """Return the names of the backends that run exported graphs, for the help; those of other packages may."""
    return ", ".join(name for name in backend_names() if name not in FACTS or FACTS[name].runs_exports)


def inference_parameters(
    hidden: tuple[str, ...] = (), defaults: Mapping[str, Any] | None = None
) -> list[inspect.Parameter]:
    """Return all inference options as parameters of a command, `None` unless they are given.

    Args:
        hidden: names of options that the help does not show.
        defaults: by name, where those of the command differ from those of the options.
    """
    given = defaults or {}
    found = {}
    for group, heading in PANELS.items():
        options = option_groups()[group]
        hints = get_type_hints(options)
        for option in attrs.fields(options):
            panel = None if option.name in FIRST else heading
            text = _help(option, given.get(option.name, option.default))
            found[option.name] = _unless_given(option, hints[option.name], text, panel, option.name in hidden)
    return [found.pop(name) for name in FIRST] + list(found.values())


def export_parameters() -> list[inspect.Parameter]:
    """Return all options of an export as parameters of a command, `None` unless they are given."""
    hints = get_type_hints(ExportOptions)
    found = []
    for option in attrs.fields(ExportOptions):
        if "help" in option.metadata:
            text = f"{option.metadata['help']}{default_text(option.default)}"
            panel, hidden = option.metadata["panel"], option.name in HIDDEN
            found.append(_unless_given(option, hints[option.name], text, panel, hidden))
    return found


def validation_parameters() -> list[inspect.Parameter]:
    """Return the options of an export that also apply to comparing it later."""
    return [item for item in export_parameters() if item.name in FOR_VALIDATION]


def with_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the values of those that are written in a form of their own."""
    return {name: READERS[name](value) if name in READERS else value for name, value in options.items()}


InferenceFlags: TypeAlias = Annotated[dict[str, Any], inference_parameters, with_values]
"""Inference options that were given, by name."""

ExportFlags: TypeAlias = Annotated[dict[str, Any], export_parameters, with_values]
"""Options of an export that were given, by name."""

ValidationFlags: TypeAlias = Annotated[dict[str, Any], validation_parameters, with_values]
"""Options of a comparison that were given, by name."""


def _unless_given(
    option: attrs.Attribute[Any], hint: Any, text: str, panel: str | None, hidden: bool
) -> inspect.Parameter:
    kind = str if option.name in READERS else plain(hint)
    settings = {"hidden": hidden, **({"metavar": METAVARS[option.name]} if option.name in METAVARS else {})}
    metadata = {"flags": ALIASES.get(option.name, option.metadata.get("flags", ())), "settings": settings}
    return parameter(option.evolve(default=None, metadata=metadata), kind | None, text, panel)


def _help(option: Any, default: Any) -> str:
    applies, every = applies_to(option), pipeline_kinds()
    others = [kind for kind in every if kind not in applies]
    only = f" Not for {', '.join(others)}." if len(others) < len(applies) else f" Only for {', '.join(applies)}."
    kinds = "" if applies == every else only
    return f"{option.metadata['help']}{kinds}{default_text(OFF.get(option.name, default))}"
