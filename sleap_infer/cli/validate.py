"""`sleap-infer validate`."""

from __future__ import annotations

from pathlib import Path

import typer
from attrs import frozen

from sleap_infer.cli.flags import REQUIRED, argument, command, flag
from sleap_infer.cli.groups import FRAMES_HELP, IGNORE_UNKNOWN_HELP, JSON_HELP, SourceFlags
from sleap_infer.cli.parameters import BackendName, ValidationFlags, backends_of_graphs


@frozen
class What:
    """Export and source to compare."""

    exported: Path = argument(REQUIRED, "Exported directory, or model.onnx.")
    against: list[Path] = flag(REQUIRED, "Trained model of the export; repeat for top-down.", "--against", "-m")
    frames: str | None = flag(None, FRAMES_HELP)
    backend: BackendName = flag(
        "onnx",
        f"Backend that runs the exported graph: {backends_of_graphs()}.",
        "-r",
        "--backend",
        "--runtime",
        metavar="<backend>",
    )
    as_json: bool = flag(False, JSON_HELP, "--json")
    overwrite: bool = flag(False, "Replace an existing picture.")
    ignore_unknown_settings: bool = flag(False, IGNORE_UNKNOWN_HELP)


@command
def validate(what: What, options: ValidationFlags, sources: SourceFlags) -> None:
    """Compare an exported model with the trained one: raw values (network outputs before grouping) and poses.

    Examples:
      sleap-infer validate exported --against models/bottomup
      sleap-infer validate exported --against models/centroid --against models/centered_instance --frames video.mp4

    Results:
      PASS: in fp32 all points within 0.01 px, else 95 % within 0.5 px; none missed or added.
      WARN: no real frames or points, a maximum reached, or not in fp32 and up to 1 % missed or added.
      FAIL: anything else; in fp32 also raw values that differ by 1e-4 or more.

    Exit codes: 0 PASS or WARN, 1 FAIL, 2 wrong usage.
    """
    from sleap_infer.cli.output.terminal import print_as_json, print_lines
    from sleap_infer.runners.torch.runner import require_torch

    require_torch()
    from sleap_infer.export import ExportOptions, validate
    from sleap_infer.export.exporting import draw_worst
    from sleap_infer.jobs.plan.check_outputs import model_files, refuse_targets
    from sleap_infer.render.frame import check_image

    given = ExportOptions(**options)
    (frames,) = sources.specs("--frames", what.frames)
    if given.draw is not None:
        read = [path for name in (what.exported, *what.against) for path in model_files(name)]
        refuse_targets([given.draw], [*read, *([what.frames] if what.frames else [])])
        check_image(given.draw, what.overwrite)
    report = validate(what.exported, what.against, frames, given, what.backend, what.ignore_unknown_settings)
    if given.draw is not None:
        draw_worst(report, given.draw)
    if what.as_json:
        print_as_json(report.as_dict(), indent=1)
    else:
        print_lines(report)
    if report.verdict == "FAIL":
        raise typer.Exit(1)
