"""`sleap-infer export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sleap_infer.choices import ExportFormat, Layout, Precision
from sleap_infer.errors import OptionError
from sleap_infer.options import DEFAULT_CALIBRATION_FRAMES, DEFAULT_CHECKED_FRAMES, DEFAULT_PLACES

if TYPE_CHECKING:
    from sleap_infer.export import ExportOptions

GRAPH, CHECK, INT8, DEFAULTS = "Graph", "Check", "int8", "Made part of the graph, or its defaults"


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
    export_format: Annotated[ExportFormat, typer.Option("-f", "--format", help="What to write.")] = "onnx",
    precision: Annotated[Precision, typer.Option(help="Numbers that the network computes with.")] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there already.")] = False,
    max_instances: Annotated[
        int, typer.Option("-n", "--max-instances", help="Room for centroids.", min=1, rich_help_panel=GRAPH)
    ] = DEFAULT_PLACES,
    max_peaks_per_node: Annotated[
        int, typer.Option(help="Room for peaks of each node (bottom-up).", min=1, rich_help_panel=GRAPH)
    ] = DEFAULT_PLACES,
    self_contained: Annotated[
        bool,
        typer.Option(
            "--self-contained",
            help="Frames of any size in, points in their pixels out: fitting, scaling and padding are inside.",
            rich_help_panel=GRAPH,
        ),
    ] = False,
    fused: Annotated[
        bool,
        typer.Option(
            "--fused", help="Both models of a top-down pipeline in one self-contained graph.", rich_help_panel=GRAPH
        ),
    ] = False,
    layout: Annotated[
        Layout, typer.Option(help="Outputs: arrays with fixed places, or one row per point.", rich_help_panel=GRAPH)
    ] = "batched",
    max_batch_size: Annotated[
        int | None,
        typer.Option("-b", "--max-batch-size", help="At most so many images at once.", min=1, rich_help_panel=GRAPH),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="A fixed number of images.", min=1, rich_help_panel=GRAPH)
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(help="A fixed size, HEIGHTxWIDTH, that frames are fitted into.", rich_help_panel=GRAPH),
    ] = None,
    opset_version: Annotated[
        int | None, typer.Option(help="ONNX opset. Default: 18.", show_default=False, min=1, rich_help_panel=GRAPH)
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="Video or .slp to compare on. Default: labelled frames beside the model, else generated images.",
            show_default=False,
            rich_help_panel=CHECK,
        ),
    ] = None,
    n_frames: Annotated[
        int, typer.Option(help="Frames of it, spread over its length.", min=1, rich_help_panel=CHECK)
    ] = DEFAULT_CHECKED_FRAMES,
    validate: Annotated[bool, typer.Option(help="Compare the export with its source.", rich_help_panel=CHECK)] = True,
    max_error_px: Annotated[
        float | None,
        typer.Option(
            help="Distance that points may have. Default: 0.01 for all in fp32, 0.5 for 95 % of them else.",
            show_default=False,
            rich_help_panel=CHECK,
        ),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Write a picture of the worst frame.", rich_help_panel=CHECK)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Keep the export although the comparison failed.", rich_help_panel=CHECK)
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where the trained model runs for the comparison.", rich_help_panel=CHECK)
    ] = "cpu",
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Video or .slp that ranges are measured on. Default: as --frames.",
            show_default=False,
            rich_help_panel=INT8,
        ),
    ] = None,
    calibration_frames: Annotated[
        int, typer.Option(help="Frames of it.", min=1, rich_help_panel=INT8)
    ] = DEFAULT_CALIBRATION_FRAMES,
    peak_threshold: Annotated[
        float | None, typer.Option(help="Default of the graph's threshold.", rich_help_panel=DEFAULTS)
    ] = None,
    input_scale: Annotated[
        float | None, typer.Option(help="Scale of the frames before the network.", rich_help_panel=DEFAULTS)
    ] = None,
    integral_patch_size: Annotated[
        int | None, typer.Option(help="Side of the patch for integral refinement.", rich_help_panel=DEFAULTS)
    ] = None,
    n_points: Annotated[
        int | None, typer.Option(help="Points sampled along each connection (bottom-up).", rich_help_panel=DEFAULTS)
    ] = None,
) -> None:
    """Export trained models as ONNX graphs, and check that they give the same poses.

    Exit codes: 0 exported and checked, 1 an export differs from its source or one of many failed, 2 wrong usage.
    """
    if bool(model) == bool(pattern):
        raise OptionError("Give models, or a --pattern that finds them: one of the two.")
    if output is None:
        raise OptionError("Say where the export goes: -o DIR.")
    from sleap_infer.runners.torch import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions

    options = ExportOptions(
        precision=precision,
        max_instances=max_instances,
        max_peaks_per_node=max_peaks_per_node,
        self_contained=self_contained,
        fused=fused,
        layout=layout,
        max_batch_size=max_batch_size,
        batch_size=batch_size,
        input_size=read_size(input_size),
        opset_version=opset_version,
        n_frames=n_frames,
        validate=validate,
        max_error_px=max_error_px,
        draw=draw,
        force=force,
        device=device,
        calibration=calibration,
        calibration_frames=calibration_frames,
        overwrite=overwrite,
    )
    given = {
        "peak_threshold": peak_threshold,
        "input_scaling": input_scale,
        "integral_patch_size": integral_patch_size,
        "n_points": n_points,
    }
    if pattern is None:
        export_one(model or [], output, options, frames, given)
    else:
        export_pattern(pattern, output, options, frames, given)


def export_one(
    models: list[Path], output: Path, options: ExportOptions, frames: str | None, given: dict[str, Any]
) -> None:
    """Export one model, or one pipeline, and show what was made."""
    from sleap_infer.errors import ExportDiffersError
    from sleap_infer.export import export

    try:
        results = export(models, output, options, frames, lambda line: typer.echo(line, err=True), **given)
    except ExportDiffersError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for result in results:
        typer.echo(str(result))
    if any(result.report and result.report.verdict == "FAIL" for result in results):
        raise typer.Exit(1)


def export_pattern(
    pattern: str, output: Path, options: ExportOptions, frames: str | None, given: dict[str, Any]
) -> None:
    """Export all models that match, and show what became of each."""
    from sleap_infer.cli.progress import track
    from sleap_infer.export.many import export_many, find_models

    models = find_models(pattern)
    failed = 0
    for outcome in track(export_many(models, output, options, frames, **given), "exporting", len(models), "models"):
        typer.echo(outcome.line())
        failed += outcome.result is None
    typer.echo(f"{len(models) - failed} exported, {failed} failed")
    if failed:
        raise typer.Exit(1)


def read_size(text: str | None) -> tuple[int, int] | None:
    """`HEIGHTxWIDTH` as two numbers.

    >>> read_size("384x512")
    (384, 512)
    """
    if text is None:
        return None
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) for part in parts):
        raise OptionError(f"--input-size {text!r}: expected HEIGHTxWIDTH, such as 384x512.")
    return int(parts[0]), int(parts[1])
