"""What several tests share: the models and videos that the package ships, and the corpus outside of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a runtime is imported: each process of a run has one core
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of child processes would compile the same modules again

import pytest
from build_cache import Exports, remember_traces
from hypothesis import settings

from sleap_infer.config.kinds import model_kinds

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult

sys.dont_write_bytecode = False

collect_ignore = ["toy_backend"]
"""A package of another distribution: collecting it for doctests would put it on `sys.path` of every test."""

REPOSITORY = Path(__file__).resolve().parents[1]
ASSETS = REPOSITORY / "sleap_infer" / "assets"

settings.register_profile("quick", deadline=None, max_examples=25)  # no deadline: other processes may be at work
settings.register_profile("exhaustive", deadline=None, max_examples=300)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--exhaustive`: more cases of what other cases show already, half a minute or more each."""
    parser.addoption("--exhaustive", action="store_true", help="run the tests that are marked exhaustive")


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples of each property unless all are asked for."""
    settings.load_profile("exhaustive" if config.getoption("--exhaustive") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip exhaustive cases, and what needs a GPU where there is none (a failure with FAIL_WITHOUT_CUDA)."""
    if not config.getoption("--exhaustive"):
        for item in items:
            if item.get_closest_marker("exhaustive"):
                item.add_marker(pytest.mark.skip(reason="exhaustive: make test-exhaustive"))
    if os.environ.get("FAIL_WITHOUT_CUDA"):
        return
    marked = [item for item in items if item.get_closest_marker("needs_cuda")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured elsewhere on this machine must not decide which backend a test runs on."""
    monkeypatch.setattr("sleap_infer.predictors.auto.cache.choices_directory", lambda: tmp_path / "choices")


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in the process that asks for them, unless a test says how many workers it wants: loading takes time."""
    monkeypatch.setenv("SLEAP_INFER_WORKERS", "0")


@pytest.fixture(scope="session")
def models() -> Path:
    """Directory of the models that the package ships, one per kind."""
    return ASSETS / "models"


@pytest.fixture(scope="session")
def videos() -> Path:
    """Directory of the videos that the package ships, each with its truth."""
    return ASSETS / "videos"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real models, a real video and reference results, outside of the repository."""
    path = Path(os.environ.get("SLEAP_INFER_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
    if not path.is_dir():
        pytest.skip(f"NO CORPUS at {path}: set SLEAP_INFER_CORPUS to run the checks against real models")
    return path


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs that once gave wrong results, outside of the repository."""
    path = Path(os.environ.get("SLEAP_INFER_CASES", REPOSITORY.parent / "shared" / "cases"))
    if not path.is_dir():
        pytest.skip(f"NO CASES at {path}: set SLEAP_INFER_CASES to run the checks against them")
    return path


@pytest.fixture(scope="session", autouse=True)
def each_graph_is_traced_once() -> Iterator[None]:
    """Tracing a model takes ten to thirty seconds, and most tests ask for one that another test has traced."""
    yield from remember_traces()


@pytest.fixture(scope="session")
def exports(models: Path) -> Mapping[str, ExportResult]:
    """Each kind of model, exported with much room for peaks, and checked; shared by all processes: read only."""
    return Exports(models, model_kinds(), max_peaks_per_node=60)
