"""Options of exports: each default, its help and its short names, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias, get_args

import attrs
from attrs import field, frozen

from sleap_infer.choices import ExportFormat, GraphInside, Layout, Precision
from sleap_infer.config.options import DEFAULT_PLACES
from sleap_infer.errors import OptionError

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

Module: TypeAlias = Any
"""A `torch.nn.Module`; this page does not know torch."""

DEFAULT_OPSET = 18
"""Of ONNX. Run whole by ONNX Runtime's CUDA provider and by TensorRT."""

MAX_ERROR_PX = 0.01
"""Largest distance, in image pixels, between a point of the source and of an export in 32-bit floats."""

LOWERED: tuple[Precision, ...] = ("bf16", "int8")
"""Precisions to which a finished fp32 graph is reduced block by block."""

DEFAULT_BUDGET_PX = 0.5
"""Distance that 95 % of the points of an export of lower precision keep."""

MAX_CHANGED = 0.01
"""Share of points, and of instances, that an export of lower precision may lose or gain."""

GRAPH, CHECK, ROUNDING = "Graph", "Check", "int8 and bf16"
"""Headings in the help of the command line."""


def _positive(_options: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value > 0:
        kind = "whole number from 1 up" if isinstance(value, int) else "number above 0"
        raise OptionError(f"{attribute.name} is a {kind}, found {value!r}.")


def graph_option(
    default: Any, help: str, panel: str = GRAPH, flags: tuple[str, ...] = (), validator: Any = None
) -> Any:
    """Define an option: its default, its help, its heading and its short names on the command line."""
    return field(default=default, validator=validator, metadata={"help": help, "panel": panel, "flags": flags})


@frozen(kw_only=True)
class GraphOptions:
    """Options of a graph.

    Attributes:
        precision: of the network; `"int8"` is made from `"fp32"` afterwards.
        full_heads: whether the heads stay in 32-bit floats where the rest of the network is in 16 bits.
        max_instances: maximum number of centroids.
        max_peaks_per_node: maximum number of peaks per node.
        self_contained: frames of any size in, points in their pixels out: fitting, scaling and padding are inside.
        fused: two models in one graph, with crops between them; such a graph is always self-contained.
        layout: of the outputs.
        max_batch_size: the largest number of images that our runners give to the graph at once.
        batch_size: a fixed number of images.
        input_size: a fixed (height, width); frames are fitted into it.
        opset_version: of ONNX.
        before: a module that gets the uint8 images first.
        after: a module that gets the outputs last.
    """

    precision: Precision = graph_option(
        "fp32", f"Precision of the network: {', '.join(get_args(Precision))}.", GRAPH, ("-p",)
    )
    full_heads: bool = False
    max_instances: int = graph_option(DEFAULT_PLACES, "Maximum number of centroids.", GRAPH, ("-n",), _positive)
    max_peaks_per_node: int = graph_option(
        DEFAULT_PLACES, "Maximum number of peaks per node (bottom-up).", validator=_positive
    )
    self_contained: bool = graph_option(
        False, "Include resizing, scaling and padding: frames of any size in, points in frame pixels out."
    )
    fused: bool = graph_option(False, "Combine both models of a top-down pipeline in one self-contained graph.")
    layout: Layout = graph_option("batched", "Outputs: arrays of fixed size (batched), or one row per point (flat).")
    max_batch_size: int | None = graph_option(
        None,
        "Largest batch per call of the graph: larger ones are split, and engines are built up to it.",
        GRAPH,
        ("-b",),
        _positive,
    )
    batch_size: int | None = graph_option(None, "Fixed batch size; for engines also MIN,BEST,MAX.", validator=_positive)
    input_size: Size | None = graph_option(None, "Fixed frame size, HEIGHTxWIDTH; for engines also MIN,BEST,MAX.")
    opset_version: int = graph_option(DEFAULT_OPSET, "ONNX opset version.", validator=_positive)
    before: Module = None
    after: Module = None

    @property
    def inside(self) -> GraphInside:
        """How much of the preprocessing the graph contains."""
        return "fitting" if self.self_contained or self.fused else "network"


@frozen(kw_only=True)
class ExportOptions(GraphOptions):
    """Options of an export: of its graph (`GraphOptions`), its check and its files.

    Attributes:
        format: `"onnx"`; `"mnn"` with the networks converted for MNN; `"tensorrt"` and `"both"` with TensorRT engines,
            which are built for the GPU of this machine.
        batch_range: least, best and most images at once that engines are made for.
        size_range: least, best and largest (height, width) of frames that engines are made for; `None` takes the fixed
            size, or that of the frames to compare on.
        validate: compare the export with its source before it is written.
        n_frames: so many frames are compared; in lower precision up to eight times as many, until they hold 200
            instances.
        max_error_px: distance in image pixels that points may have: all of them in fp32, 95 % of them else. `None`:
            0.01 in fp32, 0.5 else.
        draw: a file for a picture of the worst frame.
        force: write the export although the comparison failed; no block is reverted to fp32 for it.
        device: where the source runs for the comparison.
        calibration: frames that int8 measures ranges on, as in `Predictor.predict`, and weights of int8 and bf16 are
            rounded by; `None`: those that are compared.
        calibration_frames: so many of these.
        second_look: deprecated and without effect: earlier versions ran some images again at higher precision.
        overwrite: replace an export that is there already.
    """

    format: ExportFormat = graph_option(
        "onnx",
        "onnx: a graph. mnn: also its networks converted for MNN. tensorrt: also engines for the GPU of this machine; "
        "the check runs only these. both: the check also runs the graph.",
        GRAPH,
        ("-f",),
    )
    batch_range: tuple[int, int, int] | None = None
    size_range: tuple[Size, Size, Size] | None = None
    validate: bool = graph_option(True, "Compare the export with the trained model.", CHECK)
    n_frames: int = graph_option(
        32,
        "Number of frames to compare on, evenly spaced. Lower precision: up to 8 times as many, until they hold 200 "
        "instances.",
        CHECK,
        validator=_positive,
    )
    max_error_px: float | None = graph_option(
        None,
        "Error budget in pixels. Default: 0.01 for all points in fp32, else 0.5 for 95 % of them.",
        CHECK,
        (),
        _positive,
    )
    draw: Path | None = graph_option(None, "Write a picture of the frame with the largest error.", CHECK)
    force: bool = graph_option(False, "Write the export even if the comparison fails.", CHECK)
    device: str = graph_option("cpu", "Device on which the trained model runs for the comparison.", CHECK)
    calibration: str | Path | Any = graph_option(
        None, "Video or .slp file with calibration frames. Default: that of --frames.", ROUNDING
    )
    calibration_frames: int = graph_option(128, "Number of calibration frames.", ROUNDING, validator=_positive)
    second_look: bool | None = graph_option(None, "Deprecated, no effect.", ROUNDING)
    overwrite: bool = graph_option(False, "Replace an existing export, and an existing picture.")

    @property
    def has_engines(self) -> bool:
        """Return whether TensorRT engines are made."""
        return self.format in ("tensorrt", "both")

    @property
    def budget_px(self) -> float:
        """The distance that points may have."""
        if self.max_error_px is not None:
            return self.max_error_px
        return MAX_ERROR_PX if self.precision == "fp32" else DEFAULT_BUDGET_PX
