"""`sleap-infer merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sleap_infer.choices import ProgressForm
from sleap_infer.cli.selection import FORMATS_HELP, read_formats


def merge(
    journals: Annotated[
        list[Path],
        typer.Argument(
            help="Journals of a job that was shared (folders that end in .journal), or folders that hold some.",
            show_default=False,
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("-f", "--format", help=FORMATS_HELP, show_default=False),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what is there; frames without a result are marked as skipped.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output that is there already.")] = False,
    keep_journal: Annotated[
        bool, typer.Option("--keep-journal", help="Keep the journals when the outputs are written.")
    ] = False,
    progress: Annotated[
        ProgressForm, typer.Option(help="How progress is shown, on stderr: json is one object per line.")
    ] = "auto",
) -> None:
    """Write the outputs of jobs whose shares (`predict --shard`) are all done.

    Exit codes: 0 all frames predicted, 1 some frames failed, 2 frames are missing or wrong usage.
    """
    from sleap_infer.cli.output.job_progress import show_job
    from sleap_infer.jobs.write.merge import find_journals, finished, merge_journals, task_of

    wanted = read_formats(formats) or ("slp",)
    before = finished(journals, wanted)
    found = find_journals([path for path in journals if path not in before])
    skipped = [report for reports in before.values() for report in reports]
    with show_job([*(report.task for report in skipped), *map(task_of, found)], progress) as listen:
        for report in skipped:
            listen(report)
        reports = merge_journals(found, wanted, partial, overwrite, keep_journal, listen)
    if any(report.outcome == "failed" or report.n_failed for report in reports):
        raise typer.Exit(1)
