"""`sleap-infer predict`."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from attrs import frozen

from sleap_infer.choices import Engine, ProgressForm
from sleap_infer.cli.flags import REQUIRED, argument, command, flag
from sleap_infer.cli.groups import (
    BACKEND,
    DEVICE_HELP,
    KEEP_JOURNAL_HELP,
    MODEL_HELP,
    OVERWRITE_HELP,
    PROGRESS_HELP,
    BackendFlags,
    SourceFlags,
)
from sleap_infer.cli.output.terminal import print_line, print_lines
from sleap_infer.cli.parameters import InferenceFlags
from sleap_infer.cli.selection import FORMATS_HELP, read_formats, read_shard, without_option
from sleap_infer.cli.signals import exit_code, interrupting
from sleap_infer.errors import OptionError

if TYPE_CHECKING:
    from sleap_infer.jobs import Models, Task, TaskReport

OUTPUTS, JOB, WORKERS = "Outputs", "Resuming and failures", "Several workers"
"""Headings in the help."""

WORKERS_VARIABLE = "SLEAP_INFER_WORKERS"
INTERRUPTED = 130

SHOWN = 3
"""Maximum number of sources in a message."""


@frozen
class What:
    """Sources and models of a job."""

    source: list[str] = argument(REQUIRED, "Videos, folders, quoted globs, .slp files, manifests (.csv, .yaml).")
    model: list[Path] = flag(REQUIRED, MODEL_HELP, "-m", "--model")
    output: str | None = flag(
        None,
        "Output file (.slp, .h5, .csv, .parquet, .ledger.csv) for all sources; or a pattern for one file each, with "
        "{stem} or {name} (name of the video without or with its suffix) or {parent} (name of its folder); or a folder "
        "that ends in /. Default: {stem}.predictions.slp beside each source.",
        "-o",
        "--output",
    )


@frozen
class RunFlags:
    """Frames to predict, output, and progress."""

    frames: str | None = flag(
        None,
        "Frames, such as 0-100,150 or 100- (to the end). For a .slp file: positions of labelled frames, or 'all' "
        "for all frames of its videos.",
    )
    n_frames: int = flag(0, "Maximum number of frames per video (0 = all).", "-n", "--n-frames", min=0)
    formats: list[str] | None = flag(None, FORMATS_HELP, "-f", "--format")
    overwrite: bool = flag(False, f"{OVERWRITE_HELP} Without it, finished outputs are skipped.")
    dry_run: bool = flag(False, "Show the plan and the expected duration; write nothing.")
    progress: ProgressForm = flag("auto", PROGRESS_HELP, metavar="<form>")


@frozen
class OutputFlags:
    """Where results go."""

    out_dir: Path | None = flag(None, "Folder for the outputs; created if it does not exist.", panel=OUTPUTS)
    merge: bool = flag(
        False,
        "Write all sources to one output file. (The command merge combines the shards of one job.)",
        panel=OUTPUTS,
    )
    restore_source_videos: bool = flag(
        False,
        "Store the paths of the original videos, not that of the package (.pkg.slp) with their frames.",
        panel=OUTPUTS,
    )


@frozen
class PredictBackendFlags(BackendFlags):
    """Backend of a job."""

    batch_size: int | None = flag(
        None, "Frames per batch. Default: the fastest measured, else 4.", "-b", "--batch-size", min=1, panel=BACKEND
    )
    device: str = flag(
        "auto",
        f"{DEVICE_HELP.removesuffix('.')}; with --workers also several GPUs, such as cuda:0,1.",
        "-d",
        "--device",
        panel=BACKEND,
    )
    no_cache: bool = flag(False, "Measure backends again; do not store the result.", panel=BACKEND)


@frozen
class JobFlags:
    """Resuming, failures, and processes of a job."""

    resume: bool = flag(True, "Resume an interrupted run, or start anew.", "--resume/--no-resume", panel=JOB)
    keep_journal: bool = flag(False, KEEP_JOURNAL_HELP, panel=JOB)
    max_failed: int | None = flag(None, "Stop when more frames than this have failed.", min=0, panel=JOB)
    workers: int = flag(
        1,
        "Number of worker processes; each GPU gets one, others divide the cores. 0: run in this process (no crash "
        "isolation).",
        min=0,
        envvar=WORKERS_VARIABLE,
        panel=WORKERS,
    )
    shard: str | None = flag(
        None,
        "I/N: run shard (part) I of N, counted from 0, for example in a job array. Then run `sleap-infer merge`.",
        panel=WORKERS,
    )
    slurm: int | None = flag(
        None, "Print a SLURM script that runs this command as N shards and merges them.", min=1, panel=WORKERS
    )
    engine: Engine = flag("local", "Where workers run.", panel=WORKERS)
    address: str | None = flag(None, "Address of a running Ray cluster.", panel=WORKERS)


@command
def predict(
    what: What,
    options: InferenceFlags,
    run: RunFlags,
    outputs: OutputFlags,
    sources: SourceFlags,
    backend: PredictBackendFlags,
    job: JobFlags,
) -> None:
    """Predict poses in videos and write them to files.

    Examples:
      sleap-infer predict video.mp4 -m models/bottomup
      sleap-infer predict video.mp4 -m models/centroid -m models/centered_instance -o poses.slp
      sleap-infer predict video.mp4 -m models/bottomup --frames 0-99 --max-instances 2 --peak-threshold 0.3
      sleap-infer predict videos/ -m models/bottomup --out-dir poses --format slp --format csv

    An interrupted run resumes where it stopped: repeat the command.

    Exit codes: 0 all frames predicted, 1 some frames or videos failed, 2 wrong usage.
    Interrupted: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (closed terminal).
    """
    from sleap_infer.jobs import JobOptions, Models, Outputs, find_tasks, read_frames
    from sleap_infer.jobs.plan.check_outputs import check_targets

    models = Models(
        tuple(map(str, what.model)),
        options,
        backend.backend,
        backend.device,
        backend.precision,
        backend.batch_size,
        backend.backend_options,
        not backend.no_cache,
    )
    forms = read_formats(run.formats)
    named = Outputs(what.output, outputs.out_dir, outputs.merge, forms, outputs.restore_source_videos)
    reading = sources.options()
    _check_models(what.source, what.model)
    tasks = find_tasks(what.source, named, read_frames(run.frames), run.n_frames, reading)
    forms = forms or ("slp",)
    check_targets(tasks, forms, models.paths)
    if run.dry_run:
        from sleap_infer.cli.output.dry_run import show_plan

        show_plan(models, tasks, forms)
        return
    if job.address is not None and job.engine != "ray":
        raise OptionError("--address has no effect without --engine ray. Leave it out, or add --engine ray.")
    if job.slurm is not None:
        from sleap_infer.jobs.cluster.slurm import slurm_script

        words = without_option(sys.argv[1:], "--slurm")
        print_lines(slurm_script(["sleap-infer", *words], [task.journal for task in tasks], job.slurm, Path.cwd()))
        return
    how = JobOptions(
        formats=forms,
        overwrite=run.overwrite,
        resume=job.resume,
        keep_journal=job.keep_journal,
        max_failed=job.max_failed,
        shard=read_shard(job.shard),
    )
    reports = _run(models, tasks, how, run.progress, job)
    if any(report.outcome == "failed" or report.n_failed for report in reports):
        raise typer.Exit(1)


def _check_models(sources: list[str], models: list[Path]) -> None:
    """Check that no source is a model, as when the second -m was forgotten.

    Raises:
        OptionError: a source is a model; the message has the right command.
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


def _run(models: Models, tasks: list[Task], options: Any, progress: ProgressForm, job: JobFlags) -> list[TaskReport]:
    from sleap_infer.cli.output.job_progress import show_job
    from sleap_infer.jobs import run_job

    with interrupting(), show_job(tasks, progress) as listen:
        try:
            return run_job(models, tasks, options, listen, job.workers, job.engine, job.address)
        except KeyboardInterrupt as error:
            with suppress(OSError):  # the terminal may be closed
                print_line("interrupted: results are saved in the journal; repeat the command to resume", err=True)
            raise typer.Exit(exit_code(error)) from None
