"""Options of the package as options of the command line: same names, same help, same groups, written only once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_type_hints

import typer

from sleap_infer.errors import OptionError
from sleap_infer.options import EVERY, option_groups

PANELS = {
    "preprocess": "Preprocessing (default: as the model was trained)",
    "peaks": "Peaks",
    "grouping": "Grouping (bottom-up)",
    "filters": "Filters",
    "stream": "Flow",
}
"""Heading of each group in the help. Groups that are not here (what comes with `Outputs`) make no sense in a file."""


def with_inference_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all inference options, which reach it as the keyword `options`.

    Args:
        command: takes its own parameters and `options`, a dict of what was given, by name.
    """
    own = inspect.signature(command, eval_str=True).parameters
    added = {parameter.name: parameter for parameter in _parameters()}

    def run(**given: Any) -> None:
        options = {name: value for name in added if (value := given.pop(name)) is not None}
        if "peak_threshold" in options:
            options["peak_threshold"] = read_threshold(options["peak_threshold"])
        if "min_instance_peaks" in options:
            options["min_instance_peaks"] = read_number(options["min_instance_peaks"])
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


def _parameters() -> Iterator[inspect.Parameter]:
    for group, options in option_groups().items():
        if group not in PANELS:
            continue
        hints = get_type_hints(options)
        for option in options.__attrs_attrs__:
            flag = "--" + option.name.replace("_", "-")
            kind = _plain(hints[option.name])
            names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
            settings = typer.Option(
                *names,
                help=_help(option),
                rich_help_panel=PANELS[group],
                show_default=False,
            )
            annotation: Any = Annotated[kind | None, settings]
            yield inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain(hint: Any) -> Any:
    """The type on the command line; numbers that may be pairs or counts are read from text."""
    parts = [part for part in get_args(hint) if part is not type(None)] if type(None) in get_args(hint) else [hint]
    if hint == float | tuple[float, float] or hint == float | int:
        return str
    return parts[0]


def _help(option: Any) -> str:
    applies = option.metadata["applies"]
    default = "" if option.default is None else f" Default: {option.default}."
    others = [kind for kind in EVERY if kind not in applies]
    only = f" Not for {', '.join(others)}." if len(others) < len(applies) else f" Only for {', '.join(applies)}."
    kinds = "" if applies == EVERY else only
    return f"{option.metadata['help']}{kinds}{default}"
