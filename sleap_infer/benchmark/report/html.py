"""Write a report as one self-contained page, without scripts (jinja2, extra `report`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sleap_infer.benchmark.report import charts, summary
from sleap_infer.benchmark.report.numbers import number, pixels
from sleap_infer.benchmark.report.ranking import conclude, winners
from sleap_infer.benchmark.report.schema import Report
from sleap_infer.errors import BackendNotInstalledError
from sleap_infer.system.printable import printable
from sleap_infer.system.runtimes import install_command

TEMPLATES = Path(__file__).with_name("templates")

COLD_START_PARTS = ("starting Python", "importing packages", "opening the model", "first pose")


def require_templates() -> None:
    """Check that pages can be written.

    Raises:
        BackendNotInstalledError: jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise BackendNotInstalledError(
            "Reports as .html are written with jinja2, which is not installed. Install it with: "
            f"{install_command('report')}, or write the report as .json."
        )


def as_html(report: Report) -> str:
    """Return the page of a report.

    Raises:
        BackendNotInstalledError: jinja2 is not installed.
    """
    require_templates()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    environment.filters |= {"number": number, "pixels": pixels}
    measured = [row for row in report.rows if row.status != "failed"]
    return environment.get_template("page.html.jinja").render(
        report=report,
        title=summary.title(report),
        subtitle=summary.subtitle(report),
        conclusion=conclude(report),
        warning=summary.busy_note(report),
        facts=summary.facts(report),
        notes=summary.notes(report),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        measured=measured,
        several_repeats=report.settings.repeats > 1,
        has_gpu=any(row.device_mb for row in report.rows),
        best=winners(report.rows),
        backends=[(name, name) for name in dict.fromkeys(row.backend for row in measured)],
        cold_start_parts=list(zip(charts.PARTS, COLD_START_PARTS, strict=True)),
        charts=_markup(charts.charts_of(report)),
    )


def _markup(drawn: dict[str, Any]) -> dict[str, Any]:
    """Mark SVG, which is already escaped, as HTML."""
    from markupsafe import Markup

    return {
        name: [Markup(one) for one in value] if isinstance(value, list) else Markup(value)
        for name, value in drawn.items()
    }
