"""attrs values as plain data for JSON, and back, checked."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

Value = TypeVar("Value")

UNIONS = (Union, UnionType)


def to_plain(value: Any) -> Any:
    """Dicts, lists, texts and numbers of an attrs value."""
    if attrs.has(type(value)):
        return {item.name: to_plain(getattr(value, item.name)) for item in attrs.fields(type(value))}
    if isinstance(value, dict):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[Value], data: Any) -> Value:
    """An attrs value of a class. Names that the class does not have are left out.

    Raises:
        ValueError: a name is missing, or a value is of another type; the message says where.
    """
    value: Value = read_value(kind, data, kind.__name__)
    return value


def unknown_names(kind: type[Any], data: Any, where: str = "") -> list[str]:
    """Return the names in a mapping, and in mappings in it, that an attrs class does not have.

    >>> from attrs import frozen
    >>> @frozen
    ... class Point:
    ...     x: int
    >>> unknown_names(Point, {"x": 1, "z": 2})
    ['z']
    """
    if not isinstance(data, dict):
        return []
    hints = get_type_hints(kind)
    found = []
    for name, value in data.items():
        place = f"{where}.{name}" if where else str(name)
        if name not in attrs.fields_dict(kind):
            found.append(place)
            continue
        inner = [part for part in (hints[name], *get_args(hints[name])) if attrs.has(part)]
        found += unknown_names(inner[0], value, place) if len(inner) == 1 else []
    return found


def read_value(hint: Any, data: Any, where: str) -> Any:
    """Return a value of an annotated type.

    Raises:
        ValueError: it is of another type; the message says where.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return data
    if origin in UNIONS:
        return _read_optional(arguments, data, where)
    if origin is Literal:
        if not isinstance(data, (str, int, type(None))) or data not in arguments:
            raise ValueError(f"{where} is {data!r}, expected one of {', '.join(map(repr, arguments))}")
        return data
    if origin is tuple:
        return _read_tuple(arguments, data, where)
    if origin is dict:
        _expect(data, dict, where)
        return {name: read_value(arguments[1], item, f"{where}.{name}") for name, item in data.items()}
    if attrs.has(hint):
        return _read_fields(hint, data, where)
    return _read_scalar(hint, data, where)


def _read_optional(arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in arguments:
        return None
    hints = [part for part in arguments if part is not type(None)]
    for hint in hints[:-1]:
        try:
            return read_value(hint, data, where)
        except ValueError:
            continue
    return read_value(hints[-1], data, where)


def _read_tuple(arguments: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    _expect(data, (list, tuple), where)
    if arguments[-1] is Ellipsis:
        return tuple(read_value(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(data))
    if len(data) != len(arguments):
        raise ValueError(f"{where} has {len(data)} values, expected {len(arguments)}")
    return tuple(
        read_value(hint, item, f"{where}[{number}]")
        for number, (hint, item) in enumerate(zip(arguments, data, strict=True))
    )


def _read_fields(kind: Any, data: Any, where: str) -> Any:
    _expect(data, dict, where)
    hints = get_type_hints(kind)
    given = {}
    for item in attrs.fields(kind):
        if item.name in data:
            given[item.name] = read_value(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is attrs.NOTHING:
            raise ValueError(f"{where} has no {item.name!r}")
    return kind(**given)


def _read_scalar(hint: Any, data: Any, where: str) -> Any:
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    _expect(data, hint, where)
    if isinstance(data, bool) and hint is not bool:
        raise ValueError(f"{where} is {data!r}, expected a value of type {hint.__name__}")
    return data


def _expect(data: Any, kind: Any, where: str) -> None:
    if not isinstance(data, kind):
        name = kind.__name__ if isinstance(kind, type) else "list"
        raise ValueError(f"{where} is {data!r:.60}, expected a value of type {name}")
