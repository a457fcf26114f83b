"""Workers on a Ray cluster. Ray decides where they run and on which GPU, and restarts those that die.

The journals must be on a file system that all nodes can access.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from sleap_infer.errors import BackendNotInstalledError, SleapInferError, WorkerError
from sleap_infer.jobs.run.protocol import Ahead, Answer, Done, Look, Looked, Open, Opened, Request, Run
from sleap_infer.jobs.run.worker_handle import Crash, WorkerProcess
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import missing_between, union, within
from sleap_infer.runners.profile import STAGES
from sleap_infer.system.machine import CORES_VARIABLE
from sleap_infer.system.runtimes import import_runtime, install_command
from sleap_infer.tuning import tune_process

RETRIES = 2
"""Number of times that Ray repeats a range whose process died; after that, frames are run one by one."""

KILLED = -9

_sessions: dict[str, Any] = {}
"""Models that a process of the cluster has loaded; Ray reuses processes for later ranges."""


@contextmanager
def ray_workers(n_workers: int, device: str, address: str | None) -> Iterator[list[RayWorker]]:
    """Yield workers on a Ray cluster.

    Args:
        n_workers: number of ranges that are processed at the same time.
        device: of the models; each worker gets a GPU if the cluster has some, unless it is `"cpu"`.
        address: of the cluster; without one, Ray starts one on this machine.

    Raises:
        BackendNotInstalledError: Ray is not installed.
        WorkerError: the cluster cannot be reached.
    """
    try:
        ray = import_runtime("ray")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"--engine ray needs Ray, which is not installed. Install it with: {install_command('ray')}"
        ) from error
    begun = not ray.is_initialized()
    if begun:
        try:
            own = {} if address else {"include_dashboard": False}
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise WorkerError(f"The Ray cluster at {address} cannot be reached: {error}") from error
    try:
        resources = ray.cluster_resources()
        n_gpus = 1 if device != "cpu" and resources.get("GPU") else 0
        n_cpus = max(int(resources.get("CPU", 1)) // n_workers, 1)
        task = ray.remote(num_cpus=n_cpus, num_gpus=n_gpus, max_retries=RETRIES)(_do)
        yield [RayWorker(task, n_cpus) for _ in range(n_workers)]
    finally:
        if begun:
            ray.shutdown()


class RayWorker:
    """The interface of a worker process, with a process that Ray selects.

    Args:
        task: `_do` as a remote function of Ray.
        n_cpus: CPU cores of each.
    """

    def __init__(self, task: Any, n_cpus: int) -> None:
        self._task, self._n_cpus = task, n_cpus
        self._opening: Open | None = None
        self._looker = WorkerProcess()

    def ask(self, request: Request, tell: Callable[[Answer], None]) -> None:
        """Send a task and wait; `tell` is called with all answers when it is done.

        Raises:
            SleapInferError: it cannot be done.
            Crash: the process died, each time that Ray tried.
        """
        ray = import_runtime("ray")
        if isinstance(request, Open):
            self._opening = request
        assert self._opening is not None
        run = request if isinstance(request, Run) else None
        try:
            found = ray.get(self._task.remote(self._opening, run, self._n_cpus))
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, SleapInferError) else WorkerError(str(cause)) from error
        except ray.exceptions.OutOfMemoryError as error:
            raise Crash(KILLED, f" ({error})") from error
        except ray.exceptions.RayError as error:
            raise Crash(1, f" ({type(error).__name__}: {str(error).splitlines()[0]})") from error
        for answer in found:
            tell(answer)
        if isinstance(request, Open):  # the backend is chosen; other workers use the same
            opened = next(answer for answer in found if isinstance(answer, Opened))
            models = attrs.evolve(
                request.models, backend=opened.facts["backend"], batch_size=opened.facts["batch_size"]
            )
            self._opening = attrs.evolve(request, models=models, clip=None) if models.precision is None else request

    def look(self, request: Look, tell: Callable[[Answer], None]) -> Looked:
        """Describe a source in a process of this machine, which leads the job.

        Raises:
            SourceError: it cannot be read.
            Crash: the process is gone.
        """
        return self._looker.look(request, tell)

    def stop(self) -> None:
        """End the process that describes sources here; Ray manages its own."""
        self._looker.stop()


def _do(opening: Open, run: Run | None, n_cpus: int) -> list[Answer]:
    """Load the models, if they are not, and predict what is missing of a range, in a process of the cluster."""
    tune_process()
    os.environ[CORES_VARIABLE] = str(n_cpus)
    from sleap_infer.jobs.run.worker_session import Session

    answers: list[Answer] = []

    def tell(answer: Answer) -> None:
        if not isinstance(answer, Ahead):  # answers arrive at the end, too late for progress
            answers.append(answer)

    key = repr(opening)
    if key not in _sessions:
        for session in _sessions.values():
            session.close()
        _sessions.clear()
        _sessions[key] = Session(opening, tell)
    if run is None:
        return answers or [_sessions[key].opened]
    own = attrs.evolve(run, shard=f"ray-{run.part:06d}-{run.places.start:09d}")
    with Journal.open(run.task.journal).result_file(own.shard) as results:
        there = union(places for part, places in results.ranges() if part == run.part)
    for gap in within(missing_between(there, None), run.places):
        _sessions[key].run(attrs.evolve(own, places=gap), tell)
    return [*(answer for answer in answers if not isinstance(answer, Done)), _sum(answers)]


def _sum(answers: list[Answer]) -> Done:
    parts = [answer.seconds for answer in answers if isinstance(answer, Done)]
    return Done({stage: sum(part[stage] for part in parts) for stage in STAGES})
