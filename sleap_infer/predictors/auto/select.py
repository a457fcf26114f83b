"""Select backend, precision and batch size: as requested, as measured earlier, or the fastest correct one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from sleap_infer.errors import BackendError
from sleap_infer.model.settings import default_backend
from sleap_infer.predictors.auto.cache import Choice, key_of, load, save
from sleap_infer.predictors.auto.clips import Clip, read_clip
from sleap_infer.predictors.auto.measure import Measurable, choose, name_of
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.factory import Plan, Runtime
from sleap_infer.reports import Fallback, reports
from sleap_infer.runners import find_runner

Opened = TypeVar("Opened", bound=Measurable)


def open_on_best(
    plan: Plan, request: Request, make: Callable[[Runtime], Opened], clip: Any = None
) -> tuple[Opened, Choice | None]:
    """Open models on the requested backend, or on the fastest one.

    Args:
        plan: the models.
        request: backend, device, precision and batch size, some of which may be open.
        make: opens the models on a runtime.
        clip: source of a calibration clip; without one, an earlier measurement is used, or else the default.

    Returns:
        The result of `make`, and how the backend was chosen; `None` if nothing was open.

    Raises:
        SleapInferError: no backend can run the models here as requested.
    """
    if request.batch_size is not None:
        request.runtime("torch", None)  # checks it
    if request.backend == "auto" and request.backend_options:  # they are of one backend
        request = attrs.evolve(request, backend=default_backend(plan.specs))
    if request.backend != "auto" and request.precision != "auto":
        find_runner(request.backend)  # checks it
        return make(request.runtime(request.backend, request.precision)), None
    frames = clip if clip is None or isinstance(clip, Clip) else read_clip(clip)
    remember = isinstance(request.backend, str) and (frames is None or frames.remember)
    key = key_of(plan, request) if remember else ""
    known = load(key, frames.size if frames else None) if remember else None
    gone: BackendError | None = None
    if known is not None and (frames is None or known.holds_for(frames.n_frames)):
        try:
            return make(_runtime(request, known)), known
        except BackendError as error:
            gone = error
    choice = _default(plan, request) if frames is None else choose(plan, request, make, frames)
    if known is not None and gone is not None:
        fallback = Fallback("backend", known.backend, choice.backend, f"It was chosen before and does not run: {gone}")
        reports().fall_back(fallback, f"{known.backend} was chosen before and does not run now ({gone})")
    if remember and frames is not None:
        save(key, frames.size, choice)
    return make(_runtime(request, choice)), choice


def _runtime(request: Request, choice: Choice) -> Runtime:
    backend = choice.backend if request.backend == "auto" else request.backend
    return request.runtime(backend, choice.precision, choice.batch_size)


def _default(plan: Plan, request: Request) -> Choice:
    """Return the choice if nothing was measured."""
    backend = default_backend(plan.specs) if request.backend == "auto" else name_of(request.backend)
    precision = None if request.precision == "auto" else request.precision
    size = request.runtime(backend, precision).batch_size
    return Choice(backend, precision, size, "the default: nothing was measured for these models here")
