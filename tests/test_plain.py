"""Values of attrs classes from plain data: every type is checked, and errors name the place."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from attrs import field, frozen

from sleap_infer.config.plain import from_plain, to_plain, unknown_names


@frozen
class Inner:
    x: int
    y: float = 1.0


@frozen
class Outer:
    items: tuple[Inner, ...]
    pair: tuple[int, str]
    name: str | None = None
    choice: Literal["a", "b"] | None = None
    by_name: dict[str, Inner] = field(factory=dict)
    number: float | None = None
    either: int | str | None = None
    anything: Any = None
    edges: tuple[tuple[int, int], ...] = ()
    is_on: bool = False
    inner: Inner | None = None


DATA: dict[str, Any] = {
    "items": [{"x": 1}],
    "pair": [1, "a"],
    "choice": "b",
    "by_name": {"k": {"x": 2, "y": 3}},
    "number": 3,
    "either": "text",
    "anything": [1, {"a": None}],
    "edges": [[0, 1]],
    "inner": {"x": 4},
}
VALUE = Outer(
    items=(Inner(1),),
    pair=(1, "a"),
    choice="b",
    by_name={"k": Inner(2, 3.0)},
    number=3.0,
    either="text",
    anything=[1, {"a": None}],
    edges=((0, 1),),
    inner=Inner(4),
)


def test_plain_data_and_back() -> None:
    assert from_plain(Outer, DATA) == VALUE
    assert isinstance(from_plain(Outer, DATA).number, float)
    assert from_plain(Outer, json.loads(json.dumps(to_plain(VALUE)))) == VALUE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 3}, "Outer.items is 3, expected a value of type list"),
        ({"items": "ab"}, "Outer.items is 'ab', expected a value of type list"),
        ({"items": {"x": 1}}, "Outer.items is {'x': 1}, expected a value of type list"),
        ({"items": [{}]}, "Outer.items[0].x is missing"),
        ({"items": [{"x": "1"}]}, "Outer.items[0].x is '1', expected a value of type int"),
        ({"items": [{"x": 1.0}]}, "Outer.items[0].x is 1.0, expected a value of type int"),
        ({"items": [{"x": 1, "y": "2"}]}, "Outer.items[0].y is '2', expected a value of type float"),
        ({"pair": [1]}, "Outer.pair has 1 values, expected 2"),
        ({"pair": ["1", "a"]}, "Outer.pair[0] is '1', expected a value of type int"),
        ({"name": 3}, "Outer.name is 3, expected a value of type str"),
        ({"choice": "c"}, "Outer.choice is 'c', expected one of 'a', 'b'"),
        ({"choice": ["a"]}, "Outer.choice is ['a'], expected one of 'a', 'b'"),
        ({"by_name": [1]}, "Outer.by_name is [1], expected a value of type dict"),
        ({"by_name": {"k": {"x": True}}}, "Outer.by_name['k'].x is True, expected a value of type int"),
        ({"number": True}, "Outer.number is True, expected a value of type float"),
        ({"either": 1.5}, "Outer.either is of another form"),
        ({"edges": [[1, 2], [1]]}, "Outer.edges[1] has 1 values, expected 2"),
        ({"is_on": 1}, "Outer.is_on is 1, expected a value of type bool"),
        ({"inner": [1]}, "Outer.inner is [1], expected a value of type dict"),
    ],
)
def test_another_type_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared
        from_plain(Outer, {**DATA, **change})
    assert message in str(error.value)


@pytest.mark.parametrize("data", [None, [], 3, "text"])
def test_no_mapping(data: Any) -> None:
    with pytest.raises(ValueError, match=r"Outer is .*expected a value of type dict"):
        from_plain(Outer, data)


def test_names_that_are_not_known_are_ignored_and_listed() -> None:
    data = {**DATA, "later": 1, "items": [{"x": 1, "z": 2}], "inner": {"x": 4, "w": 1}}
    assert from_plain(Outer, data) == VALUE
    assert sorted(unknown_names(Outer, data)) == ["inner.w", "items[0].z", "later"]
    assert unknown_names(Outer, {**data, "name": 3}, "here")[-1] == "here.later"
    assert unknown_names(Outer, DATA) == []
