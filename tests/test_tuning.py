"""Settings of the process: changed by `tune_process` alone, once; opening a model changes none.

What a network frees is retained for the next image, and returned in the end. Pages are counted, not seconds.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sleap_infer

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's C library")

THREAD = """
import json, resource, threading
from sleap_infer import tune_process
from sleap_infer.tuning import return_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident_mib():
    fields = open("/proc/self/status").read().split()
    return int(fields[fields.index("VmRSS:") + 1]) / 1024

def work():
    for _ in range(4):
        before = pages()
        blocks = [bytearray(b"x") * (20 << 20) for _ in range(4)]  # 20 MiB each: more than one heap of a thread holds
        del blocks
        counts.append(pages() - before)

kept, counts = any("mallopt" in line for line in tune_process()), []
thread = threading.Thread(target=work)
thread.start()
thread.join()
full = resident_mib()
return_freed_memory()
print(json.dumps({"kept": kept, "pages": counts, "given_back_mib": full - resident_mib()}))
"""

PREDICTOR = """
import json, resource, sys
import numpy as np
from sleap_infer import Predictor, tune_process

tune_process()
frames = np.random.default_rng(0).integers(0, 255, (8, 192, 192, 1), np.uint8)
counts = []
with Predictor.from_model_paths(sys.argv[1], backend="torch", device="cpu", batch_size=4) as predictor:
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        predictor.predict(frames, as_labels=False)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps(counts))
"""

PAGES = (80 << 20) / mmap.PAGESIZE
"""Of what `THREAD` fills each time."""

LIBRARY_DEFAULTS = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What the C library begins with; it does not adapt them once they are given."""


def run(program: str, *arguments: str, **variables: str) -> object:
    """What a program prints, in an environment that says nothing else about memory."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "GOMP_"))}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=rest | variables, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_thread_takes_new_pages_only_once_and_they_are_given_back() -> None:
    found = run(THREAD)
    assert isinstance(found, dict)
    first, *later = found["pages"]
    assert found["kept"]
    assert first > 0.9 * PAGES
    assert max(later) < first / 20
    assert found["given_back_mib"] > 50


@pytest.mark.parametrize(
    "variables",
    [LIBRARY_DEFAULTS, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072"}],
    ids=["variables", "tunables"],
)
def test_what_the_environment_says_counts(variables: dict[str, str]) -> None:
    found = run(THREAD, **variables)
    assert isinstance(found, dict)
    assert not found["kept"]
    assert min(found["pages"]) > 0.9 * PAGES


def test_other_tunables_say_nothing_about_memory() -> None:
    found = run(THREAD, GLIBC_TUNABLES="glibc.pthread.rseq=0")
    assert isinstance(found, dict)
    assert found["kept"]


def test_pytorch_takes_new_pages_for_the_first_frames_only(models: Path) -> None:
    model = str(models / "bottomup")
    tuned, fixed = run(PREDICTOR, model), run(PREDICTOR, model, **LIBRARY_DEFAULTS)
    assert isinstance(tuned, list)
    assert isinstance(fixed, list)
    assert min(tuned[1:]) < min(fixed[1:]) / 5


OPENED = """
import json, os, sys
import numpy as np
from sleap_infer import Predictor, tuning

def refuse():
    raise AssertionError("the C library was asked for")

tuning._c_library = refuse
before = dict(os.environ)
with Predictor.from_model_paths(sys.argv[1], backend=sys.argv[2], device="cpu") as predictor:
    if sys.argv[2] == "torch":
        predictor.predict(np.zeros((1, 192, 192, 1), np.uint8))
print(json.dumps(sorted(set(before.items()) ^ set(os.environ.items()))))
"""


@pytest.mark.parametrize("backend", ["torch", "torch_compile"])
def test_opening_a_model_changes_nothing_of_the_process(backend: str, models: Path) -> None:
    changed = run(OPENED, str(models / "single_instance"), backend)
    assert [name for name, _ in changed if not name.startswith(TORCHS_OWN)] == []  # type: ignore[attr-defined]


TORCHS_OWN = ("KMP_", "TRITON_")
"""Prefixes of variables that PyTorch sets when it is imported."""

TUNED = """
import json, os
from sleap_infer import tune_process

before = dict(os.environ)
lines = tune_process(), tune_process()
print(json.dumps([*lines, sorted(set(before.items()) ^ set(os.environ.items()))]))
"""


def test_tuning_says_what_it_changes_and_is_done_once() -> None:
    first, second, changed = run(TUNED)  # type: ignore[misc]
    assert first == second
    assert [line.partition(":")[0] for line in first] == ["GOMP_SPINCOUNT=1000", "mallopt"]
    assert changed == [["GOMP_SPINCOUNT", "1000"]]
    first, _, changed = run(TUNED, GOMP_SPINCOUNT="7", MALLOC_PERTURB_="0")  # type: ignore[misc]
    assert (first, changed) == ([], [])


MAY_SET_VARIABLES = {
    "tuning.py": "on request",
    "system/runtimes.py": "reports of usage are off",
    "runners/torch/compiled_code.py": "while it compiles",
    "jobs/cluster/ray.py": "in a worker of its own",
}


def test_only_these_modules_set_variables_of_the_environment() -> None:
    package = Path(sleap_infer.__file__).parent
    setters = re.compile(r"os\.environ\[[^]]+\] *=[^=]|os\.environ\.(setdefault|update|pop)\(|os\.(un)?(put|set)env\(")
    found = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if setters.search(path.read_text("utf-8"))
    }
    assert found == set(MAY_SET_VARIABLES)
