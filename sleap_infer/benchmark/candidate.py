"""One configuration on its way from a plan to a row of the report."""

from __future__ import annotations

from functools import partial

from attrs import define, field

from sleap_infer.benchmark.plan import Configuration
from sleap_infer.benchmark.protocol import Measured, Setup
from sleap_infer.benchmark.report.schema import ColdStart, Latency, PoseComparison, Row
from sleap_infer.benchmark.report.statistics import Spread, percentile


@define
class Candidate:
    """A configuration and its results so far.

    Attributes:
        configuration: backend, precision and batch size.
        setup: how its predictor is opened.
        notes: notes on its export.
        build_seconds: time of its export and of compilation in the first batches; `None` if nothing is built.
        agreement: comparison with the reference.
        device: device that it ran on.
        repeats: measurements, in order.
        device_mb: GPU memory of each repeat.
        failure: why it was given up; empty if it was not.
    """

    configuration: Configuration
    setup: Setup
    notes: tuple[str, ...] = ()
    build_seconds: float | None = None
    agreement: PoseComparison | None = None
    device: str = ""
    repeats: list[Measured] = field(factory=list)
    device_mb: list[float] = field(factory=list)
    failure: str = ""

    def add_build(self, seconds: float | None) -> None:
        """Add the time of compilation to the time of the export."""
        if seconds is not None:
            self.build_seconds = (self.build_seconds or 0.0) + seconds

    def row(self) -> Row:
        """Return its row of the report, without a rank."""
        item, agreement, repeats = self.configuration, self.agreement, self.repeats
        start = partial(
            Row,
            backend=item.backend,
            precision=item.precision,
            batch_size=item.batch_size,
            device=self.device,
            notes=self.notes,
            agreement=agreement,
            build_seconds=self.build_seconds,
        )
        if self.failure or agreement is None or not repeats:
            return start(status="failed", reason=self.failure or "it was not measured")
        return start(
            status="agrees" if agreement.agrees else "differs",
            reason="" if agreement.agrees else describe_difference(agreement),
            end_to_end_fps=Spread.of([one.n_frames / one.end_to_end_s for one in repeats]),
            forward_ms=Spread.of([1e3 * one.forward_s / one.n_forward for one in repeats]),
            latency_ms=latency(repeats),
            cold_start_s=cold_start(repeats),
            host_mb=_spread([one.host_mb for one in repeats]),
            device_mb=_spread(self.device_mb),
        )


def describe_difference(agreement: PoseComparison) -> str:
    """Return why poses are outside of the tolerance, as text."""
    changed = (
        (agreement.instances_missed, "missed instances"),
        (agreement.instances_surplus, "false-positive instances"),
        (agreement.points_missed, "missed points"),
        (agreement.points_surplus, "false-positive points"),
    )
    counts = [f"{count} {what}" for count, what in changed if count]
    distances = f"largest distance {agreement.max_px:.3g} px, 95 % within {agreement.p95_px:.3g} px"
    return f"{', '.join([distances, *counts])}; tolerance: {agreement.limit}"


def latency(repeats: list[Measured]) -> Latency | None:
    """Return percentiles of each repeat, summarised over the repeats; `None` if single frames were not timed."""
    singles = [one.one_by_one_s for one in repeats if one.one_by_one_s]
    if not singles:
        return None
    p50, p90, p99 = (Spread.of([1e3 * percentile(values, percent) for values in singles]) for percent in (50, 90, 99))
    return Latency(len(singles[0]), p50, p90, p99)


def cold_start(repeats: list[Measured]) -> ColdStart:
    """Return the parts of the cold start, summarised over the repeats."""
    return ColdStart(
        total=Spread.of([one.cold_s for one in repeats]),
        python=Spread.of([one.python_s for one in repeats]),
        imports=Spread.of([one.imports_s for one in repeats]),
        opening=Spread.of([one.opening_s for one in repeats]),
        first_pose=Spread.of([one.first_s for one in repeats]),
    )


def _spread(values: list[float | None] | list[float]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None
