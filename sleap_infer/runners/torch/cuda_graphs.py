"""CUDA graphs of a PyTorch function: a batch is one launch, recorded once per image size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from attrs import frozen
from torch import Tensor

from sleap_infer.reports import Fallback, reports
from sleap_infer.runners.batching import padded_size

Function: TypeAlias = Callable[..., Mapping[str, Tensor]]
"""Maps images (B, C, H, W) and `capacity` to tensors by name."""

WARM_UPS = 3
"""Runs before a recording, in which PyTorch compiles, chooses algorithms and allocates memory."""

MOST = 16
"""Maximum number of recordings; each has its own memory."""


@frozen
class Recording:
    """A recorded batch size with its own memory; results are copied before the next replay.

    Attributes:
        images: its input.
        replay: runs it.
        found: its outputs.
    """

    images: Tensor
    replay: Callable[[], Any]
    found: Mapping[str, Tensor]


class Replays:
    """Runs a function on a CUDA stream by replaying recordings of it.

    Args:
        function: with shapes that do not depend on the data.
        records: whether to record; if not, every batch is launched operation by operation.
        at_once: images of a full batch.
    """

    def __init__(self, function: Function, records: bool = True, at_once: int = 1) -> None:
        self._function, self._records, self._at_once = function, records, at_once
        self._reports = reports()
        self._recordings: dict[tuple[object, ...], Recording] = {}

    def __call__(self, images: Tensor, capacity: int) -> dict[str, Tensor]:
        """Return tensors by name for images (B, C, H, W), on the current stream."""
        form = (*images.shape[1:], images.dtype, capacity)
        sizes = [len(recording.images) for key, recording in self._recordings.items() if key[1:] == form]
        size = padded_size(len(images), sizes, self._at_once)
        if (size, *form) not in self._recordings:
            torch.cuda.current_stream(images.device).synchronize()  # a recording in use may not be deleted
            while len(self._recordings) >= MOST:
                self._recordings.pop(next(iter(self._recordings)))
            self._recordings[size, *form] = self._record(images, size, capacity)
        recording = self._recordings[size, *form]
        recording.images[: len(images)].copy_(images)
        found = recording.replay() or recording.found
        return {name: value[: len(images)].clone() for name, value in found.items()}

    def _record(self, images: Tensor, batch: int, capacity: int) -> Recording:
        start = time.perf_counter()
        size = " x ".join(map(str, images.shape[2:]))
        self._reports.progress(f"compiling for {batch} images of {size}, once: up to a minute")
        _, channels, height, width = images.shape
        own = torch.zeros(batch, height, width, channels, dtype=images.dtype, device=images.device).permute(0, 3, 1, 2)
        for _ in range(WARM_UPS):
            self._function(own, capacity=capacity)
        recording = self._capture(own, capacity) if self._records else None
        torch.cuda.current_stream(images.device).synchronize()
        self._reports.progress(f"compiled in {time.perf_counter() - start:.1f} s")
        return recording or Recording(own, lambda: self._function(own, capacity=capacity), {})

    def _capture(self, own: Tensor, capacity: int) -> Recording | None:
        """Record; return `None`, with a warning, if the function cannot be recorded."""
        stream, graph = torch.cuda.current_stream(own.device), torch.cuda.CUDAGraph()
        stream.synchronize()
        try:
            # Other threads may allocate memory meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                found = self._function(own, capacity=capacity)
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            message = f"no CUDA graph could be recorded ({why}): running without"
            self._reports.fall_back(Fallback("cuda_graph", "recorded", "launched one by one", why), message)
            return None
        return Recording(own, graph.replay, found)
