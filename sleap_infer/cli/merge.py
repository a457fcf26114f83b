"""`sleap-infer merge`."""

from __future__ import annotations

from pathlib import Path

import typer
from attrs import frozen

from sleap_infer.choices import ProgressForm
from sleap_infer.cli.flags import REQUIRED, argument, command, flag
from sleap_infer.cli.groups import KEEP_JOURNAL_HELP, OVERWRITE_HELP, PROGRESS_HELP
from sleap_infer.cli.selection import FORMATS_HELP, read_formats


@frozen
class MergeFlags:
    """Journals to merge, and options of merging."""

    journals: list[Path] = argument(REQUIRED, "Journals of shards (folders that end in .journal), or folders of them.")
    formats: list[str] | None = flag(None, FORMATS_HELP, "-f", "--format")
    partial: bool = flag(False, "Write what exists; mark frames without a result as skipped.")
    overwrite: bool = flag(False, OVERWRITE_HELP)
    keep_journal: bool = flag(False, KEEP_JOURNAL_HELP)
    progress: ProgressForm = flag("auto", PROGRESS_HELP, metavar="<form>")


@command
def merge(given: MergeFlags) -> None:
    """Combine the shards of a job, its parts that ran separately (`predict --shard`), into its outputs.

    Examples:
      sleap-infer merge poses/
      sleap-infer merge poses/video.predictions.slp.journal --format slp --format csv

    Exit codes: 0 all frames predicted, 1 some frames failed, 2 frames are missing or wrong usage.
    """
    from sleap_infer.cli.output.job_progress import show_job
    from sleap_infer.jobs.write.merge import find_journals, finished, merge_journals, task_of

    wanted = read_formats(given.formats)
    before = finished(given.journals, wanted)
    found = find_journals([path for path in given.journals if path not in before])
    skipped = [report for reports in before.values() for report in reports]
    with show_job([*(report.task for report in skipped), *map(task_of, found)], given.progress) as listen:
        for report in skipped:
            listen(report)
        reports = merge_journals(found, wanted, given.partial, given.overwrite, given.keep_journal, listen)
    if any(report.outcome == "failed" or report.n_failed for report in reports):
        raise typer.Exit(1)
