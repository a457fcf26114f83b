"""int8 within a budget: all that can be is quantized, and what breaks the poses is taken back, group by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.choices import Precision
from sleap_infer.errors import OptionError
from sleap_infer.export.gate import predict_frames, record
from sleap_infer.export.images import CheckFrames, choose_frames
from sleap_infer.export.report import Report
from sleap_infer.export.validating import BATCH_SIZE, Checker, Source
from sleap_infer.graph_options import ExportOptions
from sleap_infer.graphs.making import GRAPH_NAME
from sleap_infer.graphs.metadata import write_metadata
from sleap_infer.graphs.quantize import Ranges, measure_ranges, quantize
from sleap_infer.graphs.writing import describe_graph, set_metadata
from sleap_infer.model import ModelSpec
from sleap_infer.model.exported import hash_file, metadata_inside
from sleap_infer.predictors import Predictor

MAX_IMAGES = 256
"""Images, or crops, of one network that ranges are measured on."""

FULL = "model.fp32.onnx"


@frozen
class Made:
    """A graph that lies in a directory beside its place."""

    directory: Path
    spec: ModelSpec
    inside: dict[str, Any]


@frozen
class Attempt:
    """What came of keeping some groups of layers in 32 bits."""

    kept: tuple[str, ...]
    report: Report

    @property
    def badness(self) -> tuple[float, float]:
        """What is lost, then how far points are off: to sort by."""
        return round(self.report.poses.changed, 3), self.report.poses.p99_px

    @property
    def is_safe(self) -> bool:
        """Whether the budget is kept with a margin: by 99 % of the points instead of 95 %.

        Frames that were not seen do a little worse. And a centroid that is off by little moves every so many crops by a
        whole pixel, so that errors come in two sizes; how many are of the larger one varies from video to video.
        """
        return self.report.pose_verdict != "FAIL" and self.report.poses.p99_px <= self.report.budget_px


def quantize_pipeline(
    source: Source,
    work: Path,
    made: Sequence[Made],
    options: ExportOptions,
    frames: Any,
    say: Callable[[str], None],
) -> list[Made]:
    """Quantize every graph of a pipeline, one after the other, each within the budget on the poses of the whole.

    Args:
        source: the trained models.
        work: where the 32-bit graphs lie.
        made: these graphs.
        options: of the export.
        frames: to compare on.
        say: gets a line for each step.

    Raises:
        OptionError: there are no real frames to measure on.
    """
    chosen = _calibration_frames(source, options, frames)
    say(f"measuring ranges on {chosen.name}")
    images = _network_inputs(work, chosen)
    done = []
    with Checker(source, frames, options) as checker:
        for item, seen in zip(made, images, strict=True):
            done.append(_quantize_one(item, seen, checker, work, options, say))
    return done


def _quantize_one(
    made: Made,
    images: Sequence[NDArray[np.uint8]],
    checker: Checker,
    work: Path,
    options: ExportOptions,
    say: Callable[[str], None],
) -> Made:
    graph = made.directory / GRAPH_NAME
    full = made.directory / FULL
    graph.rename(full)
    ranges = measure_ranges(full, images)

    def attempt(kept: Sequence[str]) -> Attempt:
        _write(made, ranges, kept, options.has_engines)
        found = Attempt(tuple(kept), checker.check(work))
        say(f"{made.spec.kind}: {_words(kept)} in 32 bits: {found.report.line()}")
        return found

    best = attempt([])
    if not best.is_safe and options.validate and not options.force:
        best = back_off(list(ranges.groups), attempt)
    finished = _write(made, ranges, best.kept, options.has_engines)
    full.unlink()
    return finished


def back_off(groups: Sequence[str], attempt: Callable[[Sequence[str]], Attempt]) -> Attempt:
    """Keep groups in 32 bits, those first that help most alone: as few as make the poses pass, at worst all.

    How many is found by halving, as if each more helped.

    Args:
        groups: names of all groups.
        attempt: tries a list of groups to keep.
    """
    alone = sorted((attempt([group]) for group in groups), key=lambda found: found.badness)
    order = [group for found in alone for group in found.kept]
    if alone[0].is_safe or len(groups) == 1:
        return alone[0]
    too_few, best = 1, attempt(order)
    while len(best.kept) - too_few > 1:
        n_kept = (too_few + len(best.kept)) // 2
        found = attempt(order[:n_kept])
        if found.is_safe:
            best = found
        else:
            too_few = n_kept
    return best


def _write(made: Made, ranges: Ranges, kept: Sequence[str], symmetric: bool) -> Made:
    """Write the quantized graph and its metadata."""
    graph = made.directory / GRAPH_NAME
    quantize(ranges, graph, kept, symmetric)
    assert made.spec.exported is not None
    precision: Precision = "fp32" if len(kept) == len(ranges.groups) else "int8"
    facts = attrs.evolve(made.spec.exported, precision=precision, kept=tuple(kept), sha256="")
    spec: ModelSpec = attrs.evolve(made.spec, exported=facts)
    set_metadata(graph, metadata_inside(spec))
    spec = attrs.evolve(spec, exported=attrs.evolve(facts, sha256=hash_file(graph)))
    write_metadata(made.directory, spec)
    return attrs.evolve(made, spec=spec, inside=describe_graph(graph))


def check_calibration(source: Source, options: ExportOptions, frames: Any) -> None:
    """Check that there are real frames to measure ranges on, before anything is made.

    Raises:
        OptionError: there are none.
        SourceError: they cannot be read.
    """
    _calibration_frames(source, options, frames)


def _calibration_frames(source: Source, options: ExportOptions, frames: Any) -> CheckFrames:
    given = frames if options.calibration is None else options.calibration
    channels = source.models[0].spec.backbone.in_channels
    paths = [model.path for model in source.models]
    chosen = choose_frames(given, paths, source.settings, channels, options.calibration_frames)
    if given is None and not all(item.are_real for item in chosen):
        raise OptionError(
            "int8 measures the ranges of numbers on real frames, and there are none beside the model. Give some: "
            "--calibration VIDEO (calibration=... in Python)."
        )
    return chosen[0]


def _network_inputs(work: Path, frames: CheckFrames) -> list[list[NDArray[np.uint8]]]:
    """What each graph of a pipeline sees of some frames."""
    with Predictor.from_model_paths(work, backend="onnx", device="cpu", batch_size=BATCH_SIZE) as predictor:
        recording, recorders = record(predictor)
        predict_frames(recording, frames)
        return [_thinned(recorder.inputs) for recorder in recorders]


def _thinned(batches: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """At most so many images, spread over all."""
    total = sum(map(len, batches))
    step = max(1, -(-total // MAX_IMAGES))
    return [np.asarray(batch[::step]) for batch in batches if len(batch)]


def _words(kept: Sequence[str]) -> str:
    return ", ".join(kept) or "nothing"
