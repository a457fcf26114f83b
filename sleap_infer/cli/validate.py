"""`sleap-infer validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sleap_infer.choices import Backend
from sleap_infer.options import DEFAULT_CHECKED_FRAMES


def validate(
    exported: Annotated[Path, typer.Argument(help="Exported directory, or model.onnx.", show_default=False)],
    against: Annotated[
        list[Path],
        typer.Option(
            "--against", "-m", help="The trained model it was made from; two for top-down.", show_default=False
        ),
    ],
    frames: Annotated[
        str | None,
        typer.Option(
            help="Video or .slp to compare on. Default: labelled frames beside the model, else generated images.",
            show_default=False,
        ),
    ] = None,
    n_frames: Annotated[
        int, typer.Option(help="Frames of it, spread over its length.", min=1)
    ] = DEFAULT_CHECKED_FRAMES,
    max_error_px: Annotated[
        float | None,
        typer.Option(
            help="Distance that points may have. Default: 0.01 for all in fp32, 0.5 for 95 % of them else.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[Backend, typer.Option("-r", "--backend", "--runtime", help="What runs the export.")] = "onnx",
    device: Annotated[str, typer.Option(help="Where the trained model runs.")] = "cpu",
    draw: Annotated[Path | None, typer.Option(help="Write a picture of the worst frame.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Compare an exported model with the trained one: raw values and poses.

    Exit codes: 0 PASS or WARN, 1 FAIL, 2 wrong usage.
    """
    import json

    from sleap_infer.runners.torch import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions, validate
    from sleap_infer.export.exporting import draw_worst

    options = ExportOptions(n_frames=n_frames, max_error_px=max_error_px, device=device)
    report = validate(exported, against, frames, options, backend)
    if draw is not None:
        draw_worst(report, draw)
    typer.echo(json.dumps(report.as_dict(), indent=1) if as_json else str(report))
    if report.verdict == "FAIL":
        raise typer.Exit(1)
