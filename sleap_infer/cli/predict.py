"""`sleap-infer predict`."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from sleap_infer.choices import Engine, PrecisionChoice, ProgressForm
from sleap_infer.cli.output.terminal import say, say_lines
from sleap_infer.cli.parameters import BackendChoice, with_inference_options
from sleap_infer.cli.selection import FORMATS_HELP, read_formats, read_pairs, read_roots, read_share, without_option
from sleap_infer.cli.signals import exit_code, interrupting
from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import OptionError

if TYPE_CHECKING:
    from sleap_infer.jobs import Models, Task, TaskReport

SOURCES = "Sources"
"""Heading of the options of sources in the help."""

SOURCE_HELP = {item.name: item.metadata["help"] for item in attrs.fields(SourceOptions)}

WORKERS_VARIABLE = "SLEAP_INFER_WORKERS"
INTERRUPTED = 130

SHOWN = 3
"""Sources that a message lists."""


@with_inference_options
def predict(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders, globs (quoted), .slp files, and manifests (.csv, .yaml).", show_default=False
        ),
    ],
    model: Annotated[
        list[Path], typer.Option("-m", "--model", help="Model directory; give two for top-down.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write, one for all sources; a name for each with {stem}, {name} or {parent} in it; or a "
            "folder, if it ends in /. Endings: .slp, .h5, .csv, .parquet, .ledger.csv. "
            "[default: {stem}.predictions.slp beside the source]",
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out-dir", help="Folder for the outputs, made if it is not there.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put all sources into one output.")] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("-f", "--format", help=FORMATS_HELP, show_default=False),
    ] = None,
    restore_source_videos: Annotated[
        bool,
        typer.Option(
            "--restore-source-videos",
            help="Name the original videos in the output, not the package (.pkg.slp) that embeds their frames.",
        ),
    ] = False,
    frames: Annotated[
        str | None,
        typer.Option(
            help="Frames such as 0-100,150 or 100- (to the end); of a .slp file positions of labelled frames, or 'all'."
        ),
    ] = None,
    n_frames: Annotated[
        int, typer.Option("-n", "--n-frames", help="Maximum number of frames of each video; 0 for all.", min=0)
    ] = 0,
    dataset: Annotated[
        str | None, typer.Option(help=SOURCE_HELP["dataset"], rich_help_panel=SOURCES, show_default=False)
    ] = None,
    channels_first: Annotated[
        bool | None,
        typer.Option(
            "--channels-first/--channels-last",
            help=SOURCE_HELP["channels_first"],
            rich_help_panel=SOURCES,
            show_default=False,
        ),
    ] = None,
    replace_path: Annotated[
        list[str] | None,
        typer.Option(help=SOURCE_HELP["replace_paths"], rich_help_panel=SOURCES, show_default=False),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace output that is there already. Without it, what is done is kept."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where an earlier run was ended, or start anew.")
    ] = True,
    keep_journal: Annotated[
        bool, typer.Option("--keep-journal", help="Keep the journal when the output is written.")
    ] = False,
    max_failed: Annotated[
        int | None,
        typer.Option(help="Give up when more frames have failed than this.", min=0, show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and how long it would take; write nothing.")
    ] = False,
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
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            help="Processes that share the work: one for each GPU, or so many that share the cores. 0: none but this "
            "one, which a crash of a decoder or a runtime then ends.",
            rich_help_panel="Many workers",
            min=0,
            envvar=WORKERS_VARIABLE,
        ),
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: take part as number I of N commands like this one, as in a job array; then run `sleap-infer "
            "merge`.",
            rich_help_panel="Many workers",
            show_default=False,
        ),
    ] = None,
    slurm: Annotated[
        int | None,
        typer.Option(
            help="Print a SLURM script that runs this command in so many shares, and merges them.",
            rich_help_panel="Many workers",
            min=1,
            show_default=False,
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Where workers run.", rich_help_panel="Many workers")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster that runs.", rich_help_panel="Many workers", show_default=False),
    ] = None,
    progress: Annotated[
        ProgressForm, typer.Option(help="How progress is shown, on stderr: json is one object per line.")
    ] = "auto",
    *,
    options: dict[str, Any],
) -> None:
    """Predict poses and write them to files.

    Results go to a journal beside the output as they come: the same command goes on where an earlier run was ended.

    Exit codes: 0 all frames predicted, 1 some frames or videos failed, 2 wrong usage.
    """
    from sleap_infer.jobs import JobOptions, Models, Outputs, find_tasks, read_frames
    from sleap_infer.jobs.plan.guards import check_targets

    models = Models(
        tuple(map(str, model)),
        options,
        backend,
        device,
        precision,
        batch_size,
        read_pairs(backend_option or []),
        not no_cache,
    )
    forms = read_formats(formats)
    reading = SourceOptions(dataset, channels_first, read_roots(replace_path or []))
    _check_models(source, model)
    named = Outputs(output, out_dir, merge, forms, restore_source_videos)
    tasks = find_tasks(source, named, read_frames(frames), n_frames, reading)
    forms = forms or ("slp",)
    check_targets(tasks, forms, models.paths)
    if dry_run:
        from sleap_infer.cli.output.dry_run import show_plan

        show_plan(models, tasks, forms)
        return
    if address is not None and engine != "ray":
        raise OptionError("--address has no effect without --engine ray. Leave it out, or add --engine ray.")
    if slurm is not None:
        from sleap_infer.jobs.cluster.slurm import slurm_script

        words = without_option(sys.argv[1:], "--slurm")
        say_lines(slurm_script(["sleap-infer", *words], [task.journal for task in tasks], slurm, Path.cwd()))
        return
    asked = JobOptions(
        formats=forms,
        overwrite=overwrite,
        resume=resume,
        keep_journal=keep_journal,
        max_failed=max_failed,
        shard=read_share(shard),
    )
    reports = _run(models, tasks, asked, progress, workers, engine, address)
    if any(report.outcome == "failed" or report.n_failed for report in reports):
        raise typer.Exit(1)


def _check_models(sources: list[str], models: list[Path]) -> None:
    """Check that no model stands among the sources, as where the second -m was forgotten.

    Raises:
        OptionError: one does; the message has the right command.
    """
    from sleap_infer.model import is_model

    found = [name for name in sources if is_model(name)]
    if not found:
        return
    videos = [name for name in sources if name not in found] or ["VIDEO"]
    shown = shlex.join(videos[:SHOWN]) + (" ..." if len(videos) > SHOWN else "")
    given = " ".join(f"-m {shlex.quote(str(name))}" for name in [*models, *found])
    raise OptionError(
        f"{', '.join(found)}: a model stands among the sources. Each model needs its own -m: "
        f"sleap-infer predict {shown} {given} (with your other options)"
    )


def _run(
    models: Models, tasks: list[Task], options: Any, progress: ProgressForm, workers: int, engine: Engine, address: Any
) -> list[TaskReport]:
    from sleap_infer.cli.output.job_progress import show_job
    from sleap_infer.jobs import run_job

    with interrupting(), show_job(tasks, progress) as listen:
        try:
            return run_job(models, tasks, options, listen, workers, engine, address)
        except KeyboardInterrupt as error:
            with suppress(OSError):  # the terminal may be closed
                say("interrupted: what was predicted is in the journal; the same command goes on there", err=True)
            raise typer.Exit(exit_code(error)) from None
