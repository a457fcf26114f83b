"""`sleap-infer export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sleap_infer.cli.output.terminal import say, say_lines
from sleap_infer.cli.parameters import IgnoreUnknown, with_export_options
from sleap_infer.errors import OptionError

if TYPE_CHECKING:
    from sleap_infer.export import ExportOptions

DEFAULTS = "Made part of the graph, or its defaults"


@with_export_options
def export(
    model: Annotated[
        list[Path] | None, typer.Argument(help="Model directory; two for top-down.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", "--output-dir", help="Directory to make.", show_default=False)
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Export all models that match, such as 'runs/*/best.ckpt', each into a directory of -o."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="Video or .slp to compare on. Default: labelled frames beside the model, else generated images.",
            show_default=False,
        ),
    ] = None,
    peak_threshold: Annotated[
        float | None, typer.Option(help="Default of the graph's threshold.", rich_help_panel=DEFAULTS)
    ] = None,
    input_scale: Annotated[
        float | None, typer.Option(help="Scale of the frames before the network.", rich_help_panel=DEFAULTS)
    ] = None,
    integral_patch_size: Annotated[
        int | None, typer.Option(help="Side of the patch for integral refinement.", rich_help_panel=DEFAULTS)
    ] = None,
    ignore_unknown_settings: IgnoreUnknown = False,
    n_points: Annotated[
        int | None, typer.Option(help="Points sampled along each connection (bottom-up).", rich_help_panel=DEFAULTS)
    ] = None,
    *,
    options: dict[str, Any],
) -> None:
    """Export trained models as ONNX graphs, and check that they give the same poses.

    Exit codes: 0 exported and checked, 1 an export differs from its source or one of many failed, 2 wrong usage.
    """
    if bool(model) == bool(pattern):
        raise OptionError("Give models, or a --pattern that finds them: one of the two.")
    if output is None:
        raise OptionError("Say where the export goes: -o DIR.")
    from sleap_infer.runners.torch.runner import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions

    options = split_ranges(options)
    given = {
        "peak_threshold": peak_threshold,
        "input_scaling": input_scale,
        "integral_patch_size": integral_patch_size,
        "n_points": n_points,
        "ignore_unknown_settings": ignore_unknown_settings or None,
    }
    if pattern is None:
        export_one(model or [], output, ExportOptions(**options), frames, given)
    else:
        export_pattern(pattern, output, ExportOptions(**options), frames, given)


def split_ranges(options: dict[str, Any]) -> dict[str, Any]:
    """Three sizes, where one may be given, are for engines.

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
    models: list[Path], output: Path, options: ExportOptions, frames: str | None, given: dict[str, Any]
) -> None:
    """Export one model, or one pipeline, and show what was made."""
    from sleap_infer.errors import ExportDiffersError
    from sleap_infer.export import export
    from sleap_infer.jobs.plan.guards import model_files, refuse_targets

    written = [output] if options.draw is None else [output, options.draw]
    refuse_targets(
        written,
        [
            *models,
            *(path for name in models for path in model_files(name)),
            *(name for name in (frames, options.calibration) if name),
        ],
    )
    try:
        results = export(models, output, options, frames, lambda line: say(line, err=True), **given)
    except ExportDiffersError as error:
        say(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for result in results:
        say_lines(result)
    if any(result.report and result.report.verdict == "FAIL" for result in results):
        raise typer.Exit(1)


def export_pattern(
    pattern: str, output: Path, options: ExportOptions, frames: str | None, given: dict[str, Any]
) -> None:
    """Export all models that match, and show what became of each."""
    from sleap_infer.cli.output.progress import track
    from sleap_infer.export.many import export_many, find_models

    models = find_models(pattern)
    failed = 0
    for outcome in track(export_many(models, output, options, frames, **given), "exporting", len(models), "models"):
        say(outcome.line())
        failed += outcome.result is None
    say(f"{len(models) - failed} exported, {failed} failed")
    if failed:
        raise typer.Exit(1)
