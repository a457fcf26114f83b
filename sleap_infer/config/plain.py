"""Values of attrs classes as plain data for JSON, and back, with every type checked.

Uses `cattrs`, which is imported when it is first needed: most commands start without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import attrs

if TYPE_CHECKING:
    from cattrs import Converter

Value = TypeVar("Value")


def to_plain(value: Any) -> Any:
    """Return an attrs value as dicts, lists, texts and numbers."""
    return _converter().unstructure(value)


def from_plain(kind: type[Value], data: Any) -> Value:
    """Return a value of an attrs class. Names that the class does not have are ignored, see `unknown_names`.

    Raises:
        ValueError: a name is missing, or a value has another type; the message says where.
    """
    value: Value = read_value(kind, data, kind.__name__)
    return value


def read_value(hint: Any, data: Any, where: str) -> Any:
    """Return a value of an annotated type.

    Args:
        hint: the type, without names that are only strings.
        data: plain data.
        where: name of the value, for errors.

    Raises:
        ValueError: it has another type; the message says where.
    """
    try:
        return _converter().structure(data, hint)
    except Exception as error:  # cattrs raises groups of whatever went wrong in each value
        from cattrs import transform_error

        message, _, place = transform_error(error, where, _describe)[0].rpartition(" @ ")
        raise ValueError(f"{place} {message}") from error


def unknown_names(kind: type[Any], data: Any, where: str = "") -> list[str]:
    """Return the names in a mapping, and in mappings in it, that an attrs class does not have.

    >>> from attrs import frozen
    >>> @frozen
    ... class Point:
    ...     x: int
    >>> unknown_names(Point, {"x": 1, "z": 2})
    ['z']
    """
    try:
        _converter(forbid_extra_keys=True).structure(data, kind)
    except Exception as error:
        from cattrs import transform_error

        lines = transform_error(error, where, lambda cause, _: "\n".join(_extra_names(cause)))
        found = [(names.split("\n"), place) for names, _, place in (line.rpartition(" @ ") for line in lines) if names]
        return [f"{place}.{name}".lstrip(".") for names, place in found for name in names]
    return []


def _extra_names(error: BaseException) -> Iterator[str]:
    from cattrs import ForbiddenExtraKeysError

    yield from sorted(map(str, error.extra_fields)) if isinstance(error, ForbiddenExtraKeysError) else ()


def _describe(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    return str(error) if isinstance(error, ValueError) else f"is of another form ({error})"


@cache
def _converter(forbid_extra_keys: bool = False) -> Converter:
    """Return a converter that, unlike `cattrs` by default, converts no value from another type."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn
    from cattrs.strategies import configure_union_passthrough

    made = Converter(forbid_extra_keys=forbid_extra_keys)

    def read_class(hint: Any) -> Callable[[Any, Any], Any]:
        return make_dict_structure_fn(hint, made, _cattrs_forbid_extra_keys=forbid_extra_keys)

    read_tuple, read_dict = made.get_structure_hook(tuple[int, ...]), made.gen_structure_mapping
    for kind in (bool, int, float, str):
        made.register_structure_hook(kind, _read_scalar)
    configure_union_passthrough(bool | int | float | str | None, made)
    made.register_structure_hook_factory(_of(Literal), lambda _: _read_literal)
    made.register_structure_hook_factory(_of(dict), _checked(dict, read_dict))
    made.register_structure_hook_factory(_of(tuple), _checked(list, lambda _: _with_length(read_tuple)))
    made.register_structure_hook_factory(attrs.has, _checked(dict, read_class))
    return made


def _of(origin: Any) -> Callable[[Any], bool]:
    return lambda hint: bool(get_origin(hint) == origin)


def _checked(kind: type, factory: Callable[[Any], Callable[[Any, Any], Any]]) -> Callable[[Any], Any]:
    """Return a factory of functions that refuse data of another type than a kind of container."""

    def make(hint: Any) -> Callable[[Any, Any], Any]:
        read = factory(hint)

        def checked(data: Any, hint: Any) -> Any:
            _expect(isinstance(data, (list, tuple) if kind is list else kind), data, kind)
            return read(data, hint)

        return checked

    return make


def _with_length(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def checked(data: Any, hint: Any) -> Any:
        arguments = get_args(hint)
        if arguments[-1] is not Ellipsis and len(data) != len(arguments):
            raise ValueError(f"has {len(data)} values, expected {len(arguments)}")
        return read(data, hint)

    return checked


def _read_scalar(data: Any, kind: Any) -> Any:
    is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
    if kind is float and is_number:
        return float(data)
    _expect(isinstance(data, kind) and (kind is bool or not isinstance(data, bool)), data, kind)
    return data


def _read_literal(data: Any, hint: Any) -> Any:
    expected = get_args(hint)
    if not isinstance(data, (str, int, type(None))) or data not in expected:
        raise ValueError(f"is {data!r}, expected one of {', '.join(map(repr, expected))}")
    return data


def _expect(condition: bool, data: Any, kind: type) -> None:
    if not condition:
        raise ValueError(f"is {data!r:.60}, expected a value of type {kind.__name__}")
