"""A session of ONNX Runtime with inputs and outputs in memory of its device, one set per size of batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.model.onnx_graph import require_onnxruntime
from sleap_infer.runners.graph.io import IMAGE_INPUT

Value: TypeAlias = Any
"""An `onnxruntime.OrtValue`."""

MOST = 8
"""Sizes of batches whose memory is kept."""


@frozen
class Bound:
    """Memory for one size of batch.

    Attributes:
        binding: of the session's inputs and outputs to it.
        images: where images go.
        outputs: where outputs come, by name.
        options: of a run; they name the CUDA graph.
    """

    binding: Any
    images: Value
    outputs: Mapping[str, Value]
    options: Any


class BoundSession:
    """Runs a graph without any memory being made, or moved but for the images in and the candidates out.

    Args:
        session: an opened `onnxruntime.InferenceSession`.
        device: where it runs, `"cuda:0"`, or `"cpu"`.
        thresholds: values of its scalar inputs.
        records: whether the session was opened with `enable_cuda_graph`.
    """

    def __init__(
        self, session: Any, device: str, thresholds: Mapping[str, NDArray[np.float32]], records: bool = False
    ) -> None:
        self._ort = require_onnxruntime()
        self._session, self._records = session, records
        kind, _, index = device.partition(":")
        self._where = (kind, int(index or 0))
        self._names = [item.name for item in session.get_outputs()]
        self._thresholds = {
            name: self._ort.OrtValue.ortvalue_from_numpy(v, *self._where) for name, v in thresholds.items()
        }
        self._bound: dict[tuple[int, ...], Bound] = {}
        self._n_graphs = 0

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return outputs by name for images (B, C, H, W)."""
        bound = self._bound.get(images.shape)
        if bound is None:
            bound = self._bind(images)
        bound.images.update_inplace(images)
        self._session.run_with_iobinding(bound.binding, bound.options)
        return {name: value.numpy() for name, value in bound.outputs.items()}

    def _bind(self, images: NDArray[np.uint8]) -> Bound:
        """Memory for images of this shape. What outputs there are is seen by running once."""
        while len(self._bound) >= MOST:
            self._bound.pop(next(iter(self._bound)))
        make = self._ort.OrtValue
        value = make.ortvalue_from_shape_and_type(list(images.shape), np.uint8, *self._where)
        value.update_inplace(images)
        trial = self._binding(value)
        for name in self._names:
            trial.bind_output(name, *self._where)
        self._session.run_with_iobinding(trial, self._options(-1))
        found = dict(zip(self._names, trial.get_outputs(), strict=True))
        self._n_graphs += 1
        binding = self._binding(value)
        for name, output in found.items():
            binding.bind_ortvalue_output(name, output)
        bound = self._bound[images.shape] = Bound(binding, value, found, self._options(self._n_graphs))
        return bound

    def _binding(self, images: Value) -> Any:
        binding = self._session.io_binding()
        for name, value in {IMAGE_INPUT: images, **self._thresholds}.items():
            binding.bind_ortvalue_input(name, value)
        return binding

    def _options(self, graph: int) -> Any:
        """Options of a run: which CUDA graph is recorded, and replayed from then on; -1 for none."""
        if not self._records:
            return None
        options = self._ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph))
        return options
