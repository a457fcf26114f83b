"""`sleap-infer benchmark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from attrs import frozen

from sleap_infer.benchmark.plan import EVERY, PRECISIONS, BenchmarkOptions, read_names, read_sizes
from sleap_infer.cli.flags import argument, command, flag
from sleap_infer.cli.groups import DEVICE_HELP, IGNORE_UNKNOWN_HELP, OVERWRITE_HELP, SourceFlags
from sleap_infer.errors import OptionError
from sleap_infer.runners.registry import backend_names

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from sleap_infer.benchmark.report.baseline import Comparison
    from sleap_infer.benchmark.report.schema import Report, Row
    from sleap_infer.benchmark.report.statistics import Spread
    from sleap_infer.cli.output.terminal import Terminal

WIDTH = 160
"""Width of the table if stdout is not a terminal."""

REPORTS = (".json", ".html")
"""Suffixes of reports."""

STATES = {"agrees": "green", "differs": "bold red", "failed": "bold red"}
WINNER = "bold green"
DEFAULTS = BenchmarkOptions(models=())


@frozen
class Subject:
    """Models and video of a benchmark."""

    model: str | None = argument(None, "Model directory, trained or exported.")
    video: str | None = argument(None, "Video. Default: one that comes with the package.")
    more: list[Path] | None = flag(None, "Second model of a top-down pipeline.", "-m", "--model")


@frozen
class Measurement:
    """Backends, batch sizes and repeats of a benchmark."""

    backends: str = flag(EVERY, f"Backends, separated by commas: {', '.join(backend_names())}.", "-r", "--backends")
    precision: str | None = flag(
        None,
        f"Precisions, separated by commas: {', '.join(PRECISIONS)}; or {EVERY}. Default: fp32, or that of the export.",
        "-p",
        "--precision",
    )
    batch_sizes: str = flag(
        ",".join(map(str, DEFAULTS.batch_sizes)),
        "Batch sizes, separated by commas. Latency is measured with 1.",
        "-b",
        "--batch-sizes",
    )
    n_frames: int = flag(DEFAULTS.n_frames, "Number of frames, from the start of the video.", "-n", "--n-frames", min=1)
    repeats: int = flag(DEFAULTS.repeats, "Number of repeats, each in a new process.", min=1)
    device: str = flag(DEFAULTS.device, DEVICE_HELP, "-d", "--device")
    timeout: float = flag(DEFAULTS.timeout, "Maximum time of one process, in seconds.", min=1)
    ignore_unknown_settings: bool = flag(False, IGNORE_UNKNOWN_HELP)


@frozen
class ReportFlags:
    """Reports that are written and compared."""

    output: Path | None = flag(None, "Report to write: .json with all values, or .html with charts.", "-o", "--output")
    html: Path | None = flag(None, "Second report to write, as .html.")
    baseline: Path | None = flag(None, "Earlier report (.json); exit with 1 if something is slower or less accurate.")
    overwrite: bool = flag(False, OVERWRITE_HELP)


@command
def benchmark(subject: Subject, how: Measurement, files: ReportFlags, sources: SourceFlags) -> None:
    """Measure which backend, precision and batch size is fastest on this machine with correct poses.

    Examples:
      sleap-infer benchmark models/bottomup video.mp4
      sleap-infer benchmark models/centroid video.mp4 -m models/centered_instance -r torch,onnx -o report.html

    Exit codes: 0 measured, 1 a regression against --baseline or no correct configuration, 2 wrong usage.
    """
    from sleap_infer.benchmark.report.html import require_templates
    from sleap_infer.benchmark.report.schema import check_file, read_report
    from sleap_infer.jobs.plan.check_outputs import model_files, refuse_targets

    names = [name for name in (subject.model, subject.video) if name is not None]
    models, source = split_subject(names, subject.more or [])
    options = BenchmarkOptions(
        models=models,
        video=source,
        reading=sources.options(),
        backends=() if how.backends == EVERY else read_names(how.backends, backend_names(), "--backends"),
        precisions=() if how.precision is None else read_names(how.precision, PRECISIONS, "--precision"),
        batch_sizes=read_sizes(how.batch_sizes),
        n_frames=how.n_frames,
        repeats=how.repeats,
        device=how.device,
        timeout=how.timeout,
        ignore_unknown_settings=how.ignore_unknown_settings,
    )
    reports = report_files(files.output, files.html)
    if ".html" in reports.values():
        require_templates()
    for path in reports:
        check_file(path, files.overwrite)
    read = [path for model in models for path in model_files(model)] + [
        Path(name) for name in (source, files.baseline) if name
    ]
    refuse_targets(list(reports), read)
    old = None if files.baseline is None else read_report(files.baseline)
    report = run(options)
    show(report)
    is_worse = old is not None and show_comparison(report, old)
    write_reports(report, reports)
    if is_worse or not report.ranked:
        raise typer.Exit(1)


def report_files(output: Path | None, html: Path | None) -> dict[Path, str]:
    """Return the suffix, which is the format, of each report to write.

    Raises:
        OptionError: a suffix is unknown, or both reports have the same path.

    >>> report_files(Path("a.HTML"), None)
    {PosixPath('a.HTML'): '.html'}
    """
    given = (("--output", output, REPORTS), ("--html", html, (".html",)))
    for name, path, endings in given:
        if path is not None and path.suffix.lower() not in endings:
            raise OptionError(f"{name} {path}: expected a name that ends in {' or '.join(endings)}.")
    if output is not None and output == html:
        raise OptionError(f"--output and --html both name {html}. Leave --html out.")
    return {path: path.suffix.lower() for _, path, _ in given if path is not None}


def write_reports(report: Report, files: Mapping[Path, str]) -> None:
    """Write a report in each format and print the paths."""
    from sleap_infer.benchmark.report.html import as_html
    from sleap_infer.benchmark.report.schema import as_json
    from sleap_infer.cli.output.terminal import print_line
    from sleap_infer.system.files import write_text

    for path, ending in files.items():
        write_text(path, as_html(report) if ending == ".html" else as_json(report))
        print_line(f"Report: {path}")


def split_subject(given: Sequence[str], models: Sequence[Path]) -> tuple[tuple[Path, ...], str | None]:
    """Return the models and the video from at most two arguments and the models of `-m`.

    Raises:
        OptionError: no model is given.
    """
    from sleap_infer.model import is_model

    names = list(given)
    has_video = len(names) > 1 or (bool(names) and bool(models) and not is_model(names[0]))
    video = names.pop() if has_video else None
    found = (*map(Path, names), *models)
    if not found:
        raise OptionError("No model is given. Usage: sleap-infer benchmark MODEL [VIDEO].")
    return found, video


def run(options: BenchmarkOptions) -> Report:
    """Measure, and show progress on stderr."""
    import shlex
    import sys

    from sleap_infer.benchmark.run import run_benchmark
    from sleap_infer.cli.output.terminal import Terminal

    console = Terminal(stderr=True)
    command = shlex.join(["sleap-infer", *sys.argv[1:]])
    if not console.is_terminal:
        return run_benchmark(options, command, console.print_line)
    with console.waiting("starting") as show_line:
        return run_benchmark(options, command, show_line)


def show(report: Report) -> None:
    """Print a report: the table, what was not run, and the result in one line."""
    from sleap_infer.benchmark.report.ranking import conclude
    from sleap_infer.benchmark.report.summary import busy_note, subtitle
    from sleap_infer.cli.output.terminal import Terminal

    console = Terminal()
    if not console.is_terminal:
        console = Terminal(width=WIDTH)
    console.print(f"{report.model.kind} on {Path(report.video.path).name}: {subtitle(report)}")
    settings = report.settings
    console.print(f"Poses in {settings.n_judged} frames are compared with {settings.reference}.")
    console.print()
    console.print(table(report))
    _show_reasons(report, console)
    for note in (busy_note(report), conclude(report)):
        if note:
            console.print()
            console.print(note)


def _show_reasons(report: Report, console: Terminal) -> None:
    """Print why configurations differ, failed, have another precision or were not run."""
    from sleap_infer.benchmark.report.summary import notes
    from sleap_infer.cli.output.terminal import words
    from sleap_infer.system.printable import printable

    lines = [(row.name, row.reason) for row in report.rows if row.reason]
    lines += [(", ".join(names), note) for note, names in notes(report).items()]
    lines += [(f"{item.backend} {item.precision or ''}".strip(), item.reason) for item in report.absent]
    for number, (name, reason) in enumerate(dict.fromkeys(lines)):
        if number == 0:
            console.print()
        console.print(words("").append(printable(name), "bold").append(printable(f": {reason}")))


def table(report: Report) -> Table:
    """Return the table of all rows by speed; rows with other poses have no rank, the best of each column is marked."""
    from rich.table import Table

    from sleap_infer.benchmark.report.ranking import winners

    best = winners(report.rows)
    has_gpu = any(row.device_mb for row in report.rows)
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("#", "backend", "precision", "batch", "poses", "max px"):
        found.add_column(name, justify="right" if name in ("#", "batch", "max px") else "left", no_wrap=True)
    for name in ("frames/s", "quartiles", "net ms", "p50 / p90 / p99 ms", "host MB", *(["GPU MB"] if has_gpu else [])):
        found.add_column(name, justify="right", no_wrap=True)
    for name in ("cold s", "build s", "pays after"):
        found.add_column(name, justify="right", no_wrap=True)
    for row in report.by_speed:
        found.add_row(*_cells(row, best, has_gpu), style="" if row.status == "agrees" else "dim")
    return found


def _cells(row: Row, best: dict[str, tuple[str, str, int]], has_gpu: bool) -> list[Text]:
    from sleap_infer.benchmark.report.numbers import number, pixels
    from sleap_infer.cli.output.terminal import words

    def marked(text: str, name: str) -> Text:
        return words(text, WINNER if best.get(name) == row.key else "")

    def figure(spread: Spread | None, name: str) -> Text:
        return marked(number(spread.median), name) if spread else words("-")

    fps, latency, cold = row.end_to_end_fps, row.latency_ms, row.cold_start_s
    percentiles = [number(part.median) for part in (latency.p50, latency.p90, latency.p99)] if latency else []
    return [
        words(str(row.rank or "")),
        words(row.backend),
        words(row.precision),
        words(str(row.batch_size)),
        words(row.status, STATES[row.status]),
        words(pixels(row.agreement.max_px) if row.agreement else "-"),
        figure(fps, "end_to_end_fps"),
        words(f"{number(fps.low)} to {number(fps.high)}" if fps and fps.has_quartiles else ""),
        figure(row.forward_ms, "forward_ms"),
        marked(" / ".join(percentiles) or "-", "latency_ms"),
        figure(row.host_mb, "host_mb"),
        *([figure(row.device_mb, "device_mb")] if has_gpu else []),
        figure(cold.total if cold else None, "cold_start_s"),
        words("-" if row.build_seconds is None else number(row.build_seconds)),
        words("-" if row.pays_after_frames is None else f"{row.pays_after_frames:,} frames"),
    ]


def show_comparison(report: Report, old: Report) -> bool:
    """Print regressions since an older report; return whether there are any."""
    from sleap_infer.benchmark.report.baseline import compare
    from sleap_infer.cli.output.terminal import print_line

    found = compare(report, old)
    for line in describe(found, old):
        print_line(line)
    return bool(found.regressions)


def describe(found: Comparison, old: Report) -> list[str]:
    """Return a comparison in lines."""
    lines = ["", f"Against the baseline of {old.made[:10]}: {found.n_compared} rows compared."]
    if not found.is_comparable:
        lines.append("WARNING: speed and memory cannot be compared:")
        lines += [f"  {difference}" for difference in found.differences]
    if found.missing:
        lines.append(f"Not measured this time: {', '.join(found.missing)}.")
    lines += [f"REGRESSION {item.row}: {item.what}" for item in found.regressions]
    if not found.regressions:
        lines.append("No regression beyond noise." if found.is_comparable else "Poses agree as before.")
    return lines
