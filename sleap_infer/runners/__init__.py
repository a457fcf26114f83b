"""Runners: one network each, from frames to poses. One short module per backend; `registry` finds them by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sleap_infer.runners.base import BaseInferenceRunner, Opening
    from sleap_infer.runners.facts import BackendFacts
    from sleap_infer.runners.fake import FakeRunner
    from sleap_infer.runners.registry import find_runner

_HOMES = {
    "BackendFacts": "facts",
    "BaseInferenceRunner": "base",
    "FakeRunner": "fake",
    "Opening": "base",
    "find_runner": "registry",
}
"""Module of each name, imported when the name is first used: names of backends need none of them."""

__all__ = ["BackendFacts", "BaseInferenceRunner", "FakeRunner", "Opening", "find_runner"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
