"""Lines about a report that the terminal and the page share."""

from __future__ import annotations

from pathlib import Path

from sleap_infer.benchmark.report.schema import Report

BUSY = 0.25
"""Number of cores used by other processes from which a report shows a warning."""


def title(report: Report) -> str:
    """Return the kind of model and the name of the video."""
    return f"{report.model.kind} on {Path(report.video.path).name}"


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


def notes(report: Report) -> dict[str, list[str]]:
    """Return each note on an export with the names of its rows."""
    found: dict[str, list[str]] = {}
    for row in report.rows:
        for note in row.notes:
            found.setdefault(note, []).append(row.name)
    return found


def facts(report: Report) -> list[tuple[str, str]]:
    """Return how a report was measured, as pairs of a name and a text, which may be empty."""
    machine, video, model, settings = report.machine, report.video, report.model, report.settings
    memory = f", {machine.memory_gb:g} GB" if machine.memory_gb else ""
    digests = zip(model.paths, model.sha256, strict=True)
    return [
        ("CPU", f"{machine.cpu}, {machine.cores} cores{memory}"),
        ("CPU flags", ", ".join(machine.flags)),
        ("GPU", f"{', '.join(machine.gpus)}; driver {machine.driver}" if machine.gpus else ""),
        ("System", f"{machine.os}, Python {machine.python}"),
        ("Environment", ", ".join(f"{name}={value}" for name, value in machine.environment.items())),
        ("Packages", ", ".join(f"{name} {version}" for name, version in report.packages.items())),
        ("Model", "; ".join(f"{path} (SHA-256 {digest[:16]}…)" for path, digest in digests)),
        ("Video", f"{video.path}: {video.n_frames or '?'} frames of {video.height} x {video.width} x {video.channels}"),
        (
            "Measured",
            f"{settings.n_frames} frames, {settings.repeats} repeats, each in its own process, in turn; device "
            f"{settings.device}; exports were calibrated and checked on {settings.n_calibration} other frames",
        ),
        ("Made", report.made),
    ]
