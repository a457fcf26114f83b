"""The candidates for running a pipeline's networks, judged and measured on a clip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias, get_args

import attrs
import numpy as np
from attrs import define, field

from sleap_infer.choices import GRAPH_BACKENDS, Backend, Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import BackendError, SleapInferError
from sleap_infer.model.settings import default_backend
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors.auto.cache import Choice, Tried
from sleap_infer.predictors.auto.clips import Clip
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.auto.result import difference
from sleap_infer.predictors.factory import Plan, Runtime
from sleap_infer.runners.registry import what_can_run

if TYPE_CHECKING:
    from sleap_infer.predictors.steps import Steps

    Make: TypeAlias = Callable[[Runtime], Steps]
    """Opens the models on a runtime."""

ROUNDS = 3
SECONDS_EACH = 0.3
"""Each candidate is measured this often, for this long, in turn with the others."""

HOPELESS = 0.7
"""Below this share of the fastest rate, one round is enough."""

BATCH_SIZES: Mapping[str, tuple[int, ...]] = {"cpu": (1, 8), "cuda": (1, 8, 16, 32), "mps": (1, 8)}
"""What is tried besides the default on each kind of device, with the fastest backend."""

SECONDS_FOR_BATCH_SIZES = 60.0
"""Shorter jobs take the default."""

GAIN = 1.05
"""Another batch size has to be faster by this factor."""

SECONDS_TO_MAKE: Mapping[Backend, float] = {"onnx": 15.0, "openvino": 15.0, "tensorrt": 90.0, "torch_compile": 60.0}
"""About how long a backend takes before its first frame, where nothing was kept from earlier."""

PAYS: Mapping[Backend, float] = {"onnx": 2.0, "openvino": 2.0, "tensorrt": 2.0, "torch_compile": 5.0}
"""A job has to last so many times longer than that. Compiling for a processor gains least."""

LONGER = 2
"""A choice that left something out for that reason also holds for jobs so many times longer."""

logger = logging.getLogger(__name__)


def choose(plan: Plan, request: Request, make: Make, clip: Clip) -> Choice:
    """Measure what can run the models on a clip, and take the fastest whose poses are right.

    What is right is what PyTorch gives in 32-bit floats; for exported models, what ONNX Runtime gives.

    Raises:
        SleapInferError: the reference cannot run, or nothing can as asked for.
    """
    with ExitStack() as opened:
        trials = _Trials(plan, request, make, clip, opened)
        trials.run()
        return trials.conclude()


@define
class _Trial:
    """One candidate that runs."""

    runtime: Runtime
    precision: Precision
    predictor: Steps
    rates: list[float] = field(factory=list)

    @property
    def rate(self) -> float:
        return median(self.rates)

    def row(self, reason: str | None = None) -> Tried:
        rate = self.rate if self.rates else None
        return Tried(self.runtime.backend, self.precision, self.runtime.batch_size, rate, reason)


class _Trials:
    """All candidates of one choice."""

    def __init__(self, plan: Plan, request: Request, make: Make, clip: Clip, opened: ExitStack) -> None:
        self._plan, self._request, self._make, self._clip, self._opened = plan, request, make, clip, opened
        self._backend = default_backend(plan.specs)
        self._there = what_can_run(request.device)
        self._fit: list[_Trial] = []
        self._unfit: list[Tried] = []
        self._holds_up_to: int | None = None
        self._expected: list[Outputs] = []
        self._frames = clip.source
        self._seconds = SECONDS_EACH

    def run(self) -> None:
        """Judge and measure every candidate."""
        self._start()
        for backend, precision in self._candidates():
            reason = self._reason_against(backend, precision)
            if reason is not None:
                self._unfit.append(
                    Tried(backend, precision, self._request.batch_size or DEFAULT_BATCH_SIZE, None, reason)
                )
                continue
            self._try(backend, precision)
        self._measure_again()
        is_open = self._request.batch_size is None and self._plan.settings.stream.aim == "throughput"
        if is_open and self._fit and self._pays(SECONDS_FOR_BATCH_SIZES):
            self._try_batch_sizes()

    def conclude(self) -> Choice:
        """The fastest."""
        if not self._fit:
            lines = "; ".join(row.line() for row in self._unfit)
            raise BackendError(f"Nothing here can run these models as asked for: {lines}.")
        ranked = sorted(self._fit, key=lambda trial: -trial.rate)
        best, others = ranked[0], [trial.row() for trial in ranked[1:]]
        precision = None if self._plan.is_exported else best.precision
        return Choice(
            best.runtime.backend,
            precision,
            best.runtime.batch_size,
            _why(best, others, self._unfit),
            (best.row(), *others, *self._unfit),
            self._holds_up_to,
        )

    def _start(self) -> None:
        """Run the reference, see how many frames there is time for, and keep its poses."""
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
        trial = _Trial(runtime, self._own_precision(), reference)
        self._measure(trial)
        if self._request.backend in ("auto", self._backend) and trial.precision in self._precisions():
            self._fit.append(trial)
        self._per_frame = 1.0 / trial.rate

    def _candidates(self) -> Iterator[tuple[Backend, Precision]]:
        order: Sequence[Backend] = ("onnx", "openvino", "tensorrt", "torch", "torch_compile")
        done = {(trial.runtime.backend, trial.precision) for trial in self._fit}
        for backend in order:
            for precision in self._precisions():
                if self._request.backend in ("auto", backend) and (backend, precision) not in done:
                    yield backend, precision

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

    def _reason_against(self, backend: Backend, precision: Precision) -> str | None:
        """Why a candidate is not tried."""
        reason = self._there[backend]
        if reason is not None:
            return reason
        if self._plan.is_exported and backend not in GRAPH_BACKENDS:
            return "runs trained models, and this is an exported one"
        cost = self._seconds_to_make(backend, precision)
        if not cost or self._pays(PAYS[backend] * cost):
            return None
        return f"not tried: making it ready takes about {cost:.0f} s, the whole job {self._seconds_left():.0f} s"

    def _pays(self, seconds: float) -> bool:
        """Whether the whole job takes longer than that."""
        if self._seconds_left() > seconds:
            return True
        assert self._clip.n_frames is not None
        self._holds_up_to = LONGER * self._clip.n_frames
        return False

    def _seconds_left(self) -> float:
        """How long the job takes with the fastest so far."""
        if self._clip.n_frames is None:
            return float("inf")
        return self._clip.n_frames * min([self._per_frame, *(1.0 / trial.rate for trial in self._fit)])

    def _seconds_to_make(self, backend: Backend, precision: Precision) -> float:
        if backend not in GRAPH_BACKENDS or backend == "tensorrt" or self._plan.is_exported:
            return 0.0 if backend in ("torch", "onnx", "openvino") else SECONDS_TO_MAKE[backend]
        from sleap_infer.graphs.build import Trained
        from sleap_infer.graphs.cache import find_entry

        plan = self._plan
        models = [Trained(*parts) for parts in zip(plan.paths, plan.specs, plan.settings.stages, strict=True)]
        is_there = all(find_entry(model, dict(plan.options), precision).is_dir() for model in models)
        return 0.0 if is_there else SECONDS_TO_MAKE[backend] * len(models)

    def _try(self, backend: Backend, precision: Precision) -> None:
        asked = None if self._plan.is_exported else precision
        runtime = self._request.runtime(backend, asked)
        logger.info("measuring %s %s", backend, precision)
        try:
            predictor = self._open(runtime)
            found = list(predictor.stream(self._frames))
        except (SleapInferError, RuntimeError, MemoryError) as error:
            self._unfit.append(Tried(backend, precision, runtime.batch_size, None, f"does not run: {error}"))
            return
        trial = _Trial(runtime, precision, predictor)
        self._measure(trial)
        reason = difference(found, self._expected, precision)
        if reason is not None:
            self._unfit.append(trial.row(reason))
            predictor.close()
            return
        self._fit.append(trial)

    def _measure(self, trial: _Trial) -> None:
        """Frames per second of the whole pipeline but for decoding."""
        begin, n_frames = perf_counter(), 0
        while True:
            n_frames += sum(1 for _ in trial.predictor.stream(self._frames))
            elapsed = perf_counter() - begin
            if elapsed > self._seconds:
                trial.rates.append(n_frames / elapsed)
                return

    def _measure_again(self) -> None:
        for _ in range(ROUNDS - 1):
            best = max((trial.rate for trial in self._fit), default=0.0)
            close = [trial for trial in self._fit if trial.rate >= HOPELESS * best]
            if len(close) < 2:
                return
            for trial in close:
                self._measure(trial)

    def _try_batch_sizes(self) -> None:
        best = max(self._fit, key=lambda trial: trial.rate)
        device = best.predictor.runners[0].device.partition(":")[0]
        if best.runtime.backend == "torch_compile":  # each size would be compiled for
            return
        for batch_size in BATCH_SIZES.get(device, ()):
            try:
                runtime = attrs.evolve(best.runtime, batch_size=batch_size)
                other = _Trial(runtime, best.precision, self._open(runtime))
                list(other.predictor.stream(self._frames))
            except (SleapInferError, RuntimeError, MemoryError) as error:
                self._unfit.append(Tried(runtime.backend, best.precision, batch_size, None, f"does not run: {error}"))
                continue
            for _ in range(ROUNDS):
                self._measure(other)
                self._measure(best)
            if other.rate > GAIN * best.rate:
                best = other
                self._fit.append(other)
            else:
                other.predictor.close()

    def _open(self, runtime: Runtime) -> Steps:
        return self._opened.enter_context(self._make(runtime))


def _why(best: _Trial, others: Sequence[Tried], unfit: Sequence[Tried]) -> str:
    rate = f"{best.rate:.1f} frames/s"
    rival = next((row for row in others if row.backend != best.runtime.backend), None)
    if rival is not None and rival.rate:
        return f"{rate}, {best.rate / rival.rate:.2f} times as fast as {rival.backend}"
    return f"{rate}, the only one that was measured" if not others else rate
