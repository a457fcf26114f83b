"""Replace constants of a graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_weights(model: Any, values: Mapping[str, NDArray[Any]], only: Collection[str] | None = None) -> None:
    """Replace constants of a graph by new values.

    Args:
        model: an `onnx.ModelProto`.
        values: by name.
        only: names of those to replace; all of `values` by default.
    """
    from onnx import numpy_helper

    for item in model.graph.initializer:
        if item.name in values and (only is None or item.name in only):
            item.CopyFrom(numpy_helper.from_array(values[item.name].astype(np.float32), item.name))
