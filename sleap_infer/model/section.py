"""One mapping of a configuration file, read with types, and with its own place in every message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_type_hints

import attrs

from sleap_infer.errors import ModelConfigError

T = TypeVar("T")


class Section:
    """A mapping inside a configuration file.

    Missing keys and nulls read as "not given"; a value of the wrong type is an error that names its place.

    Args:
        data: the mapping, or `None` for an absent section.
        where: file and key path, for messages.
    """

    def __init__(self, data: object, where: str) -> None:
        if data is not None and not isinstance(data, Mapping):
            raise ModelConfigError(f"{where}: expected a mapping, found {data!r}.")
        self._data: Mapping[str, Any] = data or {}
        self.where = where

    def __contains__(self, key: str) -> bool:
        """Whether a value is given (not null)."""
        return self._data.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        """Keys whose value is given (not null)."""
        return (key for key, value in self._data.items() if value is not None)

    def mentions(self, key: str) -> bool:
        """Whether the key is written at all, be it with a null."""
        return key in self._data

    def section(self, key: str) -> Section:
        """The mapping under a key; empty where there is none."""
        return Section(self._data.get(key), f"{self.where}: {key}")

    def raw(self, key: str) -> Any:
        """The value under a key as it was parsed, or `None`."""
        return self._data.get(key)

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value under a key as `int`, `float`, `bool` or `str`, or `None` where it is not given."""
        value = self._data.get(key)
        return None if value is None else self._convert(key, value, kind)

    def require(self, key: str, kind: type[T]) -> T:
        """The value under a key that has to be there.

        Raises:
            ModelConfigError: it is not given, or has another type.
        """
        value = self.get(key, kind)
        if value is None:
            raise ModelConfigError(f"{self.where}: {key!r} is missing. The configuration is incomplete.")
        return value

    def list_of(self, key: str, kind: type[T]) -> tuple[T, ...] | None:
        """The list under a key, each item converted, or `None` where it is not given."""
        value = self._data.get(key)
        if value is None:
            return None
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ModelConfigError(f"{self.where}: {key!r} should be a list, found {value!r}.")
        return tuple(self._convert(key, item, kind) for item in value)

    def fields_of(self, cls: type) -> dict[str, Any]:
        """Those fields of an attrs class that are given here, converted to the types of the class."""
        hints = get_type_hints(cls)
        found: dict[str, Any] = {}
        for item in attrs.fields(cls):
            if item.name not in self:
                continue
            hint = str(hints[item.name])
            kind = next(k for k in (bool, int, float, str) if k.__name__ in hint)
            found[item.name] = self.list_of(item.name, kind) if "tuple" in hint else self.get(item.name, kind)
        return found

    def _convert(self, key: str, value: object, kind: type[T]) -> T:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return kind(value)  # type: ignore[call-arg]
        if kind is int and isinstance(value, float) and value.is_integer():
            return kind(value)  # type: ignore[call-arg]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelConfigError(f"{self.where}: {key!r} should be of type {kind.__name__}, found {value!r}.")
        return value
