"""A real Ray cluster on this machine, one of whose workers is killed in the middle of the job."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import assert_same, task_in

from sleap_infer.jobs import JobOptions, Models, run_job
from sleap_infer.jobs.events import Progress

pytest.importorskip("ray", reason="NO RAY")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two processor cores, which the jobs of this module find."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


def workers_of_ray() -> list[int]:
    """Processes that run a task of Ray's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::_do"):
            found.append(int(path.parent.name))
    return found


def test_a_worker_that_is_killed(cluster: None, graph: Path, videos: Path, tmp_path: Path) -> None:
    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name) for name in ("whole", "killed"))
    models = Models((str(graph),), {}, "onnx", "cpu", None, 4)
    run_job(models, [whole], JobOptions(chunk=4), n_workers=0)
    killed: list[int] = []

    def listen(event: Any) -> None:
        if isinstance(event, Progress) and not killed:
            killed.extend(workers_of_ray()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    (report,) = run_job(models, [task], JobOptions(chunk=4), listen, n_workers=2, engine="ray")
    assert killed
    assert (report.outcome, report.n_frames, report.n_failed) == ("written", 100, 0)
    assert_same(task.output, whole.output)


def test_an_error_comes_back_as_it_is(cluster: None, graph: Path, videos: Path, tmp_path: Path) -> None:
    from sleap_infer.errors import ModelNotFoundError, OptionError

    task = task_in(tmp_path, videos / "two_flies.mp4")
    with pytest.raises(OptionError, match="threads"):
        run_job(
            Models((str(graph),), {}, "onnx", "cpu", None, 4, {"intra_op_num_threads": "threads"}),
            [task],
            JobOptions(),
            n_workers=1,
            engine="ray",
        )
    with pytest.raises(ModelNotFoundError):
        run_job(Models(("nowhere",)), [task], JobOptions(), n_workers=1, engine="ray")
