"""CUDA's streams without a GPU: everything is done at once, and what would be read too early is caught."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch


class Stream:
    def __init__(self, device: object = None) -> None: ...
    def wait_event(self, event: Event) -> None:
        assert event.is_recorded

    def wait_stream(self, stream: Stream) -> None: ...
    def synchronize(self) -> None: ...


class Event:
    is_recorded = False

    def record(self, stream: Stream) -> None:
        self.is_recorded = True

    def synchronize(self) -> None:
        assert self.is_recorded


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `runners.torch_cuda` work on the CPU."""
    from sleap_infer.runners.torch import cuda_queue as torch_cuda

    for name, value in {
        "Stream": Stream,
        "Event": Event,
        "stream": lambda stream: nullcontext(),
        "device": lambda device: nullcontext(),
        "synchronize": lambda device=None: None,
        "current_stream": lambda device=None: Stream(),
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(torch_cuda, "pinned", lambda size, dtype: torch.empty(size, dtype=dtype))
    monkeypatch.setattr(torch_cuda.Slot, "__init__", _fresh(torch_cuda.Slot.__init__))


def _fresh(init):
    def made(slot, **given):
        init(slot, **{"uploaded": Event(), "done": Event(), **given})

    return made
