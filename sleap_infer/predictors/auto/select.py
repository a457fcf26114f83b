"""Which backend, precision and batch size: what was asked for, what was found before, or the fastest that is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from sleap_infer.errors import BackendError
from sleap_infer.model.settings import default_backend
from sleap_infer.predictors.auto.cache import Choice, keep, key_of, recall
from sleap_infer.predictors.auto.clips import Clip, read_clip
from sleap_infer.predictors.auto.measure import choose, name_of
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.factory import Plan, Runtime
from sleap_infer.reports import Fallback, reports
from sleap_infer.runners import find_runner

if TYPE_CHECKING:
    from sleap_infer.predictors.steps import Steps

Opened = TypeVar("Opened", bound="Steps")


def open_on_best(
    plan: Plan, request: Request, make: Callable[[Runtime], Opened], clip: Any = None
) -> tuple[Opened, Choice | None]:
    """Open models on what was asked for, or else on what is fastest.

    Args:
        plan: the models.
        request: what is given and what is left open.
        make: opens them.
        clip: source to measure on; without one, what was measured before counts, or else the default is taken.

    Returns:
        What `make` returned, and how its backend was chosen; `None` if everything was given.

    Raises:
        SleapInferError: nothing can run the models here, or not as asked for.
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
    known = recall(key, frames.size if frames else None) if remember else None
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
        keep(key, frames.size, choice)
    return make(_runtime(request, choice)), choice


def _runtime(request: Request, choice: Choice) -> Runtime:
    backend = choice.backend if request.backend == "auto" else request.backend
    return request.runtime(backend, choice.precision, choice.batch_size)


def _default(plan: Plan, request: Request) -> Choice:
    """What is taken where nothing was ever measured."""
    backend = default_backend(plan.specs) if request.backend == "auto" else name_of(request.backend)
    precision = None if request.precision == "auto" else request.precision
    size = request.runtime(backend, precision).batch_size
    return Choice(backend, precision, size, "the default: nothing was measured for these models here")
