"""CUDA graphs of a PyTorch function: all of a batch as one launch, recorded once per size of image."""

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
"""(B, C, H, W) images, and `room`, to tensors by name."""

WARM_UPS = 3
"""Runs before a recording, in which PyTorch compiles, chooses algorithms and takes memory."""

MOST = 16
"""Recordings that are kept; each has memory of its own."""


@frozen
class Recording:
    """One recorded batch size. Its memory is the recording's own: results are copied out before the next replay.

    Attributes:
        images: what the recording reads.
        replay: runs it.
        found: what it writes.
    """

    images: Tensor
    replay: Callable[[], Any]
    found: Mapping[str, Tensor]


class Replays:
    """Runs a function on a CUDA stream by replaying recordings of it.

    Args:
        function: without any shape that depends on the data.
        records: whether to record; if not, every batch is launched operation by operation.
        at_once: images of a full batch.
    """

    def __init__(self, function: Function, records: bool = True, at_once: int = 1) -> None:
        self._function, self._records, self._at_once = function, records, at_once
        self._reports = reports()
        self._recordings: dict[tuple[object, ...], Recording] = {}

    def __call__(self, images: Tensor, room: int) -> dict[str, Tensor]:
        """Tensors of their own for images (B, C, H, W), on the current stream."""
        form = (*images.shape[1:], images.dtype, room)
        sizes = [len(recording.images) for key, recording in self._recordings.items() if key[1:] == form]
        size = padded_size(len(images), sizes, self._at_once)
        if (size, *form) not in self._recordings:
            torch.cuda.current_stream(images.device).synchronize()  # none may be in use when it is given up
            while len(self._recordings) >= MOST:
                self._recordings.pop(next(iter(self._recordings)))
            self._recordings[size, *form] = self._record(images, size, room)
        recording = self._recordings[size, *form]
        recording.images[: len(images)].copy_(images)
        found = recording.replay() or recording.found
        return {name: value[: len(images)].clone() for name, value in found.items()}

    def _record(self, images: Tensor, batch: int, room: int) -> Recording:
        start = time.perf_counter()
        size = " x ".join(map(str, images.shape[2:]))
        self._reports.progress(f"compiling for {batch} images of {size}, once: up to a minute")
        _, channels, height, width = images.shape
        own = torch.zeros(batch, height, width, channels, dtype=images.dtype, device=images.device).permute(0, 3, 1, 2)
        for _ in range(WARM_UPS):
            self._function(own, room=room)
        recording = self._capture(own, room) if self._records else None
        torch.cuda.current_stream(images.device).synchronize()
        self._reports.progress(f"compiled in {time.perf_counter() - start:.1f} s")
        return recording or Recording(own, lambda: self._function(own, room=room), {})

    def _capture(self, own: Tensor, room: int) -> Recording | None:
        """Record; `None`, with a warning, where the function does something that cannot be recorded."""
        stream, graph = torch.cuda.current_stream(own.device), torch.cuda.CUDAGraph()
        stream.synchronize()
        try:
            # Other threads may go on to take memory meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                found = self._function(own, room=room)
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            message = f"no CUDA graph could be recorded ({why}): running without"
            self._reports.fall_back(Fallback("cuda_graph", "recorded", "launched one by one", why), message)
            return None
        return Recording(own, graph.replay, found)
