"""Which backend, precision and batch size: the fastest whose poses are right, as measured on a clip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import attrs
import numpy as np
from attrs import define, field, frozen

from sleap_infer.choices import GRAPH_BACKENDS, Backend, Precision, PrecisionChoice
from sleap_infer.errors import BackendError, SleapInferError
from sleap_infer.graph_options import DEFAULT_BUDGET_PX, MAX_CHANGED, MAX_ERROR_PX
from sleap_infer.ops.agreement import compare_poses
from sleap_infer.options import DEFAULT_BATCH_SIZE
from sleap_infer.outputs import Outputs
from sleap_infer.predictors.choice import Choice, Tried, keep, key_of, recall
from sleap_infer.predictors.clips import Clip, read_clip
from sleap_infer.predictors.opening import Plan, Runtime
from sleap_infer.runners import find_runner
from sleap_infer.runners.registry import what_can_run
from sleap_infer.settings import default_backend

if TYPE_CHECKING:
    from sleap_infer.predictors.base import Predictor

    Make: TypeAlias = Callable[[Runtime], Predictor]
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

REACH_PX = 20.0
"""Instances whose points are on average farther apart are not the same."""

SECONDS_TO_MAKE: Mapping[Backend, float] = {"onnx": 15.0, "openvino": 15.0, "tensorrt": 90.0, "torch_compile": 60.0}
"""About how long a backend takes before its first frame, where nothing was kept from earlier."""

PAYS: Mapping[Backend, float] = {"onnx": 2.0, "openvino": 2.0, "tensorrt": 2.0, "torch_compile": 5.0}
"""A job has to last so many times longer than that. Compiling for a processor gains least."""

LONGER = 2
"""A choice that left something out for that reason also holds for jobs so many times longer."""

logger = logging.getLogger(__name__)


@frozen
class Request:
    """What a user asked for; `"auto"` and `None` leave it open."""

    backend: str = "auto"
    device: str = "auto"
    precision: PrecisionChoice | None = None
    batch_size: int | None = None
    backend_options: Mapping[str, Any] = field(factory=dict)

    def runtime(self, backend: Backend, precision: Precision | None, batch_size: int | None = None) -> Runtime:
        """What the request becomes with what it left open."""
        sizes = (batch_size, self.batch_size, DEFAULT_BATCH_SIZE)
        size = next(size for size in sizes if size is not None)
        return Runtime(backend, self.device, precision, size, self.backend_options)


def make_on_best(plan: Plan, request: Request, make: Make, clip: Any = None) -> Predictor:
    """Open models on what was asked for, or else on what is fastest.

    Args:
        plan: the models.
        request: what is given and what is left open.
        make: opens them.
        clip: source to measure on; without one, what was measured before counts, or else the default is taken.

    Raises:
        SleapInferError: nothing can run the models here, or not as asked for.
    """
    if request.batch_size is not None:
        request.runtime("torch", None)  # checks it
    if request.backend == "auto" and request.backend_options:  # they are of one backend
        request = attrs.evolve(request, backend=default_backend(plan.specs))
    if request.backend != "auto" and request.precision != "auto":
        backend = find_runner(request.backend).backend
        assert backend is not None
        return make(request.runtime(backend, request.precision))
    frames = clip if clip is None or isinstance(clip, Clip) else read_clip(clip)
    remember = frames is None or frames.remember
    key = key_of(plan, request) if remember else ""
    known = recall(key, frames.size if frames else None) if remember else None
    if known is not None and (frames is None or known.holds_for(frames.n_frames)):
        try:
            return _with(make(request.runtime(known.backend, known.precision, known.batch_size)), known)
        except BackendError as error:
            logger.warning("%s was chosen before and does not run now (%s)", known.backend, error)
    choice = _default(plan, request) if frames is None else choose(plan, request, make, frames)
    if remember and frames is not None:
        keep(key, frames.size, choice)
    return _with(make(request.runtime(choice.backend, choice.precision, choice.batch_size)), choice)


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
    predictor: Predictor
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
        from sleap_infer.graphs.cache import find_entry
        from sleap_infer.graphs.making import Trained

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

    def _open(self, runtime: Runtime) -> Predictor:
        return self._opened.enter_context(self._make(runtime))


def difference(found: Sequence[Outputs], expected: Sequence[Outputs], precision: Precision) -> str | None:
    """How poses are not those of the reference, in words; `None` if they are.

    In 32-bit floats every point is to be within `MAX_ERROR_PX`; else 95 % within `DEFAULT_BUDGET_PX`, and no more
    than a share of `MAX_CHANGED` of the instances lost or gained.
    """
    pairs = [compare_poses(_points(a), _points(b), REACH_PX) for a, b in zip(found, expected, strict=True)]
    distances = np.concatenate([np.zeros(1, np.float32), *(pair.distances for pair in pairs)])
    changed = sum(pair.n_expected - pair.n_matched + pair.n_surplus for pair in pairs)
    share = changed / max(sum(pair.n_expected for pair in pairs), 1)
    worst = float(distances.max() if precision == "fp32" else np.percentile(distances, 95))
    budget, allowed = (MAX_ERROR_PX, 0.0) if precision == "fp32" else (DEFAULT_BUDGET_PX, MAX_CHANGED)
    if share > allowed:
        return f"its poses differ: {changed} instances lost or gained"
    return f"its poses differ by {worst:.2g} px, more than {budget:g}" if worst > budget else None


def _points(outputs: Outputs) -> Any:
    points = outputs.pred_keypoints
    if points is None:
        points = np.zeros((0, 1, 2)) if outputs.pred_centroids is None else np.asarray(outputs.pred_centroids)[:, None]
    return np.asarray(points)[outputs.present()]


def _default(plan: Plan, request: Request) -> Choice:
    """What is taken where nothing was ever measured."""
    backend = default_backend(plan.specs)
    if request.backend != "auto":
        named = find_runner(request.backend).backend
        assert named is not None
        backend = named
    precision = None if request.precision == "auto" else request.precision
    size = request.runtime(backend, precision).batch_size
    return Choice(backend, precision, size, "the default: nothing was measured for these models here")


def _why(best: _Trial, others: Sequence[Tried], unfit: Sequence[Tried]) -> str:
    rate = f"{best.rate:.1f} frames/s"
    rival = next((row for row in others if row.backend != best.runtime.backend), None)
    if rival is not None and rival.rate:
        return f"{rate}, {best.rate / rival.rate:.2f} times as fast as {rival.backend}"
    return f"{rate}, the only one that was measured" if not others else rate


def _with(predictor: Predictor, choice: Choice) -> Predictor:
    predictor.choice = choice
    return predictor
