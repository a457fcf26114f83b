"""kill -9 at any moment, a full disk, many workers, shares: the result is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from jobs import assert_same, onnx, task_in

from sleap_infer.errors import JobError, OutputError
from sleap_infer.jobs import JobOptions, Task, run_job
from sleap_infer.jobs.run.worker_handle import WorkerProcess
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.write.merge import find_journals, merge_journals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")

COMMAND = """
import json, sys
from pathlib import Path
from sleap_infer.jobs import JobOptions, Models, Task, run_job
facts = json.loads(sys.argv[1])
task = Task(tuple(facts["sources"]), Path(facts["output"]))
models = Models(tuple(facts["models"]), {}, "onnx", "cpu", None, 4)
run_job(models, [task], JobOptions(chunk=4), lambda event: print("event", flush=True), n_workers=facts["workers"])
"""


def start(task: Task, graph: Path, n_workers: int = 0) -> subprocess.Popen[str]:
    facts = {"sources": task.sources, "output": str(task.output), "models": [str(graph)], "workers": n_workers}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, json.dumps(facts)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


SERVER = """
import importlib, json, os, sys
from pathlib import Path
from sleap_infer.jobs import JobOptions, Models, Task, run_job

def run(facts):
    task = Task(tuple(facts["sources"]), Path(facts["output"]))
    models = Models(tuple(facts["models"]), {}, "onnx", "cpu", None, 4)
    report = lambda event: os.write(1, b"event\\n")
    run_job(models, [task], JobOptions(chunk=4), report, n_workers=facts["workers"])
    Path(facts["imported"]).write_text(json.dumps([name for name in sys.modules if name != "__main__"]))

for line in sys.stdin:
    facts = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(facts)
            code = 0
        finally:
            os._exit(code)
    os.write(1, b"%d\\n" % child)
    os.write(1, b"end %d\\n" % os.waitpid(child, 0)[1])
    if Path(facts["imported"]).exists():  # later children need no time to import
        for name in json.loads(Path(facts["imported"]).read_text()):
            try:
                importlib.import_module(name)
            except ImportError:
                pass
"""
"""Forks a process for each job that it reads, and writes its process id, a line for each event, and how it ended."""


class Jobs:
    """Jobs in processes that need no time to start."""

    def __init__(self, server: subprocess.Popen[str], graph: Path, folder: Path) -> None:
        self._server, self._facts = server, {"models": [str(graph)], "imported": str(folder / "imported.json")}

    def run(self, task: Task, n_workers: int = 0, kill_after: int | None = None, wait_s: float = 0.0) -> int:
        """Run a job, kill it a moment after some events, and return its wait status."""
        assert self._server.stdin is not None
        facts = {"sources": task.sources, "output": str(task.output), "workers": n_workers, **self._facts}
        self._server.stdin.write(json.dumps(facts) + "\n")
        self._server.stdin.flush()
        pid, n_events = 0, 0
        for line in iter(self._read, ""):
            if line.startswith("end"):
                return int(line.split()[1])
            n_events += line == "event"
            pid = pid or (int(line) if line.isdigit() else 0)
            if pid and kill_after is not None and n_events >= kill_after:
                time.sleep(wait_s)
                with suppress(ProcessLookupError):  # it was quicker
                    os.kill(pid, signal.SIGKILL)
                kill_after = None
        raise AssertionError("the server ended")

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


def test_kill_at_twenty_random_points(graph: Path, videos: Path, tmp_path: Path) -> None:
    """Each run is killed some random time after it began to predict, and the next one goes on."""
    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name) for name in ("whole", "killed"))
    dice = random.Random(0)
    n_killed, n_left = 0, []
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        jobs = Jobs(server, graph, tmp_path)
        assert jobs.run(whole) == 0
        while n_killed < 20:
            if task.output.exists():  # it was quicker: once more from the start
                assert_same(task.output, whole.output)
                task.output.unlink()
            n_workers = int(n_killed % 5 == 4)
            status = jobs.run(task, n_workers, kill_after=dice.randint(1, 6), wait_s=dice.uniform(0, 0.02))
            assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
            n_killed += status != 0
            if Journal.is_at(task.journal):
                n_left.append(Journal.open(task.journal).n_frames())
        assert server.stdin is not None
        server.stdin.close()
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert report.outcome in ("written", "skipped")
    assert_same(task.output, whole.output)
    assert len(set(n_left)) > 3, "it was ended at many places"
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_a_full_disk(small_disk: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    task = attrs.evolve(task_in(tmp_path, videos / "two_flies.mp4"), output=small_disk / "clip.slp")
    with pytest.raises(OutputError, match="Free some space"):
        run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert not task.output.exists()
    subprocess.run(["mount", "-o", "remount,size=50M", str(small_disk)], check=True)
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert 0 < report.n_resumed < report.n_frames == 100
    other = task_in(tmp_path, videos / "two_flies.mp4", "other")
    run_job(onnx(graph), [other], JobOptions(chunk=4), n_workers=0)
    assert_same(task.output, other.output)


def test_a_file_that_may_not_grow(graph: Path, videos: Path, tmp_path: Path) -> None:
    """A quota, as the system enforces it for one process."""
    task = task_in(tmp_path, videos / "two_flies.mp4")
    code = (
        "import resource, signal, sys; sys.dont_write_bytecode = True; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
    facts = {"sources": task.sources, "output": str(task.output), "models": [str(graph)], "workers": 0}
    ended = subprocess.run(
        [sys.executable, "-c", code + COMMAND, json.dumps(facts)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "OutputError" in ended.stderr
    assert not task.output.exists()
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)
    assert report.n_frames == 100
    assert report.n_resumed > 0


def test_two_workers_give_what_one_gives(graph: Path, videos: Path, tmp_path: Path) -> None:
    tasks = [task_in(tmp_path, videos / "two_flies.mp4", name) for name in ("one", "two")]
    run_job(onnx(graph), [tasks[0]], JobOptions(chunk=4), n_workers=1)
    (report,) = run_job(onnx(graph), [tasks[1]], JobOptions(chunk=4), n_workers=2)
    assert report.n_frames == 100
    assert_same(tasks[1].output, tasks[0].output)


def test_shares_give_what_one_gives(graph: Path, videos: Path, tmp_path: Path) -> None:
    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name) for name in ("whole", "shared"))
    run_job(onnx(graph), [whole], JobOptions(chunk=4), n_workers=0)
    journals = []
    for number in (2, 0):
        (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(number, 3)), n_workers=0)
        assert report.outcome == "shared"
        journals = find_journals([tmp_path])
    assert not journals[0].missing(), "those that are early take what nobody has claimed"
    (report,) = merge_journals(journals, ("slp", "csv"), False, False, False, lambda event: None)
    assert report.n_frames == 100
    assert_same(task.output, whole.output)
    assert not task.journal.exists()


def test_what_is_missing_is_named_or_marked(graph: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4")
    process = start(task, graph)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.kill()
    process.communicate()
    journals = find_journals([task.journal])
    n_there = journals[0].n_frames()
    with pytest.raises(JobError, match=f"video 0, positions {n_there} to the end"):
        merge_journals(journals, ("slp",), False, False, False, lambda event: None)
    (report,) = merge_journals(journals, ("slp",), True, False, False, lambda event: None)
    assert report.counts["skipped"] == 100 - n_there
    assert report.n_frames == 100


def test_a_worker_that_is_killed_from_outside(graph: Path, videos: Path, tmp_path: Path) -> None:
    """Nothing of the job itself: the system, or an operator, ends the process."""
    from sleap_infer.jobs.events import Progress
    from sleap_infer.jobs.run.scheduler import Job

    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name) for name in ("whole", "killed"))
    run_job(onnx(graph), [whole], JobOptions(chunk=4), n_workers=0)
    worker, killed = WorkerProcess(), []

    def listen(event: Any) -> None:
        if isinstance(event, Progress) and not killed and worker.pid is not None:
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGTERM)

    (report,) = Job(onnx(graph), [task], JobOptions(chunk=4), listen).run([worker])
    assert killed
    assert report.n_frames == 100
    assert_same(task.output, whole.output)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, nearly without room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"NO SMALL DISK: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_is_not_to_be_written(small_disk: Path, graph: Path, videos: Path, tmp_path: Path) -> None:
    task = attrs.evolve(task_in(tmp_path, videos / "two_flies.mp4"), output=small_disk / "clip.slp")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"cannot be written: Read-only"):
        run_job(onnx(graph), [task], JobOptions(chunk=4), n_workers=0)


MANY = """
import sys
from pathlib import Path
import attrs, numpy as np
from sleap_infer import FakeRunner
from sleap_infer.frames import source
from sleap_infer.jobs.write import results as finishing
from sleap_infer.jobs.run import range_runner as running
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.system.machine import resident_bytes
from sleap_infer.poses.labels import instance_skeleton
from sleap_infer.model import read_spec
from sleap_infer.predictors import SingleInstancePredictor
from sleap_infer.model.settings import read_options, resolve

n_frames, place = int(sys.argv[2]), Path(sys.argv[3])
spec = read_spec(sys.argv[1])
settings = resolve([spec], read_options([spec], "single_instance", {}))

def network(images):
    points = np.ones((len(images), spec.n_nodes, 2), np.float32)
    return {"peaks": points, "peak_vals": points[..., 0]}

class Many:
    path, n_frames = Path(sys.argv[1]) / "best.ckpt", n_frames
    image = np.zeros((32, 32, 1), np.uint8)
    def read(self, inds):
        return ((i, self.image) for i in (range(self.n_frames) if inds is None else inds))
    def in_colour(self):
        return self
    def close(self):
        pass

from sleap_infer import open_source
described = open_source(np.zeros((1, 32, 32), np.uint8)).parts[0].video
many = source.Source("many", (source.VideoPart(Many(), described),))
seen = []
def kept(part, start, columns):
    seen.append((start, resident_bytes()))
with SingleInstancePredictor([FakeRunner(network, spec, settings.stages[0])], settings, 16) as predictor:
    skeleton = instance_skeleton(spec)
    facts = {"what": {}, "parts": [{"frames": None}], "n_nodes": len(skeleton.nodes), "classes": [], "started": "",
             "skeleton": attrs.asdict(skeleton), "settings": attrs.asdict(settings), "facts": {},
             "task": {"sources": ["many"]}}
    journal = Journal.create(place / "many.journal", facts)
    with journal.result_file("0") as shard:
        shape = running.Shape(len(skeleton.nodes), False, 128)
        running.RangeRunner(predictor, many, shard, shape, kept).run(0, Range(0, None))
    results = finishing.collect(journal, many)
    finishing.write(results, {"slp": place / "many.slp", "csv": place / "many.csv"}, {})
    seen.append((n_frames, resident_bytes()))
print(results.n_frames, *(f"{n}:{rss}" for n, rss in seen))
"""


@pytest.mark.parametrize("n_frames", [50_000, pytest.param(100_000, marks=pytest.mark.exhaustive)])
def test_memory_does_not_grow_with_the_video(n_frames: int, models: Path, tmp_path: Path) -> None:
    """Frames of a generated source and a network that takes no time, writing included."""
    command = [sys.executable, "-c", MANY, str(models / "single_instance"), str(n_frames), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    first, *rest = ended.stdout.split()
    assert int(first) == n_frames
    points = np.array([[int(number) for number in pair.split(":")] for pair in rest], float)
    settled = points[points[:, 0] > 20_000]
    slope = np.polyfit(settled[:, 0], settled[:, 1], 1)[0]
    assert slope < 100, f"{slope:.0f} bytes a frame"
    assert settled[:, 1].max() - settled[0, 1] < 40e6, "writing included"
