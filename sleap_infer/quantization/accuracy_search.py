"""int8 and bfloat16 within an error budget: quantize all blocks, then revert the most sensitive ones to fp32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.checks.check import predict_frames, record
from sleap_infer.checks.images import CheckFrames, choose_frames
from sleap_infer.checks.report import Report
from sleap_infer.checks.validate import BATCH_SIZE, Checker, Source
from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.errors import OptionError
from sleap_infer.graphs.bfloat16 import round_weights
from sleap_infer.graphs.blocks import layer_groups
from sleap_infer.graphs.build import GRAPH_NAME
from sleap_infer.graphs.metadata import restate
from sleap_infer.graphs.onnx_file import describe_graph
from sleap_infer.model import ModelSpec
from sleap_infer.model.blocks import is_kept
from sleap_infer.predictors import Predictor
from sleap_infer.quantization.equalization import equalize
from sleap_infer.quantization.gptq_graph import round_layers, values_of
from sleap_infer.quantization.int8 import measure_ranges, quantize
from sleap_infer.reports import OnProgress

MAX_IMAGES = 256
"""Maximum number of calibration images, or crops, per network."""

FULL = "model.fp32.onnx"


@frozen
class BuiltGraph:
    """A graph in a directory beside its final position.

    Attributes:
        directory: with the graph and its metadata.
        spec: the exported model's facts.
        inside: inputs, outputs, opset and number of operations, as in `describe_graph`.
    """

    directory: Path
    spec: ModelSpec
    inside: dict[str, Any]


@frozen
class QuantizableGraph:
    """A graph in fp32 that can be written in lower precision.

    Attributes:
        blocks: names of the blocks that can be excluded from quantization.
        write: writes the graph in lower precision to a file, except for the given blocks.
    """

    blocks: Sequence[str]
    write: Callable[[Path, Collection[str]], None]


@frozen
class Attempt:
    """Result of the export check with some blocks in fp32.

    Attributes:
        excluded: names of these blocks.
        report: of the export check.
    """

    excluded: tuple[str, ...]
    report: Report

    @property
    def error_px(self) -> float:
        """Sort key: the median error in pixels. Missed points are too noisy on few frames."""
        return self.report.poses.p50_px

    @property
    def is_within_budget(self) -> bool:
        """Return whether the poses pass, and the upper 95 % confidence limit of the error is within the budget.

        New frames have slightly larger errors. A centroid that moves by little can shift a crop by a whole pixel, so
        errors have two sizes, and the fraction of the larger one differs between videos.
        """
        return self.report.pose_verdict != "FAIL" and self.report.poses.cautious_px <= self.report.budget_px


def quantize_pipeline(
    source: Source,
    work: Path,
    graphs: Sequence[BuiltGraph],
    options: ExportOptions,
    frames: Any,
    on_progress: OnProgress,
) -> tuple[list[BuiltGraph], Report | None]:
    """Quantize every graph of a pipeline in turn, each within the error budget of the poses of the whole pipeline.

    Args:
        source: the trained models.
        work: directory of the graphs in fp32.
        graphs: these graphs; their files are replaced.
        options: of the export.
        frames: to compare on.
        on_progress: called with one line per step.

    Returns:
        The quantized graphs, and the report of the whole pipeline on the CPU; `None` if it was not checked.

    Raises:
        OptionError: int8 without real frames for calibration.
    """
    images: Sequence[Sequence[NDArray[np.uint8]]] = [()] * len(graphs)
    chosen = _calibration_frames(source, options, frames)
    if chosen is not None:
        on_progress(f"running {chosen.name} to round weights and measure ranges")
        images = _network_inputs(work, chosen)
    done = []
    is_compared = options.validate and options.after is None and not options.has_engines
    with Checker(source, frames, options) as checker:
        for graph, seen in zip(graphs, images, strict=True):
            full = graph.directory / FULL
            (graph.directory / GRAPH_NAME).rename(full)
            quantizable = (
                _to_int8(full, seen, options.has_engines) if options.precision == "int8" else _to_bf16(full, seen)
            )
            excluded = find_excluded(graph, quantizable, checker, work, options, on_progress)
            done.append(_write(graph, quantizable, excluded, options))
            full.unlink()
        return done, checker.check_on_cpu(work) if is_compared else None


def _to_bf16(full: Path, images: Sequence[NDArray[np.uint8]]) -> QuantizableGraph:
    """Round weights to bfloat16; the runtime computes in it where it can."""
    rounded = round_layers(full, images, "bf16")

    def write(output: Path, excluded: Collection[str]) -> None:
        values = values_of(item for item in rounded if not is_kept(item.layer.block, excluded))
        round_weights(full, output, excluded, values)

    return QuantizableGraph(list(layer_groups(full)), write)


def _to_int8(full: Path, images: Sequence[NDArray[np.uint8]], symmetric: bool) -> QuantizableGraph:
    """Equalize channels, and measure the ranges of activations once."""
    equalize(full, images)
    ranges, rounded = measure_ranges(full, images), round_layers(full, images, "int8")
    return QuantizableGraph(list(ranges.groups), partial(quantize, ranges, symmetric=symmetric, rounded=rounded))


def find_excluded(
    graph: BuiltGraph,
    quantizable: QuantizableGraph,
    checker: Checker,
    work: Path,
    options: ExportOptions,
    on_progress: OnProgress,
) -> tuple[str, ...]:
    """Return the blocks to exclude from quantization; none if the poses are not compared, or with `force`."""
    are_whole = options.precision == "bf16" and options.has_engines  # such engines are entirely in bf16
    if not options.validate or options.after is not None or are_whole or options.force:
        return ()

    def attempt(excluded: Sequence[str]) -> Attempt:
        _write(graph, quantizable, excluded, options)
        found = Attempt(tuple(excluded), checker.check_on_cpu(work, poses_only=True))
        on_progress(f"{graph.spec.kind}: {', '.join(excluded) or 'nothing'} in fp32: {found.report.line()}")
        return found

    return () if attempt(()).is_within_budget else revert_blocks(quantizable.blocks, attempt).excluded


def revert_blocks(blocks: Sequence[str], attempt: Callable[[Sequence[str]], Attempt]) -> Attempt:
    """Revert blocks to fp32, most sensitive first, until the poses pass; at worst all of them.

    The number of blocks is found by bisection, as if each further block reduced the error.

    Args:
        blocks: names of all.
        attempt: checks the graph with the given blocks in fp32.
    """
    alone = [(attempt([other for other in blocks if other != block]), block) for block in blocks]
    alone.sort(key=lambda found: found[0].error_px, reverse=True)
    order = [block for _, block in alone]
    best = alone[-1][0]
    if len(blocks) == 1 or not best.is_within_budget:
        return attempt(order)
    too_few, number = 0, 1
    while number < len(best.excluded):
        found = attempt(order[:number])
        too_few, best = (too_few, found) if found.is_within_budget else (number, best)
        number = (too_few + len(best.excluded)) // 2 if len(best.excluded) - too_few > 1 else len(best.excluded)
    return best


def _write(
    graph: BuiltGraph, quantizable: QuantizableGraph, excluded: Sequence[str], options: ExportOptions
) -> BuiltGraph:
    """Write the graph in lower precision, and its metadata."""
    file = graph.directory / GRAPH_NAME
    quantizable.write(file, excluded)
    precision: Precision = "fp32" if len(excluded) == len(quantizable.blocks) else options.precision
    spec = restate(graph.directory, graph.spec, precision, excluded)
    return attrs.evolve(graph, spec=spec, inside=describe_graph(file))


def check_calibration(source: Source, options: ExportOptions, frames: Any) -> None:
    """Check that there are real frames for calibration, before anything is built.

    Raises:
        OptionError: there are none.
        SourceError: they cannot be read.
    """
    _calibration_frames(source, options, frames)


def _calibration_frames(source: Source, options: ExportOptions, frames: Any) -> CheckFrames | None:
    """Return real frames, or `None` if there are none and bf16 rounds to nearest."""
    given = frames if options.calibration is None else options.calibration
    channels = source.models[0].spec.backbone.in_channels
    paths = [model.path for model in source.models]
    chosen = choose_frames(given, paths, source.settings, channels, options.calibration_frames)
    if given is not None or all(item.are_real for item in chosen):
        return chosen[0]
    if options.precision == "int8":
        raise OptionError(
            "int8 measures the ranges of activations on real frames, and there are none beside the model. Give some: "
            "--calibration VIDEO (calibration=... in Python)."
        )
    return None


def _network_inputs(work: Path, frames: CheckFrames) -> list[list[NDArray[np.uint8]]]:
    """Return the input batches of each network of a pipeline on some frames."""
    with Predictor.from_model_paths(work, backend="onnx", device="cpu", batch_size=BATCH_SIZE) as predictor:
        recording, recorders = record(predictor)
        predict_frames(recording, frames)
        return [thinned(recorder.inputs, MAX_IMAGES) for recorder in recorders]


def thinned(batches: Sequence[NDArray[Any]], at_most: int) -> list[NDArray[np.uint8]]:
    """Return about `at_most` images, spread over all batches; at least one per batch."""
    total = sum(map(len, batches))
    step = max(1, -(-total // at_most))
    return [np.asarray(batch[::step]) for batch in batches if len(batch)]
