"""What a network frees is kept for the next image, and given back in the end. Pages are counted, not seconds."""

from __future__ import annotations

import json
import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's C library")

THREAD = """
import json, resource, threading
from sleap_infer.runners.torch.malloc import give_freed_memory_back, keep_freed_memory

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

kept, counts = keep_freed_memory(), []
thread = threading.Thread(target=work)
thread.start()
thread.join()
full = resident_mib()
give_freed_memory_back()
print(json.dumps({"kept": kept, "pages": counts, "given_back_mib": full - resident_mib()}))
"""

PREDICTOR = """
import json, resource, sys
import numpy as np
from sleap_infer import Predictor

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
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
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
    assert found["given_back_mib"] > 60


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
    kept, not_kept = run(PREDICTOR, model), run(PREDICTOR, model, **LIBRARY_DEFAULTS)
    assert isinstance(kept, list)
    assert isinstance(not_kept, list)
    assert min(kept[1:]) < min(not_kept[1:]) / 5
