"""Calibration hooks: values of tensors inside a graph while it runs on images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.model.onnx_graph import ERRORS_ONLY
from sleap_infer.runners.graph.io import IMAGE_INPUT
from sleap_infer.system.runtimes import import_runtime


def watch(
    model: Any, tensors: Collection[str], images: Sequence[NDArray[np.uint8]], at_most: int
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run a graph with ONNX Runtime and yield the values of tensors, for one image at a time if the graph allows it.

    Args:
        model: an `onnx.ModelProto` in fp32.
        tensors: names of the tensors.
        images: batches (B, C, H, W).
        at_most: maximum number of images, spread over all.

    Yields:
        Values by tensor name.
    """
    import onnx

    onnxruntime = import_runtime("onnxruntime")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {item.name for item in watched.graph.output}
    inputs = {item.name for item in watched.graph.input}
    named = sorted(set(tensors) - inputs)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in named if name not in given)
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    size = next(item.shape[0] for item in session.get_inputs() if item.name == IMAGE_INPUT)
    n_given = sum(map(len, images))
    step = max(1, -(-n_given // at_most))
    for batch in images:
        for begin in range(0, len(batch), step):
            one = batch[begin : begin + 1]
            fed = np.ascontiguousarray(one if not isinstance(size, int) else np.repeat(one, size, axis=0))
            values = dict(zip(named, session.run(named, {IMAGE_INPUT: fed}), strict=True))
            yield values | {name: fed for name in inputs.intersection(tensors)}
