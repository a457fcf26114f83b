"""The table of a report's page."""

from __future__ import annotations

from collections.abc import Sequence

from sleap_infer.benchmark.report.ranking import winners
from sleap_infer.benchmark.report.schema import Report, Row
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.benchmark.report.svg import number, pixels
from sleap_infer.system.printable import html_text

NOTHING = TO = "\N{EN DASH}"
FIRST = ("#", "backend", "precision", "batch", "poses")
FIGURES = (
    "video to file, frames/s",
    "networks, ms per frame",
    "single frame, ms: p50 / p90 / p99",
    "memory, MB",
    "GPU, MB",
    "cold start, s",
    "build, s",
    "pays after, frames",
)
GPU = FIGURES.index("GPU, MB")


def results_table(report: Report) -> str:
    """Return the table of all rows by speed, with the best value of each column marked."""
    best = winners(report.rows)
    has_gpu = any(row.device_mb for row in report.rows)
    figures = _without_gpu(FIGURES, has_gpu)
    head = "".join(f"<th{_align(index)}>{html_text(name)}</th>" for index, name in enumerate((*FIRST, *figures)))
    body = "".join(_row(row, best, has_gpu) for row in report.by_speed)
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return table + _notes(report)


def _without_gpu(columns: Sequence[str], has_gpu: bool) -> list[str]:
    return [item for index, item in enumerate(columns) if has_gpu or index != GPU]


def _notes(report: Report) -> str:
    """Return the notes on exports, each once with the names of its rows."""
    rows: dict[str, list[str]] = {}
    for row in report.rows:
        for note in row.notes:
            rows.setdefault(note, []).append(row.name)
    items = "".join(f"<li><b>{html_text(', '.join(names))}</b>: {html_text(note)}</li>" for note, names in rows.items())
    return f"<ul>{items}</ul>" if items else ""


def results_note(report: Report) -> str:
    """Return a caption for the table."""
    settings = report.settings
    return (
        f"Poses in {settings.n_judged} frames are compared with {settings.reference}. Rows within the tolerance are "
        "ranked by frames per second, and the best value of each column is marked. Small text: quartiles."
    )


def _align(index: int) -> str:
    return ' class="number"' if index in (0, 3) or index >= 5 else ""


def _row(row: Row, best: dict[str, tuple[str, str, int]], has_gpu: bool) -> str:
    first = [
        _cell(str(row.rank or NOTHING), kind="number"),
        f'<td><i class="swatch {html_text(row.backend)}"></i>{html_text(row.backend)}</td>',
        _cell(row.precision),
        _cell(str(row.batch_size), kind="number"),
        _poses(row),
    ]
    wide = len(_without_gpu(FIGURES, has_gpu))
    if row.status == "failed":
        why = f'<td class="reason" colspan="{wide}">{html_text(row.reason)}</td>'
        return f'<tr class="unranked">{"".join(first)}{why}</tr>'
    latency, cold = row.latency_ms, row.cold_start_s
    percentiles = [number(part.median) for part in (latency.p50, latency.p90, latency.p99)] if latency else []
    cells = [
        _figure(row, row.end_to_end_fps, "end_to_end_fps", best),
        _figure(row, row.forward_ms, "forward_ms", best),
        _cell(" / ".join(percentiles) or NOTHING, kind=_kind(row, "latency_ms", best)),
        _figure(row, row.host_mb, "host_mb", best),
        _figure(row, row.device_mb, "device_mb", best),
        _figure(row, cold.total if cold else None, "cold_start_s", best),
        _cell(NOTHING if row.build_seconds is None else number(row.build_seconds), kind="number"),
        _cell(NOTHING if row.pays_after_frames is None else f"{row.pays_after_frames:,}", kind="number"),
    ]
    kind = "" if row.status == "agrees" else ' class="unranked"'
    more = f'<tr{kind}><td></td><td class="reason" colspan="{wide + 4}">{html_text(row.reason)}</td></tr>'
    return f"<tr{kind}>{''.join(first)}{''.join(_without_gpu(cells, has_gpu))}</tr>{more if row.reason else ''}"


def _poses(row: Row) -> str:
    if row.agreement is None:
        return f'<td class="{row.status}">{row.status}</td>'
    small = f"95 %: {pixels(row.agreement.p95_px)}, max: {pixels(row.agreement.max_px)} px"
    return f'<td class="{row.status}">{row.status}<small>{html_text(small)}</small></td>'


def _figure(row: Row, spread: Spread | None, name: str, best: dict[str, tuple[str, str, int]]) -> str:
    if spread is None:
        return _cell(NOTHING, kind="number")
    return _cell(number(spread.median), f"{number(spread.low)}{TO}{number(spread.high)}", _kind(row, name, best))


def _kind(row: Row, name: str, best: dict[str, tuple[str, str, int]]) -> str:
    return "number best" if best.get(name) == row.key else "number"


def _cell(words: str, small: str = "", kind: str = "") -> str:
    under = f"<small>{html_text(small)}</small>" if small else ""
    return f'<td class="{kind}">{html_text(words)}{under}</td>' if kind else f"<td>{html_text(words)}{under}</td>"
