"""`merge` ended by SIGKILL before any of its changes to files: run again, it gives the same files, and exits with 0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import assert_same, onnx, task_in

from sleap_infer.jobs import JobOptions, run_job

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

SERVER = """
import json, os, shutil, signal, sys
from pathlib import Path
import sleap_io, h5py, pandas, sqlite3
from sleap_infer.cli import app, merge
from sleap_infer.jobs.write import merge as merging
from sleap_infer.jobs.write import results as finishing

start, work, *arguments = sys.argv[1:]
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")

def run(kill_at):
    here, n_changes = os.fspath(work), 0

    def watch(event, values):
        nonlocal n_changes
        if event not in CHANGES or here not in os.fsdecode(values[0] if not isinstance(values[0], int) else b""):
            return
        if event == "open" and not set(values[1] or "") & set("wxa+"):
            return
        n_changes += 1
        if n_changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        if kill_at is not None:
            sys.addaudithook(watch)
        code = 0
        try:
            app.app(["merge", *arguments], standalone_mode=False)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            print(json.dumps({"error": repr(error), "kill_at": kill_at}), flush=True)
            code = 9
        os._exit(code or 0)
    return os.waitpid(child, 0)[1]

shutil.copytree(start, work)
app.app(["merge", *arguments], standalone_mode=False)  # all that is imported is imported once

kill_at = 0
while True:
    kill_at += 1
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    first = run(kill_at)
    second = run(None)
    left = sorted(path.name for path in Path(work).iterdir())
    print(json.dumps({"kill_at": kill_at, "first": first, "second": second, "left": left}), flush=True)
    shutil.copy(Path(work) / "clip.slp", f"{work}-{kill_at}.slp")
    if first == 0:
        break
"""


def test_at_every_point(graph: Path, videos: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    whole = task_in(tmp_path, videos / "two_flies.mp4", "whole", at_most=16)
    run_job(onnx(graph), [whole], JobOptions(chunk=4), n_workers=0)
    task = task_in(start, videos / "two_flies.mp4", at_most=16)
    for number in (0, 1):
        run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(number, 2)), n_workers=0)
    work = tmp_path / "work"
    command = [
        sys.executable,
        "-c",
        SERVER,
        str(start),
        str(work),
        str(work / "clip.journal"),
        "-f",
        "slp",
        "-f",
        "csv",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    runs = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert len(runs) > 15
    assert not [run for run in runs if run.get("second") != 0]
    for run in runs:
        assert run["left"] == [".clip.csv.job", "clip.csv", "clip.mp4", "clip.slp"], run
        assert_same(tmp_path / f"work-{run['kill_at']}.slp", whole.output)
