"""The module that is traced: uint8 frames of any number, channels and size to candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sleap_infer.candidates import CANDIDATE_NAMES
from sleap_infer.model.spec import ModelSpec
from sleap_infer.preprocess import GRAY_WEIGHTS
from sleap_infer.runners.onnx import THRESHOLD_INPUT
from sleap_infer.runners.pose_network import PoseNetwork
from sleap_infer.settings import StageSettings

DEFAULT_OPSET = 18
"""Run whole by ONNX Runtime's CUDA provider and by TensorRT."""

EXAMPLE_CELLS = (5, 7)
"""Height and width, in multiples of the stride, of the images that a graph is traced with."""


class GraphNetwork(nn.Module):
    """`PoseNetwork` with open sizes: channels are made to fit without a branch, candidates come in their fixed order.

    Args:
        pose_network: with a fixed number of places for peaks.
        before: applied to the uint8 images first, if given.
        after: applied to the candidates, a tuple of tensors, last, if given.
    """

    def __init__(
        self, pose_network: PoseNetwork, before: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pose_network = pose_network
        self.before = before
        self.after = after
        self.names = CANDIDATE_NAMES[pose_network.spec.kind]

    def forward(self, image: Tensor, peak_threshold: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) uint8 and a scalar -> candidates."""
        images = image if self.before is None else self.before(image)
        images = fit_open_channels(images.float() / 255.0, self.pose_network.spec.backbone.in_channels)
        found = self.pose_network(images, peak_threshold)
        candidates = tuple(found[name] for name in self.names)
        return candidates if self.after is None else tuple(self.after(*candidates))


def fit_open_channels(images: Tensor, n_channels: int) -> Tensor:
    """As `model.networks.fit_channels`, for images whose channels (1 or 3) are not known while tracing.

    Args:
        images: (B, 1 or 3, H, W).
        n_channels: 1 or 3.

    >>> fit_open_channels(torch.ones(2, 1, 4, 4), 3).shape
    torch.Size([2, 3, 4, 4])
    """
    given = images.shape[1]
    if n_channels == 3:
        return images[:, torch.arange(3, device=images.device).clamp(max=given - 1)]
    is_colour = (images.new_ones(given).sum() - 1.0) / 2.0
    colour, gray = images.new_tensor(GRAY_WEIGHTS)[:given], images.new_tensor([1.0, 0.0, 0.0])[:given]
    weights = colour * is_colour + gray * (1.0 - is_colour)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def write_graph(network: GraphNetwork, spec: ModelSpec, settings: StageSettings, path: Path, opset: int) -> None:
    """Trace the network and write it as ONNX with open batch, channels, height and width.

    Raises:
        torch.onnx.OnnxExporterError: the exporter cannot do it.
    """
    stride = spec.max_stride
    batch, channels = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("channels", min=1, max=3)
    height, width = (stride * torch.export.Dim(name, min=2, max=4096) for name in ("rows", "columns"))
    example = torch.zeros(2, 2, *(stride * cells for cells in EXAMPLE_CELLS), dtype=torch.uint8)
    program = torch.onnx.export(
        network.eval(),
        (example, torch.tensor(settings.peak_threshold)),
        dynamo=True,
        external_data=False,
        opset_version=opset,
        input_names=["image", THRESHOLD_INPUT],
        output_names=list(network.names),
        dynamic_shapes=({0: batch, 1: channels, 2: height, 3: width}, {}),
        verbose=False,
    )
    assert program is not None
    program.save(str(path))


def finish_graph(path: Path, threshold: float, metadata: dict[str, str]) -> dict[str, Any]:
    """Give a graph its metadata and its default threshold, and check it.

    Returns:
        Its inputs and outputs by name, as words.

    Raises:
        onnx.checker.ValidationError: the graph is malformed.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    import numpy as np

    model.graph.initializer.append(numpy_helper.from_array(np.float32(threshold), THRESHOLD_INPUT))
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
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
