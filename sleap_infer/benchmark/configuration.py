"""One configuration on its way from a plan to a row of the report."""

from __future__ import annotations

from functools import partial

from attrs import define, field

from sleap_infer.benchmark.plan import Configuration
from sleap_infer.benchmark.protocol import Measured, Setup
from sleap_infer.benchmark.report.schema import Agreement, ColdStart, Latency, Row
from sleap_infer.benchmark.report.statistics import Spread, percentile


@define
class Trial:
    """One configuration, and what is known of it so far.

    Attributes:
        configuration: what it is.
        setup: how it is opened.
        notes: what there is to know of its export.
        build_seconds: of its export, and of what its first batches made; `None` where nothing is made.
        agreement: with the reference.
        device: that it ran on.
        repeats: what was measured, in order.
        device_mb: that each repeat took on its GPU.
        failure: why it was given up.
    """

    configuration: Configuration
    setup: Setup
    notes: tuple[str, ...] = ()
    build_seconds: float | None = None
    agreement: Agreement | None = None
    device: str = ""
    repeats: list[Measured] = field(factory=list)
    device_mb: list[float] = field(factory=list)
    failure: str = ""

    def add_build(self, seconds: float | None) -> None:
        """Add what its first batches made to the time of its export."""
        if seconds is not None:
            self.build_seconds = (self.build_seconds or 0.0) + seconds

    def row(self) -> Row:
        """Its row in the report, without a rank."""
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


def describe_difference(agreement: Agreement) -> str:
    """Why poses do not agree, in words."""
    changed = (
        (agreement.instances_missed, "instances missed"),
        (agreement.instances_surplus, "instances surplus"),
        (agreement.points_missed, "points missed"),
        (agreement.points_surplus, "points surplus"),
    )
    words = [f"{count} {what}" for count, what in changed if count]
    distances = f"largest distance {agreement.max_px:.3g} px, 95 % within {agreement.p95_px:.3g} px"
    return f"{', '.join([distances, *words])}; asked for: {agreement.limit}"


def latency(repeats: list[Measured]) -> Latency | None:
    """Percentiles of each repeat, spread over the repeats; `None` where single frames were not timed."""
    singles = [one.one_by_one_s for one in repeats if one.one_by_one_s]
    if not singles:
        return None
    p50, p90, p99 = (Spread.of([1e3 * percentile(values, share) for values in singles]) for share in (50, 90, 99))
    return Latency(len(singles[0]), p50, p90, p99)


def cold_start(repeats: list[Measured]) -> ColdStart:
    """Parts of the cold start, spread over the repeats."""
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
