"""Write a report as one self-contained page, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sleap_infer.benchmark.report.charts import (
    PARTS,
    bar_chart,
    curve_chart,
    latency_chart,
    scatter_chart,
    stacked_chart,
)
from sleap_infer.benchmark.report.html_style import STYLE
from sleap_infer.benchmark.report.html_table import results_note, results_table
from sleap_infer.benchmark.report.ranking import conclude
from sleap_infer.benchmark.report.schema import Report, Row
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.system.printable import html_text

BUSY = 0.25
"""Number of cores used by other processes from which a report shows a warning."""

COLD_PARTS = ("starting Python", "importing packages", "opening the model", "first pose")


def as_html(report: Report) -> str:
    """Return the page of a report."""
    title = f"{report.model.kind} on {Path(report.video.path).name}"
    parts = [
        f"<h1>Benchmark: {html_text(title)}</h1>",
        f'<p class="facts">{html_text(subtitle(report))}</p>',
        f'<p class="lead">{html_text(conclude(report))}</p>',
        _warning(report),
        _section("Results", results_note(report), results_table(report)),
        *_charts(report),
        _curves(report),
        _absent(report),
        _machine(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>sleap-infer benchmark: {html_text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def subtitle(report: Report) -> str:
    """Return machine, frames and date in one line."""
    machine, video, settings = report.machine, report.video, report.settings
    gpus = f", {', '.join(machine.gpus)}" if machine.gpus else ""
    return (
        f"{machine.cpu}, {machine.cores} cores{gpus}; {settings.n_frames} frames of {video.height} x {video.width}; "
        f"{settings.repeats} {'repeat' if settings.repeats == 1 else 'repeats'}; {report.made[:10]}"
    )


def busy_note(report: Report) -> str:
    """Return a warning if other programs used the machine during the run, else an empty text."""
    if report.busy_cores is None or report.busy_cores < BUSY:
        return ""
    return (
        f"Other programs used {report.busy_cores:.1f} of {report.machine.cores} cores during the measurement. "
        "On an idle machine, all values would be better and vary less."
    )


def _warning(report: Report) -> str:
    note = busy_note(report)
    return f'<p class="warning">{html_text(note)}</p>' if note else ""


def _section(title: str, note: str, body: str) -> str:
    return f'<section><h2>{html_text(title)}</h2><p class="note">{html_text(note)}</p>{body}</section>'


def _keys(names: Sequence[tuple[str, str]]) -> str:
    """Return a legend of (class, name) pairs."""
    spans = (f'<span><i class="swatch {kind}"></i>{html_text(name)}</span>' for kind, name in names)
    return f'<p class="keys">{"".join(spans)}</p>'


def _charts(report: Report) -> list[str]:
    rows = [row for row in report.rows if row.status != "failed"]
    if not rows:
        return []
    keys = _keys([(name, name) for name in dict.fromkeys(row.backend for row in rows)])
    speed = _section(
        "From video to file",
        "Frames per second from a video file to a written .slp file; more is better. Whiskers: quartiles of the "
        "repeats. Dashed outlines: poses that differ from the reference, which are not ranked.",
        keys + bar_chart(rows, lambda row: row.end_to_end_fps, "Frames per second", "frames/s", falling=True),
    )
    latency = _section(
        "Single frames",
        "From a frame in memory to its pose, one at a time; less is better. Dot: p50; bars: p90 and p99. "
        "The numbers are p50 / p99.",
        keys + latency_chart(rows, "Latency of single frames", "ms"),
    )
    accuracy = _section(
        "Speed against accuracy",
        "Up is faster, left is nearer to the reference. Dashed lines: limits for 32-bit floats (all points) and for "
        "lower precision (95 % of them). Small dots: one frame at a time; large ones: batches.",
        keys + scatter_chart(rows, "Frames per second over distance from the reference"),
    )
    cold = _section(
        "Cold start",
        "From starting a process to the first pose, with what was built or compiled before in its cache; less is "
        "better.",
        _keys(list(zip(PARTS, COLD_PARTS, strict=True))) + stacked_chart(rows, "Cold start", "s"),
    )
    pairs = [(speed, cold), (accuracy, latency if any(row.latency_ms for row in rows) else "")]
    pairs.append((_memory(rows, "host_mb"), _memory(rows, "device_mb")))
    return [f'<div class="pair">{one}{other}</div>' for one, other in pairs]


def _curves(report: Report) -> str:
    sections = (
        _section(
            series.name, f"{series.y_label} over {series.x_label}; the band is from low to high.", curve_chart(series)
        )
        for series in report.scaling
    )
    return f'<div class="pair">{"".join(sections)}</div>' if report.scaling else ""


MEMORY: dict[str, tuple[str, str, Callable[[Row], Spread | None]]] = {
    "host_mb": ("Memory on the host", "The most that the process had, less is better.", lambda row: row.host_mb),
    "device_mb": ("Memory on the GPU", "What the process took of it; less is better.", lambda row: row.device_mb),
}


def _memory(rows: Sequence[Row], name: str) -> str:
    title, note, figure = MEMORY[name]
    return _section(title, note, bar_chart(rows, figure, title, "MB")) if any(map(figure, rows)) else ""


def _absent(report: Report) -> str:
    if not report.absent:
        return ""
    items = "".join(
        f"<li><b>{html_text(item.backend)}{' ' + html_text(item.precision) if item.precision else ''}</b>: "
        f"{html_text(item.reason)}</li>"
        for item in report.absent
    )
    return f"<section><h2>Not run here</h2><ul>{items}</ul></section>"


def _machine(report: Report) -> str:
    machine, video, model = report.machine, report.video, report.model
    memory = f", {machine.memory_gb:g} GB" if machine.memory_gb else ""
    settings = report.settings
    facts = {
        "Processor": f"{machine.cpu}, {machine.cores} cores{memory}",
        "With": ", ".join(machine.flags),
        "GPU": f"{', '.join(machine.gpus)}; driver {machine.driver}" if machine.gpus else "",
        "System": f"{machine.os}, Python {machine.python}",
        "Environment": ", ".join(f"{name}={value}" for name, value in machine.environment.items()),
        "Packages": ", ".join(f"{name} {version}" for name, version in report.packages.items()),
        "Model": "; ".join(
            f"{path} (SHA-256 {digest[:16]}…)" for path, digest in zip(model.paths, model.sha256, strict=True)
        ),
        "Video": f"{video.path}: {video.n_frames or '?'} frames of {video.height} x {video.width} x {video.channels}",
        "Measured": (
            f"{settings.n_frames} frames, {settings.repeats} repeats, each in a process of its own, in turn; device "
            f"{settings.device}; exports saw {settings.n_calibration} frames, none of them compared"
        ),
        "Made": report.made,
    }
    items = "".join(f"<dt>{html_text(name)}</dt><dd>{html_text(words)}</dd>" for name, words in facts.items() if words)
    command = f"<dt>Command</dt><dd><code>{html_text(report.command)}</code></dd>"
    return f"<section><h2>How this was measured</h2><dl>{items}{command}</dl></section>"
