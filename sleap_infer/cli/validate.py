"""`sleap-infer validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sleap_infer.cli.parameters import BackendName, IgnoreUnknown, with_validation_options


@with_validation_options
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
    backend: Annotated[
        BackendName,
        typer.Option(
            "-r",
            "--backend",
            "--runtime",
            help="What runs the export: onnx, openvino, tensorrt, or another backend that runs exported graphs.",
        ),
    ] = "onnx",
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
    ignore_unknown_settings: IgnoreUnknown = False,
    *,
    options: dict[str, Any],
) -> None:
    """Compare an exported model with the trained one: raw values and poses.

    Exit codes: 0 PASS or WARN, 1 FAIL, 2 wrong usage.
    """
    from sleap_infer.cli.output.terminal import say_json, say_lines
    from sleap_infer.runners.torch.runner import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions, validate
    from sleap_infer.export.exporting import draw_worst
    from sleap_infer.jobs.plan.guards import model_files, refuse_targets
    from sleap_infer.render.frame import check_image

    given = ExportOptions(**options)
    if given.draw is not None:
        check_image(given.draw)
        read = [path for name in (exported, *against) for path in model_files(name)]
        refuse_targets([given.draw], [*read, *([frames] if frames else [])])
    report = validate(exported, against, frames, given, backend, ignore_unknown_settings)
    if given.draw is not None:
        draw_worst(report, given.draw)
    if as_json:
        say_json(report.as_dict(), indent=1)
    else:
        say_lines(report)
    if report.verdict == "FAIL":
        raise typer.Exit(1)
