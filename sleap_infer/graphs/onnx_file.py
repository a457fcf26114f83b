"""Trace a graph module into an ONNX file, and finish the file: defaults, metadata, ONNX's checker."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from sleap_infer.config.graph_options import DEFAULT_OPSET
from sleap_infer.errors import BackendNotInstalledError
from sleap_infer.graphs.blocks import name_blocks
from sleap_infer.graphs.modules import Graph
from sleap_infer.runners.graph.io import IMAGE_INPUT
from sleap_infer.system.runtimes import install_command

EXAMPLE_STRIDES = (5, 7)
"""Height and width of the images that an open graph is traced with, in multiples of the stride, but of 8 at least."""

LEAST_STRIDE = 8

MOST = 4096
"""Upper bound of open batches, and of open sizes in multiples of the stride."""


@frozen
class InputForm:
    """Form of the images that a graph takes.

    Attributes:
        stride: open heights and widths are multiples of it.
        batch_size: the only number of images, or `None` for any.
        size: the only (height, width), or `None` for any.
    """

    stride: int = 1
    batch_size: int | None = None
    size: tuple[int, int] | None = None

    def example(self) -> torch.Tensor:
        """Return a batch of images to trace with."""
        unit = self.stride * max(1, LEAST_STRIDE // self.stride)
        size = self.size or tuple(unit * number + (self.stride == 1) for number in EXAMPLE_STRIDES)
        return torch.zeros(self.batch_size or 2, 2, *size, dtype=torch.uint8)

    def open_sizes(self) -> dict[int, Any]:
        """Return the dynamic dimensions."""
        dim = torch.export.Dim
        found: dict[int, Any] = {1: dim("channels", min=1, max=3)}
        if self.batch_size is None:
            found[0] = dim("batch", min=1, max=MOST)
        if self.size is None:
            for axis, name in ((2, "height"), (3, "width")):
                if self.stride == 1:
                    found[axis] = dim(name, min=2, max=MOST * 16)
                else:
                    found[axis] = self.stride * dim(f"{name}_strides", min=2, max=MOST)
        return found


def require_export_packages() -> None:
    """Check that the packages for exporting are installed.

    Raises:
        BackendNotInstalledError: one of them is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BackendNotInstalledError(
            f"Exporting needs {error.name}, which is not installed. Install it with: {install_command('export')}"
        ) from error


def write_graph(graph: Graph, path: Path, form: InputForm, opset: int = DEFAULT_OPSET) -> None:
    """Trace a graph and write it as ONNX, with open channels and the sizes of `form`."""
    example = (form.example(), *(torch.tensor(0.2) for _ in graph.threshold_names))
    thresholds: dict[int, Any] = {}
    with _quiet():
        program = torch.onnx.export(
            graph.eval(),
            example,
            dynamo=True,
            external_data=False,
            opset_version=opset,
            input_names=[IMAGE_INPUT, *graph.threshold_names],
            output_names=list(graph.output_names),
            dynamic_shapes=(form.open_sizes(), tuple(thresholds for _ in graph.threshold_names)),
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def finish_graph(path: Path, thresholds: Mapping[str, float], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Add metadata and defaults of thresholds to a graph, name its operations after blocks, and check it.

    Returns:
        A description, as in `describe_graph`.

    Raises:
        onnx.checker.ValidationError: the graph is malformed.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    for name, value in thresholds.items():
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    name_blocks(model)
    _strip_notes(model)
    onnx.save(model, str(path))
    set_metadata(path, metadata)
    onnx.checker.check_model(str(path), full_check=True)
    return describe_graph(path)


def _strip_notes(model: Any) -> None:
    """Remove the exporter's notes (stack traces with paths of this machine)."""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


def set_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Replace the metadata of a graph."""
    import onnx
    from onnx import helper

    model = onnx.load(str(path))
    del model.metadata_props[:]
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))


def describe_graph(path: Path) -> dict[str, Any]:
    """Return inputs and outputs by name as text, opset, and number of operations."""
    import onnx

    model = onnx.load(str(path))
    return {
        "inputs": {value.name: _describe(value) for value in model.graph.input},
        "outputs": {value.name: _describe(value) for value in model.graph.output},
        "opset": max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx")),
        "n_nodes": len(model.graph.node),
    }


def _describe(value: Any) -> str:
    import onnx

    tensor = value.type.tensor_type
    sizes = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} ({sizes})"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of the exporter about its internals and unused packages."""
    names = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
