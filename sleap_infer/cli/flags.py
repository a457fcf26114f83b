"""Options of commands, declared as fields of small classes with one line each; a command takes the classes.

A parameter of a command whose annotation is such a class becomes one option per field, and the command gets an
instance. `Annotated[dict[str, Any], parameters, read]` becomes the parameters that the first function returns, and the
command gets a dictionary of the given ones, as the second function reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import attrs
import typer
from typer.core import TyperCommand, TyperGroup

from sleap_infer.errors import OptionError

REQUIRED: Any = attrs.NOTHING
UNIONS = (Union, UnionType)

TYPES: Mapping[str, str] = {
    "<bool>": "",
    **dict.fromkeys(("<int>", "<int range>", "<float>", "<float range>"), "<number>"),
    **dict.fromkeys(("<str>", "<list[str]>"), "<text>"),
    **dict.fromkeys(("<list[Path]>",), "<path>"),
}
"""Words of typer for the types of values, and those that the help shows."""


def flag(default: Any, help: str, *names: str, panel: str | None = None, **settings: Any) -> Any:
    """Declare an option of a command as a field of a group.

    Args:
        default: its value if it is not given; `REQUIRED` if it must be given.
        help: what it does.
        names: short names, or all names if one of them begins with two dashes.
        panel: heading in the help.
        settings: further ones of `typer.Option`.
    """
    return attrs.field(default=default, metadata={"help": help, "flags": names, "panel": panel, "settings": settings})


def argument(default: Any, help: str) -> Any:
    """Declare an argument without a flag as a field of a group."""
    return attrs.field(default=default, metadata={"help": help, "flags": None, "panel": None, "settings": {}})


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function that typer calls, with one parameter for each option of the function's groups."""
    own = inspect.signature(function, eval_str=True).parameters
    groups = {name: list(_expanded(parameter)) for name, parameter in own.items()}

    def run(**given: Any) -> None:
        taken = {name: _collected(own[name].annotation, groups[name], given) for name in own}
        for value in taken.values():
            _require_finite(value if isinstance(value, dict) else attrs.asdict(value, recurse=False))
        function(**taken)

    every = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for group in groups.values() for item in group]
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    return run


def parameter(item: attrs.Attribute[Any], kind: Any, help: str, panel: str | None = None) -> inspect.Parameter:
    """Return a field as a parameter for typer.

    Args:
        item: the field, whose metadata may have `flags` and `settings`.
        kind: type of the value.
        help: what the option does.
        panel: heading in the help.
    """
    flags = item.metadata.get("flags", ())
    settings = {
        "help": help + default_text(item.default),
        "show_default": False,
        "rich_help_panel": panel,
        **item.metadata.get("settings", {}),
    }
    if flags is None:
        annotation: Any = Annotated[kind, typer.Argument(**settings)]
    else:
        annotation = Annotated[kind, typer.Option(*_names(item.name, kind, item.default, flags), **settings)]
    default = inspect.Parameter.empty if item.default is REQUIRED else item.default
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def default_text(default: Any) -> str:
    """Return the sentence on a default at the end of a help text; none if nothing is given or a switch is off.

    >>> default_text(4), default_text(3600.0), default_text(True), default_text(False)
    (' Default: 4.', ' Default: 3600.', ' Default: on.', '')
    """
    if default is REQUIRED or default is None or default is False:
        return ""
    shown = "on" if default is True else f"{default:g}" if isinstance(default, float) else str(default)
    return f" Default: {shown}."


def _names(name: str, kind: Any, default: Any, flags: tuple[str, ...]) -> list[str]:
    """Return all names of an option; a switch that is not off by default also has a name that switches it off."""
    if any(flag.startswith("--") for flag in flags):
        return list(flags)
    long = "--" + name.replace("_", "-")
    return [*flags, f"{long}/--no-{long[2:]}" if plain(kind) is bool and default is not False else long]


def plain(hint: Any) -> Any:
    """Return the type on the command line: the first of several that is not `None`."""
    parts = [part for part in get_args(hint) if part is not type(None)] if get_origin(hint) in UNIONS else [hint]
    return parts[0]


class PlainHelp:
    """A command whose help calls the types of values text, number and path, and shows no ranges."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        for item in self.get_params(ctx):  # type: ignore[attr-defined]
            if hasattr(item, "display_type_rich"):  # not in every version of typer
                shown = item.display_type_rich(ctx=ctx)
                item.display_type_rich = partial(_word, TYPES.get(shown, shown))
                item._get_number_range_help_str = partial(_word, None, None)
        super().format_help(ctx, formatter)  # type: ignore[misc]


def _word(word: str | None, ctx: Any) -> str | None:
    return word


class PlainCommand(PlainHelp, TyperCommand):
    """One command."""


class PlainGroup(PlainHelp, TyperGroup):
    """All commands."""


def _expanded(own: inspect.Parameter) -> Iterable[inspect.Parameter]:
    """Return the parameters that a parameter of a command stands for."""
    if attrs.has(own.annotation):
        hints = get_type_hints(own.annotation)
        for item in attrs.fields(own.annotation):
            yield parameter(item, hints[item.name], item.metadata["help"], item.metadata["panel"])
    else:
        functions = _generator(own.annotation)
        yield from functions[0]() if functions else [own]


def _generator(annotation: Any) -> list[Callable[..., Any]]:
    """Return the functions that make and read the parameters of an annotation."""
    return list(filter(inspect.isfunction, getattr(annotation, "__metadata__", ())))


def _require_finite(options: Mapping[str, Any]) -> None:
    """Raise an error for NaN and infinity, which every comparison with a limit lets through."""
    for name, value in options.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not isfinite(number):
                raise OptionError(f"--{name.replace('_', '-')} {number}: expected a finite number.")


def _collected(annotation: Any, group: list[inspect.Parameter], given: Mapping[str, Any]) -> Any:
    """Return what a command gets for a parameter."""
    values = {item.name: given[item.name] for item in group}
    if attrs.has(annotation):
        return annotation(**values)
    if functions := _generator(annotation):
        return functions[1]({name: value for name, value in values.items() if value is not None})
    (value,) = values.values()
    return value
