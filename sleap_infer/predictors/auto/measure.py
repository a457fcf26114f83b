"""Compare the poses and the speed of all candidates (backend, precision, batch size) on a calibration clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any, Protocol, Self, TypeAlias, get_args

import attrs
import numpy as np
from attrs import define, field

from sleap_infer.choices import Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import BackendError, SleapInferError
from sleap_infer.model.settings import default_backend
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors.auto.cache import Choice, Tried
from sleap_infer.predictors.auto.clips import Clip
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.auto.result import compare_outputs, describe_unstable, difference
from sleap_infer.predictors.factory import Plan, Runtime
from sleap_infer.reports import reports
from sleap_infer.runners import BackendFacts, BaseInferenceRunner
from sleap_infer.runners.registry import all_facts, find_runner, what_can_run, why_not


class Measurable(Protocol):
    """The part of a predictor that is needed to measure it."""

    runners: tuple[BaseInferenceRunner, ...]

    def stream(self, source: Any) -> Iterator[Outputs]:
        """Predict a source frame by frame."""

    def close(self) -> None:
        """Release the memory of the runners."""

    def __enter__(self) -> Self:
        """Enter the lifetime of the predictor."""

    def __exit__(self, *error: Any) -> None:
        """Close the predictor."""


Make: TypeAlias = Callable[[Runtime], Measurable]
"""Open the models on a runtime."""

ROUNDS = 3
SECONDS_EACH = 0.3
"""Number of rounds, and seconds for each candidate in a round. Candidates take turns."""

SLOW = 0.7
"""Candidates slower than this fraction of the fastest rate are measured once only."""

BATCH_SIZES: Mapping[str, tuple[int, ...]] = {"cpu": (1, 8), "cuda": (1, 8, 16, 32), "mps": (1, 8)}
"""Batch sizes tried besides the default, by kind of device, on the fastest backend."""

SECONDS_FOR_BATCH_SIZES = 60.0
"""Shorter jobs use the default batch size."""

GAIN = 1.05
"""Another batch size is taken if it is faster by this factor."""

EXPORT_S = 15.0
"""Approximate seconds for the export of one trained model to the cache."""

LONGER = 2
"""A choice that skipped slow setups also holds for jobs longer by this factor."""


def choose(plan: Plan, request: Request, make: Make, clip: Clip) -> Choice:
    """Return the fastest candidate with correct poses, measured on a calibration clip.

    The reference for poses is PyTorch in fp32; for exported models, ONNX Runtime.

    Raises:
        SleapInferError: the reference cannot run, or no candidate can run as requested.
    """
    with ExitStack() as opened:
        comparison = _Comparison(plan, request, make, clip, opened)
        comparison.run()
        return comparison.fastest()


def name_of(backend: str | type[BaseInferenceRunner]) -> str:
    """Return the name of a backend that is given by name or as a runner class."""
    return backend if isinstance(backend, str) else backend.backend or backend.__name__


@define
class _Candidate:
    """A backend on which the models were opened."""

    runtime: Runtime
    precision: Precision
    predictor: Measurable
    rates: list[float] = field(factory=list)
    note: str = ""

    @property
    def rate(self) -> float:
        return median(self.rates)

    def row(self, reason: str | None = None) -> Tried:
        rate = self.rate if self.rates else None
        return Tried(name_of(self.runtime.backend), self.precision, self.runtime.batch_size, rate, reason, self.note)


class _Comparison:
    """All candidates of one choice."""

    def __init__(self, plan: Plan, request: Request, make: Make, clip: Clip, opened: ExitStack) -> None:
        self._plan, self._request, self._make, self._clip, self._opened = plan, request, make, clip, opened
        self._backend = default_backend(plan.specs)
        self._facts = _facts_for(request)
        self._fit: list[_Candidate] = []
        self._unfit: list[Tried] = []
        self._holds_up_to: int | None = None
        self._expected: list[Outputs] = []
        self._frames = clip.source
        self._seconds = SECONDS_EACH

    def run(self) -> None:
        """Check and measure every candidate."""
        self._run_reference()
        size = self._request.batch_size or DEFAULT_BATCH_SIZE
        unavailable = self._unavailable()
        for backend, precision in self._candidates():
            reason = unavailable.get(backend) or self._reason_against(backend, precision)
            if reason is None:
                self._try(backend, precision)
            else:
                self._unfit.append(Tried(backend, precision, size, None, reason))
        broken = {name: reason for name, reason in unavailable.items() if name not in self._facts}
        self._unfit += [Tried(name, self._precisions()[0], size, None, reason) for name, reason in broken.items()]
        self._measure_again()
        is_open = self._request.batch_size is None and self._plan.settings.stream.aim == "throughput"
        if is_open and self._fit and self._pays(SECONDS_FOR_BATCH_SIZES):
            self._try_batch_sizes()

    def fastest(self) -> Choice:
        """Return the fastest candidate, and why it was chosen."""
        if not self._fit:
            lines = "; ".join(row.line() for row in self._unfit)
            raise BackendError(f"Nothing here can run these models as asked for: {lines}.")
        ranked = sorted(self._fit, key=lambda candidate: -candidate.rate)
        best, others = ranked[0], [candidate.row() for candidate in ranked[1:]]
        precision = None if self._plan.is_exported else best.precision
        return Choice(
            name_of(best.runtime.backend),
            precision,
            best.runtime.batch_size,
            _why(best, others),
            (best.row(), *others, *self._unfit),
            self._holds_up_to,
        )

    def _run_reference(self) -> None:
        """Run the reference, decide how many frames to measure on, and store its poses."""
        runtime = attrs.evolve(self._request.runtime(self._backend, None), backend_options={})
        reference = self._open(runtime)
        first = self._clip.first(runtime.batch_size)
        list(reference.stream(first))  # warms up
        begin = perf_counter()
        n_first = len(list(reference.stream(first)))
        per_frame = (perf_counter() - begin) / n_first
        n_frames = int(np.clip(1.0 / per_frame, 2 * n_first, len(self._clip.images)))
        self._frames = self._clip.first(n_frames)
        self._expected = list(reference.stream(self._frames))
        candidate = _Candidate(runtime, self._own_precision(), reference)
        self._measure(candidate)
        if self._request.backend in ("auto", self._backend) and candidate.precision in self._precisions():
            self._fit.append(candidate)
        self._per_frame = 1.0 / candidate.rate

    def _candidates(self) -> Iterator[tuple[str, Precision]]:
        done = {(name_of(candidate.runtime.backend), candidate.precision) for candidate in self._fit}
        for backend in sorted(self._facts, key=lambda name: self._facts[name].auto_order):
            for precision in self._precisions():
                if (backend, precision) not in done:
                    yield backend, precision

    def _unavailable(self) -> dict[str, str | None]:
        device = self._request.device
        if self._request.backend == "auto":
            return what_can_run(device)
        return {name_of(self._request.backend): why_not(self._request.backend, device)}

    def _precisions(self) -> tuple[Precision, ...]:
        if self._plan.is_exported:
            return (self._own_precision(),)
        asked = self._request.precision
        if asked == "auto":
            return tuple(precision for precision in get_args(Precision) if precision != "int8")
        return (asked or "fp32",)

    def _own_precision(self) -> Precision:
        facts = self._plan.specs[0].exported
        return facts.precision if facts else "fp32"

    def _reason_against(self, backend: str, precision: Precision) -> str | None:
        """Return why a candidate is not tried; `None` if it is."""
        facts = self._facts[backend]
        if self._plan.is_exported and not facts.runs_exports:
            return "runs trained models, and this is an exported one"
        if precision not in facts.precisions:
            return f"computes in {', '.join(facts.precisions)} only"
        setup = facts.setup_s + (self._seconds_to_export(precision) if facts.runs_exports else 0.0)
        if not setup or self._pays(facts.min_job * setup):
            return None
        return f"not tried: its setup takes about {setup:.0f} s, the whole job {self._seconds_left():.0f} s"

    def _pays(self, seconds: float) -> bool:
        """Return whether the whole job takes longer."""
        if self._seconds_left() > seconds:
            return True
        assert self._clip.n_frames is not None
        self._holds_up_to = LONGER * self._clip.n_frames
        return False

    def _seconds_left(self) -> float:
        """Return how long the job takes with the fastest candidate so far."""
        if self._clip.n_frames is None:
            return float("inf")
        return self._clip.n_frames * min([self._per_frame, *(1.0 / candidate.rate for candidate in self._fit)])

    def _seconds_to_export(self, precision: Precision) -> float:
        if self._plan.is_exported:
            return 0.0
        from sleap_infer.graphs.build import Trained
        from sleap_infer.graphs.cache import find_entry

        plan = self._plan
        models = [Trained(*parts) for parts in zip(plan.paths, plan.specs, plan.settings.stages, strict=True)]
        is_there = all(find_entry(model, dict(plan.options), precision).is_dir() for model in models)
        return 0.0 if is_there else EXPORT_S * len(models)

    def _try(self, backend: str, precision: Precision) -> None:
        named = backend if self._request.backend == "auto" else self._request.backend
        runtime = self._request.runtime(named, None if self._plan.is_exported else precision)
        reports().progress(f"measuring {backend} {precision}")
        try:
            predictor = self._open(runtime)
            found = list(predictor.stream(self._frames))
        except Exception as error:  # a backend from elsewhere may raise anything
            self._unfit.append(Tried(backend, precision, runtime.batch_size, None, _failure(error)))
            return
        candidate = _Candidate(runtime, precision, predictor)
        self._measure(candidate)
        compared = compare_outputs(found, self._expected)
        candidate.note = describe_unstable(compared, precision)
        reason = difference(compared, precision)
        if reason is not None:
            self._unfit.append(candidate.row(reason))
            predictor.close()
            return
        self._fit.append(candidate)

    def _measure(self, candidate: _Candidate) -> None:
        """Measure frames per second of the whole pipeline except decoding."""
        begin, n_frames = perf_counter(), 0
        while True:
            n_frames += sum(1 for _ in candidate.predictor.stream(self._frames))
            elapsed = perf_counter() - begin
            if elapsed > self._seconds:
                candidate.rates.append(n_frames / elapsed)
                return

    def _measure_again(self) -> None:
        for _ in range(ROUNDS - 1):
            best = max((candidate.rate for candidate in self._fit), default=0.0)
            close = [candidate for candidate in self._fit if candidate.rate >= SLOW * best]
            if len(close) < 2:
                return
            for candidate in close:
                self._measure(candidate)

    def _try_batch_sizes(self) -> None:
        best = max(self._fit, key=lambda candidate: candidate.rate)
        if self._facts[name_of(best.runtime.backend)].one_batch_size:
            return
        device = best.predictor.runners[0].device.partition(":")[0]
        for batch_size in BATCH_SIZES.get(device, ()):
            try:
                runtime = attrs.evolve(best.runtime, batch_size=batch_size)
                other = _Candidate(runtime, best.precision, self._open(runtime))
                list(other.predictor.stream(self._frames))
            except Exception as error:
                self._unfit.append(attrs.evolve(best.row(_failure(error)), batch_size=batch_size, rate=None))
                continue
            for _ in range(ROUNDS):
                self._measure(other)
                self._measure(best)
            if other.rate > GAIN * best.rate:
                best = other
                self._fit.append(other)
            else:
                other.predictor.close()

    def _open(self, runtime: Runtime) -> Measurable:
        return self._opened.enter_context(self._make(runtime))


def _facts_for(request: Request) -> dict[str, BackendFacts]:
    if request.backend == "auto":
        return all_facts()
    return {name_of(request.backend): find_runner(request.backend).facts}


def _failure(error: Exception) -> str:
    known = isinstance(error, (SleapInferError, RuntimeError, MemoryError))
    return f"does not run: {error if known else f'{type(error).__name__}: {error}'}"


def _why(best: _Candidate, others: Sequence[Tried]) -> str:
    rate = f"{best.rate:.1f} frames/s"
    rival = next((row for row in others if row.backend != name_of(best.runtime.backend)), None)
    if rival is not None and rival.rate:
        return f"{rate}, {best.rate / rival.rate:.2f} times as fast as {rival.backend}"
    return f"{rate}, the only one that was measured" if not others else rate
