"""Options of the package as options of the command line: same names, same help, same groups, written only once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
import typer

from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.config.kinds import pipeline_kinds
from sleap_infer.config.options import applies_to, option_fields, option_groups
from sleap_infer.errors import OptionError
from sleap_infer.runners.registry import backend_names

PANELS = {
    "preprocess": "Preprocessing (default: as the model was trained)",
    "peaks": "Peaks",
    "grouping": "Grouping (bottom-up)",
    "filters": "Filters",
    "stream": "Flow",
    "reading": "Model",
}
"""Heading of each group in the help. Groups that are not here (what comes with `Outputs`) make no sense in a file."""


UNIONS = (Union, UnionType)

if TYPE_CHECKING:
    BackendName: TypeAlias = str
    BackendChoice: TypeAlias = str
else:  # names, which the help lists; nothing is imported for it
    BackendName = Literal[backend_names()]
    BackendChoice = Literal[("auto", *backend_names())]

IgnoreUnknown: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--ignore-unknown-settings",
        help=option_fields()["ignore_unknown_settings"].metadata["help"],
        show_default=False,
    ),
]
"""A parameter of commands that take no inference options."""

FOR_VALIDATION = ("n_frames", "max_error_px", "device", "draw")


def with_inference_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all inference options, which reach it as the keyword `options`.

    Args:
        command: takes its own parameters and `options`, a dict of what was given, by name.
    """
    return _with(command, list(_inference_parameters()))


def with_export_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of an export, which reach it as the keyword `options`.

    Args:
        command: takes its own parameters and `options`, a dict of what was given, by name.
    """
    return _with(command, list(_export_parameters()))


def with_validation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command those options of an export that comparing it later has use for; see `with_export_options`."""
    return _with(command, [item for item in _export_parameters() if item.name in FOR_VALIDATION])


def _with(command: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    own = inspect.signature(command, eval_str=True).parameters
    added = {parameter.name: parameter for parameter in parameters if parameter.name not in own}

    def run(**given: Any) -> None:
        values = {name: value for name in added if (value := given.pop(name)) is not None}
        options = {name: READERS[name](value) if name in READERS else value for name, value in values.items()}
        command(**given, options=options)

    signature = [parameter for name, parameter in own.items() if name != "options"]
    every = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*signature, *added.values())]
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def read_threshold(text: str) -> float | tuple[float, float]:
    """`0.2`, or `0.3,0.1` for the two stages of a top-down pipeline.

    >>> read_threshold("0.3,0.1")
    (0.3, 0.1)
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"--peak-threshold {text!r}: expected a number, or two as in 0.3,0.1.") from error
    if len(values) == 1:
        return values[0]
    if len(values) == 2:
        return values[0], values[1]
    raise OptionError(f"--peak-threshold {text!r}: expected one number, or two as in 0.3,0.1.")


def read_number(text: str) -> float | int:
    """A whole number stays whole, since `3` is a count and `0.5` a share.

    >>> read_number("3"), read_number("0.5")
    (3, 0.5)
    """
    try:
        return int(text) if text.strip().isdigit() else float(text)
    except ValueError as error:
        raise OptionError(
            f"--min-instance-peaks {text!r}: expected a count such as 3, or a share such as 0.5."
        ) from error


def read_size(text: str) -> tuple[int, int] | tuple[tuple[int, int], ...]:
    """`HEIGHTxWIDTH` as two numbers, or three such for the sizes of an engine.

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
    """A number, or three for the batch sizes of an engine.

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
"""Options that are written as text of their own form."""


def _inference_parameters() -> Iterator[inspect.Parameter]:
    for group, options in option_groups().items():
        if group in PANELS:
            hints = get_type_hints(options)
            for option in options.__attrs_attrs__:
                yield _parameter(option, hints[option.name], _help(option), PANELS[group])


def _export_parameters() -> Iterator[inspect.Parameter]:
    hints = get_type_hints(ExportOptions)
    for option in attrs.fields(ExportOptions):
        if "help" in option.metadata:
            default = "" if option.default in (None, False) else f" Default: {option.default}."
            text = f"{option.metadata['help']}{default}"
            yield _parameter(option, hints[option.name], text, option.metadata["panel"], option.metadata["flags"])


def _parameter(
    option: attrs.Attribute[Any], hint: Any, text: str, panel: str, flags: tuple[str, ...] = ()
) -> inspect.Parameter:
    """An option as a parameter of a command: `None` unless it is given."""
    kind = str if option.name in READERS else _plain(hint)
    flag = "--" + option.name.replace("_", "-")
    names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [*flags, flag]
    settings = typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)
    annotation: Any = Annotated[kind | None, settings]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain(hint: Any) -> Any:
    """The type on the command line: the first of several that is not `None`."""
    parts = [part for part in get_args(hint) if part is not type(None)] if get_origin(hint) in UNIONS else [hint]
    return parts[0]


def _help(option: Any) -> str:
    applies, every = applies_to(option), pipeline_kinds()
    default = "" if option.default is None else f" Default: {option.default}."
    others = [kind for kind in every if kind not in applies]
    only = f" Not for {', '.join(others)}." if len(others) < len(applies) else f" Only for {', '.join(applies)}."
    kinds = "" if applies == every else only
    return f"{option.metadata['help']}{kinds}{default}"
