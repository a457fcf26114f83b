"""`sleap-infer predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from sleap_infer.choices import BackendChoice, PrecisionChoice, ProgressForm
from sleap_infer.cli.parameters import with_inference_options
from sleap_infer.cli.selection import read_frames, read_pairs

if TYPE_CHECKING:
    from sleap_infer.cli.run import RunReport
    from sleap_infer.predictors import Clip, Predictor

FAILURES_SHOWN = 5


@with_inference_options
def predict(
    source: Annotated[
        list[str], typer.Argument(help="Videos, image folders, globs (quoted) or .slp files.", show_default=False)
    ],
    model: Annotated[
        list[Path], typer.Option("-m", "--model", help="Model directory; give two for top-down.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File to write, one for all sources. [default: SOURCE.predictions.slp, one each]"
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="Frames such as 0-100,150; of a .slp file positions of labelled frames, or 'all'."),
    ] = None,
    n_frames: Annotated[
        int, typer.Option("-n", "--n-frames", help="Only the first so many frames; 0 for all.", min=0)
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output that is there already.")] = False,
    backend: Annotated[
        BackendChoice,
        typer.Option(
            "-r",
            "--backend",
            "--runtime",
            help="What runs the network: auto measures for some seconds on the first frames what is fastest here, and "
            "remembers it. A trained model is exported for onnx and openvino, once, to a cache.",
            rich_help_panel="Backend",
        ),
    ] = "auto",
    device: Annotated[
        str,
        typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:0,1, mps.", rich_help_panel="Backend"),
    ] = "auto",
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(
            "-p",
            "--precision",
            help="Numbers that the networks compute in; auto takes the fastest whose poses keep within 0.5 px. "
            "Default: fp32; for exported models what they were made in.",
            rich_help_panel="Backend",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "-b",
            "--batch-size",
            help="Frames at once. Default: what was measured to be fastest, else 4.",
            rich_help_panel="Backend",
            min=1,
            show_default=False,
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Measure backends anew, and do not remember the result.", rich_help_panel="Backend"
        ),
    ] = False,
    backend_option: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE for the runtime, such as intra_op_num_threads=2. Repeatable.",
            rich_help_panel="Backend",
            show_default=False,
        ),
    ] = None,
    progress: Annotated[
        ProgressForm, typer.Option(help="How progress is shown, on stderr: json is one object per line.")
    ] = "auto",
    *,
    options: dict[str, Any],
) -> None:
    """Predict poses and write them to a .slp file.

    Exit codes: 0 all frames predicted, 1 some frames failed, 2 wrong usage.
    """
    selection = read_frames(frames)
    jobs = plan(source, output)
    from sleap_infer.labels import check_output

    for _, target in jobs:
        check_output(target, overwrite)
    from sleap_infer.cli.run import run_to_file
    from sleap_infer.predictors import Predictor

    models, own_precision = _in_int8(model, source, options) if precision == "int8" else (model, precision)
    with Predictor.from_model_paths(
        models,
        backend=backend,
        device=device,
        batch_size=batch_size,
        precision=own_precision,
        backend_options=read_pairs(backend_option or []),
        clip=_clip(source, selection, n_frames, not no_cache) if "auto" in (backend, precision) else None,
        **options,
    ) as predictor:
        for line in describe_stages(predictor):
            typer.echo(line, err=True)
        reports = [
            run_to_file(predictor, item, target, selection, overwrite, n_frames, progress) for item, target in jobs
        ]
    for report in reports:
        show(report)
    if any(report.failures for report in reports):
        raise typer.Exit(1)


def _in_int8(models: list[Path], sources: list[str], options: dict[str, Any]) -> tuple[list[Path], None]:
    """Models in int8, which exporting makes of trained ones, with ranges measured on the first source."""
    from sleap_infer.export.kept import kept_int8

    return kept_int8(models, sources[0], options), None


def _clip(sources: list[str], selection: Any, n_frames: int, remember: bool) -> Clip | None:
    """The first frames of the first source, as part of a job of all; label files come one by one."""
    from sleap_infer.frames import open_source
    from sleap_infer.predictors import read_clip

    labels = [source for source in sources if source.lower().endswith(".slp")]
    with open_source(labels[0] if labels else sources, selection) as opened:
        clip = read_clip(opened, n_frames * len(sources) or None)
    return None if clip is None else attrs.evolve(clip, remember=remember)


def plan(sources: list[str], output: Path | None) -> list[tuple[Any, Path]]:
    """Which sources go into which file: all into the one that is named, or each into its own.

    >>> plan(["a.mp4", "b.mp4"], None)
    [('a.mp4', PosixPath('a.predictions.slp')), ('b.mp4', PosixPath('b.predictions.slp'))]
    >>> plan(["a.mp4", "b.mp4"], Path("all.slp"))
    [(['a.mp4', 'b.mp4'], PosixPath('all.slp'))]
    """
    if output is not None:
        return [(sources if len(sources) > 1 else sources[0], output)]
    return [(source, default_output(source)) for source in sources]


def default_output(source: str) -> Path:
    """Where the poses of a source go by default: beside it.

    >>> default_output("data/session.pkg.slp")
    PosixPath('data/session.pkg.predictions.slp')
    >>> default_output("frames/*.png")
    PosixPath('frames/predictions.slp')
    """
    path = Path(source)
    if any(sign in path.name for sign in "*?["):
        return path.with_name("predictions.slp")
    return path.with_name(f"{path.name if path.is_dir() else path.stem}.predictions.slp")


def describe_stages(predictor: Predictor) -> list[str]:
    """How the backend was chosen, and the resolved settings of each stage; a line each."""
    facts, choice = predictor.describe(), predictor.choice
    runtime = f"{facts['backend']} ({facts['device']}, {facts['precision']})"
    chosen = [] if choice is None else [f"chose {runtime}: {choice.why}{' (measured before)' * choice.remembered}"]
    if choice is not None and not choice.remembered:
        chosen += [f"  {row.line()}" for row in choice.tried]
    lines = [*chosen, f"{predictor.settings.kind} on {runtime}, batch size {facts['batch_size']}"]
    for runner, stage in zip(predictor.runners, predictor.settings.stages, strict=True):
        images = stage.images
        size = f", fitted to {images.max_height or '-'}x{images.max_width or '-'}" if images.max_height else ""
        crop = f", crops of {stage.crop_size}" if stage.crop_size else ""
        lines.append(
            f"  {stage.kind}: {runner.spec.path}{size}{crop}, scale {images.input_scaling:g}, padded to "
            f"{images.pad_to_stride}, peaks above {stage.peak_threshold:g}, refinement {stage.peaks.refinement}"
        )
    return lines


def show(report: RunReport) -> None:
    """Print what a run did, and why frames failed."""
    typer.echo(report.line())
    typer.echo(f"  {report.profile.verdict} [{report.profile.line()}]", err=True)
    for failure in report.failures[:FAILURES_SHOWN]:
        typer.echo(f"  failed: {failure}", err=True)
    if len(report.failures) > FAILURES_SHOWN:
        typer.echo(f"  and {len(report.failures) - FAILURES_SHOWN} more", err=True)
    if report.capped_frames:
        typer.echo(f"  in {report.capped_frames} frames all places for peaks were full: some may be missing", err=True)
