"""int8 and bf16 within a budget: all that can be is lowered; what breaks the poses is taken back, block by block."""

from __future__ import annotations

import shutil
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
from sleap_infer.checks.margin import measure_margins
from sleap_infer.checks.report import Report
from sleap_infer.checks.validate import BATCH_SIZE, Checker, Source, cpu_backends
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
from sleap_infer.model.readers.directory import SECOND_LOOK
from sleap_infer.model.spec import Margins
from sleap_infer.predictors import Predictor
from sleap_infer.quantization.equalization import equalize
from sleap_infer.quantization.gptq_graph import round_layers, values_of
from sleap_infer.quantization.int8 import measure_ranges, quantize

MAX_IMAGES = 256
"""Images, or crops, of one network that ranges are measured on."""

N_COMPARED = 64
"""Of these, about, the numbers of peaks are compared on."""

MOST_TWICE = 0.5
"""Where more than this share of the images are looked at twice, lower precision is not worth it."""

FULL = "model.fp32.onnx"


@frozen
class Made:
    """A graph that lies in a directory beside its place."""

    directory: Path
    spec: ModelSpec
    inside: dict[str, Any]


@frozen
class Attempt:
    """What came of keeping some blocks in 32 bits."""

    kept: tuple[str, ...]
    report: Report

    @property
    def badness(self) -> float:
        """To sort by: the median distance, which few frames tell well. What is lost on them is often chance."""
        return self.report.poses.p50_px

    @property
    def is_safe(self) -> bool:
        """Whether the budget is kept with a margin: half as many points are farther off as may be, or it is proven.

        Frames that were not seen do a little worse. And a centroid that is off by little moves every so many crops by a
        whole pixel, so that errors come in two sizes; how many are of the larger one varies from video to video.
        """
        return self.report.pose_verdict != "FAIL" and self.report.poses.cautious_px <= self.report.budget_px


def lower_pipeline(
    source: Source,
    work: Path,
    made: Sequence[Made],
    options: ExportOptions,
    frames: Any,
    say: Callable[[str], None],
) -> tuple[list[Made], Report | None]:
    """Lower every graph of a pipeline, one after the other, each within the budget on the poses of the whole.

    Args:
        source: the trained models.
        work: where the 32-bit graphs lie.
        made: these graphs.
        options: of the export.
        frames: to compare on.
        say: gets a line for each step.

    Returns:
        The graphs as they are now, and how the whole compares on this processor; `None` where that was not looked at.

    Raises:
        OptionError: int8, and there are no real frames to measure on.
    """
    is_int8 = options.precision == "int8"
    images: Sequence[Sequence[NDArray[np.uint8]]] = [()] * len(made)
    chosen = _calibration_frames(source, options, frames)
    if chosen is not None:
        say(f"looking at {chosen.name}, to round weights and measure ranges by")
        images = _network_inputs(work, chosen)
    done = []
    is_compared = options.validate and options.after is None and not options.has_engines
    with Checker(source, frames, options) as checker:
        for item, seen in zip(made, images, strict=True):
            careful = _put_aside(item) if _looks_twice(seen, options) else None
            full = item.directory / FULL
            (item.directory / GRAPH_NAME).rename(full)
            graph = _quantized(full, seen, options.has_engines) if is_int8 else _rounded(full, seen)
            measure = partial(_measure, item, graph, careful, seen, options) if careful else lambda: None
            kept, margins = find_kept(item, graph, measure, checker, work, options, say)
            done.append(_write(item, graph, kept, margins, options))
            full.unlink()
            if careful and not margins:
                shutil.rmtree(careful)
        return done, checker.check_on_cpu(work) if is_compared else None


@frozen
class Lowered:
    """A 32-bit graph that can be written in lower precision.

    Attributes:
        blocks: names of what can stay in 32 bits.
        write: writes it to a file, but for some blocks, in lower precision.
    """

    blocks: Sequence[str]
    write: Callable[[Path, Collection[str]], None]


def _looks_twice(images: Sequence[NDArray[np.uint8]], options: ExportOptions) -> bool:
    """Whether what is uncertain is to be looked at again; what a module behind the graph gives cannot be judged."""
    return options.second_look and len(images) > 0 and options.after is None and not options.has_engines


def _put_aside(made: Made) -> Path:
    """The graph as it is, for the second look: in 32 bits, or in 16 where the processor computes in fp16."""
    careful = made.directory / SECOND_LOOK
    careful.mkdir()
    shutil.copy(made.directory / GRAPH_NAME, careful)
    restate(careful, made.spec, "fp16")
    return careful


def _rounded(full: Path, images: Sequence[NDArray[np.uint8]]) -> Lowered:
    """Weights are rounded to bfloat16; the runtime computes in it, where it can."""
    rounded = round_layers(full, images, "bf16")

    def write(output: Path, kept: Collection[str]) -> None:
        values = values_of(item for item in rounded if not is_kept(item.layer.block, kept))
        round_weights(full, output, kept, values)

    return Lowered(list(layer_groups(full)), write)


def _quantized(full: Path, images: Sequence[NDArray[np.uint8]], symmetric: bool) -> Lowered:
    """Networks are quantized, by ranges that are measured once."""
    equalize(full, images)
    ranges, rounded = measure_ranges(full, images), round_layers(full, images, "int8")
    return Lowered(list(ranges.groups), partial(quantize, ranges, symmetric=symmetric, rounded=rounded))


def _measure(
    made: Made, graph: Lowered, careful: Path, images: Sequence[NDArray[np.uint8]], options: ExportOptions
) -> Margins | None:
    """The margins of a second look, for a graph of which nothing is kept."""
    _write(made, graph, (), None, options)
    return measure_margins(careful, made.directory, thinned(images, N_COMPARED), cpu_backends(options.precision))


def find_kept(
    made: Made,
    graph: Lowered,
    measure: Callable[[], Margins | None],
    checker: Checker,
    work: Path,
    options: ExportOptions,
    say: Callable[[str], None],
) -> tuple[tuple[str, ...], Margins | None]:
    """The blocks to keep in 32 bits, and the margins of a second look, if any: what costs least is tried first.

    Where nothing may go back, all that is unsure is looked at again. Where nothing is compared, only what is near a
    threshold is: how often pairings are unsure is not known then.
    """
    are_whole = options.precision == "bf16" and options.has_engines  # such engines are in bf16 or not, as a whole
    if not options.validate or options.after is not None or are_whole:
        return (), next(iter(_looks(measure())), None)
    if options.force:
        return (), measure()

    def attempt(kept: Sequence[str], margins: Margins | None = None) -> Attempt:
        _write(made, graph, kept, margins, options)
        found = Attempt(tuple(kept), checker.check_on_cpu(work, poses_only=True))
        say(f"{made.spec.kind}: {_words(kept)} in 32 bits: {found.report.line()}")
        return found

    if attempt(()).is_safe:
        return (), None
    margins = None
    for tried in _looks(measure()):
        say(f"{made.spec.kind}: looking again {tried}")
        found = attempt((), tried)
        share = found.report.looked_twice.get(made.spec.kind, 0.0)
        if share > MOST_TWICE:
            break
        if found.is_safe:
            return (), tried
        margins = tried if share else margins  # what is never used is not put beside
    best = back_off(graph.blocks, partial(attempt, margins=margins))
    return best.kept, margins if len(best.kept) < len(graph.blocks) else None


def _looks(margins: Margins | None) -> list[Margins]:
    """What to look again by: the thresholds alone, which is cheaper, and all that is unsure."""
    if margins is None:
        return []
    return [attrs.evolve(margins, scores=0.0), margins] if margins.scores else [margins]


def back_off(blocks: Sequence[str], attempt: Callable[[Sequence[str]], Attempt]) -> Attempt:
    """Keep blocks in 32 bits, those first that do most harm alone: as few as make the poses pass, at worst all.

    How many is found by halving, as if each more helped.

    Args:
        blocks: names of all.
        attempt: tries a list of blocks to keep.
    """
    alone = [(attempt([other for other in blocks if other != block]), block) for block in blocks]
    alone.sort(key=lambda found: found[0].badness, reverse=True)
    order = [block for _, block in alone]
    best = alone[-1][0]
    if len(blocks) == 1 or not best.is_safe:
        return attempt(order)
    too_few, n_kept = 0, 1
    while n_kept < len(best.kept):
        found = attempt(order[:n_kept])
        too_few, best = (too_few, found) if found.is_safe else (n_kept, best)
        n_kept = (too_few + len(best.kept)) // 2 if len(best.kept) - too_few > 1 else len(best.kept)
    return best


def _write(made: Made, lowered: Lowered, kept: Sequence[str], margins: Margins | None, options: ExportOptions) -> Made:
    """Write the graph in lower precision and its metadata."""
    graph = made.directory / GRAPH_NAME
    lowered.write(graph, kept)
    precision: Precision = "fp32" if len(kept) == len(lowered.blocks) else options.precision
    spec = restate(made.directory, made.spec, precision, kept, margins)
    return attrs.evolve(made, spec=spec, inside=describe_graph(graph))


def check_calibration(source: Source, options: ExportOptions, frames: Any) -> None:
    """Check that there are real frames to measure ranges on, before anything is made.

    Raises:
        OptionError: there are none.
        SourceError: they cannot be read.
    """
    _calibration_frames(source, options, frames)


def _calibration_frames(source: Source, options: ExportOptions, frames: Any) -> CheckFrames | None:
    """Real frames, or `None` where bf16 has to do without."""
    given = frames if options.calibration is None else options.calibration
    channels = source.models[0].spec.backbone.in_channels
    paths = [model.path for model in source.models]
    chosen = choose_frames(given, paths, source.settings, channels, options.calibration_frames)
    if given is not None or all(item.are_real for item in chosen):
        return chosen[0]
    if options.precision == "int8":
        raise OptionError(
            "int8 measures the ranges of numbers on real frames, and there are none beside the model. Give some: "
            "--calibration VIDEO (calibration=... in Python)."
        )
    return None


def _network_inputs(work: Path, frames: CheckFrames) -> list[list[NDArray[np.uint8]]]:
    """What each graph of a pipeline sees of some frames."""
    with Predictor.from_model_paths(work, backend="onnx", device="cpu", batch_size=BATCH_SIZE) as predictor:
        recording, recorders = record(predictor)
        predict_frames(recording, frames)
        return [thinned(recorder.inputs, MAX_IMAGES) for recorder in recorders]


def thinned(batches: Sequence[NDArray[Any]], at_most: int) -> list[NDArray[np.uint8]]:
    """About so many images, spread over all; one of each batch at least."""
    total = sum(map(len, batches))
    step = max(1, -(-total // at_most))
    return [np.asarray(batch[::step]) for batch in batches if len(batch)]


def _words(kept: Sequence[str]) -> str:
    return ", ".join(kept) or "nothing"
