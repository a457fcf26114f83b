"""Runs a job on workers: processes of this machine, none at all, or those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from sleap_infer.choices import Engine
from sleap_infer.errors import DeviceError, OptionError
from sleap_infer.jobs.events import JobOptions, Listener, TaskReport
from sleap_infer.jobs.plan.tasks import Models, Task
from sleap_infer.jobs.run.scheduler import Job, Place
from sleap_infer.jobs.run.worker_handle import InThisProcess, WorkerProcess
from sleap_infer.system.machine import available_cores, core_affinity


def run_job(
    models: Models,
    tasks: Sequence[Task],
    options: JobOptions | None = None,
    listen: Listener = lambda event: None,
    n_workers: int = 1,
    engine: Engine = "local",
    address: str | None = None,
) -> list[TaskReport]:
    """Predict tasks, and write their files.

    Args:
        models: what predicts.
        tasks: what of; see `find_tasks`.
        options: how.
        listen: takes what happens: `Begun`, `Progress`, `Note` and a `TaskReport` of `jobs.events` for each task.
        n_workers: processes that share the work; 0 for none but this one.
        engine: where they run.
        address: of a Ray cluster; without one, Ray starts one here.

    Returns:
        What became of each task, in order.

    Raises:
        SleapInferError: the job cannot go on. What was predicted is in the journals, and the same job goes on there.
    """
    asked = options or JobOptions()
    if engine == "ray":
        from sleap_infer.jobs.cluster.ray import ray_workers

        with ray_workers(max(n_workers, 1), models.device, address) as workers:
            return Job(models, tasks, asked, listen).run(workers)
    if n_workers == 0:
        return Job(models, tasks, asked, listen).run([InThisProcess()])
    places = share_out(n_workers, models.device)
    with ExitStack() as stack:
        processes = [stack.enter_context(WorkerProcess()) for _ in places]
        for process in processes:
            process.start()  # it gets ready while the job is prepared
        return Job(models, tasks, asked, listen).run(processes, places)


def share_out(n_workers: int, device: str) -> list[Place]:
    """Return where each worker runs: several devices in turn, at least one worker each; else a part of the cores.

    Raises:
        DeviceError: a device is missing, or named twice.
        OptionError: there are more workers than cores.

    >>> [place.device for place in share_out(3, "cuda:0,1")]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> [place.device for place in share_out(1, "cuda:0,1")]
    ['cuda:0', 'cuda:1']
    """
    devices = split_devices(device)
    if len(devices) > 1:
        return [Place(devices[number % len(devices)]) for number in range(max(n_workers, len(devices)))]
    if n_workers == 1:
        return [Place(device)]
    cores = core_affinity()
    if cores is None:
        return [Place(device)] * n_workers
    if n_workers > available_cores():
        raise OptionError(
            f"--workers {n_workers}: only {available_cores()} processor cores may be used here. Give at most so many."
        )
    return [Place(device, cores[number::n_workers]) for number in range(n_workers)]


def split_devices(text: str) -> list[str]:
    """Return the names of single devices; a number alone is of the kind before it.

    Raises:
        DeviceError: a name is missing, or one device is named twice.

    >>> split_devices("cuda:0,1"), split_devices("auto")
    (['cuda:0', 'cuda:1'], ['auto'])
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        names.append(f"{names[-1].partition(':')[0]}:{part}" if part.isdigit() and names else part)
    twice = {name for name in names if names.count(name) > 1 and name != "cpu"}
    if twice or (len(names) > 1 and "" in names):
        raise DeviceError(f"Devices {text!r}: expected different ones, such as cuda:0,1.")
    return names
