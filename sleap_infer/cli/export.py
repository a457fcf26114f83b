"""`sleap-infer export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from attrs import frozen

from sleap_infer.cli.flags import argument, command, flag
from sleap_infer.cli.groups import FRAMES_HELP, IGNORE_UNKNOWN_HELP, SourceFlags
from sleap_infer.cli.output.terminal import print_line, print_lines
from sleap_infer.cli.parameters import ExportFlags
from sleap_infer.config.graph_options import GRAPH
from sleap_infer.config.options import SourceSpec
from sleap_infer.errors import OptionError

if TYPE_CHECKING:
    from sleap_infer.export import ExportOptions

FIXED = "Settings that become part of the graph"
"""Heading in the help."""


@frozen
class What:
    """Models and directory of an export."""

    model: list[Path] | None = argument(None, "Model directory; two for top-down. Required without --pattern.")
    output: Path | None = flag(None, "Directory to create. Required.", "-o", "--output", "--output-dir")
    pattern: str | None = flag(
        None, "Export all models that match, such as 'runs/*/best.ckpt', each into its own directory in -o."
    )
    frames: str | None = flag(None, FRAMES_HELP)
    ignore_unknown_settings: bool = flag(False, IGNORE_UNKNOWN_HELP)


@frozen
class Fixed:
    """Settings that become part of the graph, or its defaults."""

    peak_threshold: float | None = flag(
        None,
        "Default of the graph for the minimum confidence of a peak; it can be changed when the graph runs.",
        panel=GRAPH,
    )
    input_scale: float | None = flag(
        None, "Scale of the frames before the network.", "--input-scaling", "--input-scale", panel=FIXED
    )
    integral_patch_size: int | None = flag(
        None, "Side of the patch for integral refinement, in pixels of the confidence map.", panel=FIXED
    )
    n_points: int | None = flag(None, "Points sampled along each connection (bottom-up).", panel=FIXED)


@command
def export(what: What, options: ExportFlags, fixed: Fixed, sources: SourceFlags) -> None:
    """Export trained models as ONNX graphs, and check that their poses are the same.

    Examples:
      sleap-infer export models/bottomup -o exported
      sleap-infer export models/centroid models/centered_instance -o exported --fused --frames video.mp4
      sleap-infer export models/bottomup -o exported-int8 -p int8 --calibration video.mp4

    The check compares raw values (network outputs before grouping) and poses.
    `sleap-infer validate --help` defines its results PASS, WARN and FAIL.
    -n and -b are not those of predict: here they are --max-instances and --max-batch-size.

    Exit codes: 0 exported and checked, 1 an export differs from its source or one of many failed, 2 wrong usage.
    """
    if bool(what.model) == bool(what.pattern):
        raise OptionError("Give either models or a --pattern that finds them.")
    if what.output is None:
        raise OptionError("The output directory is missing: add -o DIR.")
    from sleap_infer.runners.torch.runner import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions

    options = split_ranges(options)
    given = {
        "peak_threshold": fixed.peak_threshold,
        "input_scaling": fixed.input_scale,
        "integral_patch_size": fixed.integral_patch_size,
        "n_points": fixed.n_points,
        "ignore_unknown_settings": what.ignore_unknown_settings or None,
    }
    frames, calibration = sources.specs("--frames or --calibration", what.frames, options.get("calibration"))
    export_options = ExportOptions(**{**options, "calibration": calibration})
    if what.pattern is None:
        export_one(what.model or [], what.output, export_options, frames, given)
    else:
        export_pattern(what.pattern, what.output, export_options, frames, given)


def split_ranges(options: dict[str, Any]) -> dict[str, Any]:
    """Return options in which three sizes are renamed to the range of an engine.

    >>> split_ranges({"batch_size": (1, 4, 8), "input_size": (384, 384)})
    {'input_size': (384, 384), 'batch_range': (1, 4, 8)}
    """
    split = dict(options)
    for name, other in (("batch_size", "batch_range"), ("input_size", "size_range")):
        value = split.get(name)
        if isinstance(value, tuple) and len(value) == 3:
            split[other] = split.pop(name)
    return split


def export_one(
    models: list[Path], output: Path, options: ExportOptions, frames: SourceSpec | None, given: dict[str, Any]
) -> None:
    """Export one model or one pipeline, and print the result."""
    from sleap_infer.errors import ExportDiffersError
    from sleap_infer.export import export
    from sleap_infer.jobs.plan.check_outputs import model_files, refuse_targets
    from sleap_infer.render.frame import check_image

    written = [output] if options.draw is None else [output, options.draw]
    refuse_targets(
        written,
        [
            *models,
            *(path for name in models for path in model_files(name)),
            *(str(source) for source in (frames, options.calibration) if source),
        ],
    )
    if options.draw is not None:
        check_image(options.draw, options.overwrite)
    try:
        results = export(models, output, options, frames, lambda line: print_line(line, err=True), **given)
    except ExportDiffersError as error:
        print_line(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for result in results:
        print_lines(result)
    if any(result.report and result.report.verdict == "FAIL" for result in results):
        raise typer.Exit(1)


def export_pattern(
    pattern: str, output: Path, options: ExportOptions, frames: SourceSpec | None, given: dict[str, Any]
) -> None:
    """Export all models that match, and print the result of each."""
    from sleap_infer.cli.output.progress import track
    from sleap_infer.export.many import export_many, find_models

    models = find_models(pattern)
    failed = 0
    for outcome in track(export_many(models, output, options, frames, **given), "exporting", len(models), "models"):
        print_line(outcome.line())
        failed += outcome.result is None
    print_line(f"{len(models) - failed} exported, {failed} failed")
    if failed:
        raise typer.Exit(1)
