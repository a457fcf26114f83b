"""One mapping of a configuration file, read with types; every message names the position in the file."""

from __future__ import annotations

import reprlib
from collections.abc import ItemsView, Iterator, Mapping
from math import inf
from typing import Any, TypeVar, get_type_hints

import attrs

from sleap_infer.errors import ModelConfigError

LARGEST = 1 << 1000
"""Integers beyond it count as infinite: they are no floats any more."""

T = TypeVar("T")
Facts = TypeVar("Facts", bound=attrs.AttrsInstance)


class Section:
    """A mapping inside a configuration file.

    Missing keys and nulls read as "not given"; a value of the wrong type is an error that names its position.

    Args:
        data: the mapping, or `None` for an absent section.
        where: file and key path, for messages.
    """

    def __init__(self, data: object, where: str) -> None:
        if data is not None and not isinstance(data, Mapping):
            raise ModelConfigError(f"{where}: expected a mapping, found {reprlib.repr(data)}.")
        self._data: Mapping[str, Any] = data or {}
        self.where = where

    def __contains__(self, key: str) -> bool:
        """Return whether a value is given (not null)."""
        return self._data.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        """Iterate over keys whose value is given (not null)."""
        return (key for key, value in self._data.items() if value is not None)

    def mentions(self, key: str) -> bool:
        """Return whether the key is present, also with a null."""
        return key in self._data

    def section(self, key: str) -> Section:
        """Return the mapping under a key; empty if there is none."""
        return Section(self._data.get(key), f"{self.where}: {key}")

    def items(self) -> ItemsView[str, Any]:
        """Return keys and values as parsed."""
        return self._data.items()

    def raw(self, key: str) -> Any:
        """Return the value under a key as parsed, or `None`."""
        return self._data.get(key)

    def get(self, key: str, kind: type[T]) -> T | None:
        """Return the value under a key as `int`, `float`, `bool` or `str`, or `None` if it is not given."""
        value = self._data.get(key)
        return None if value is None else self._convert(key, value, kind)

    def list_of(self, key: str, kind: type[T]) -> tuple[T, ...] | None:
        """Return the list under a key, each item converted, or `None` if it is not given."""
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise ModelConfigError(f"{self.where}: {key!r} should be a list, found {reprlib.repr(value)}.")
        return tuple(self._convert(key, item, kind) for item in value)

    def read(self, cls: type[Facts], **known: object) -> Facts:
        """Make an attrs class of the fields that are given here, and of those that are known from elsewhere.

        Raises:
            ModelConfigError: a value has the wrong type, or one that the class refuses.
        """
        hints = get_type_hints(cls)
        names = [name for name in attrs.fields_dict(cls) if name not in known and name in self]
        found = {name: self.get(name, _plain_type(str(hints[name]))) for name in names}
        try:
            return cls(**found, **known)
        except ValueError as error:
            raise ModelConfigError(f"{self.where}: {error.args[0]}. Check the configuration.") from error

    def _convert(self, key: str, value: object, kind: type[T]) -> T:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return kind(value if abs(value) < LARGEST else inf)  # type: ignore[call-arg]
        if kind is int and isinstance(value, float) and value.is_integer():
            return kind(value)  # type: ignore[call-arg]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelConfigError(
                f"{self.where}: {key!r} should be of type {kind.__name__}, found {reprlib.repr(value)}."
            )
        return value


def _plain_type(hint: str) -> type:
    return next(kind for kind in (bool, int, float, str) if kind.__name__ in hint)
