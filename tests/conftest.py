"""What several tests share: the models and videos that the package ships, and the corpus outside of it."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from sleap_infer.export import ExportResult

REPOSITORY = Path(__file__).resolve().parents[1]
ASSETS = REPOSITORY / "sleap_infer" / "assets"

settings.register_profile("any time", deadline=None)  # how long a case takes says something about the machine
settings.load_profile("any time")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--exhaustive`: more cases of what other cases show already, half a minute or more each."""
    parser.addoption("--exhaustive", action="store_true", help="run the tests that are marked exhaustive")


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
def each_graph_is_traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing a model takes ten to thirty seconds, and most tests ask for one that another test has traced.

    A graph is kept under the hash of everything that is traced: the module with all its weights and settings, the form
    of its input, the opset. Modules that cannot be pickled are traced each time.
    """
    from sleap_infer.graphs import onnx_file as writing

    own = tmp_path_factory.getbasetemp()
    kept = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "traced"
    kept.mkdir(exist_ok=True)
    trace = writing.write_graph

    def write_graph(graph: Any, path: Path, *form: Any) -> None:
        try:
            place = kept / hashlib.sha256(pickle.dumps((graph.eval(), form))).hexdigest()
        except (pickle.PicklingError, AttributeError, TypeError):
            return trace(graph, path, *form)
        if not place.exists():
            trace(graph, path, *form)
            beside = place.with_suffix(f".{os.getpid()}")
            shutil.copy(path, beside)
            beside.replace(place)
        else:
            shutil.copy(place, path)
        return None

    writing.write_graph = write_graph
    yield
    writing.write_graph = trace


@pytest.fixture(scope="session")
def exports(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ExportResult]:
    """Each kind of model, exported with much room for peaks, and checked; about ten seconds each."""
    from sleap_infer.choices import ModelKind
    from sleap_infer.export import ExportOptions, export

    folder, options = tmp_path_factory.mktemp("exports"), ExportOptions(max_peaks_per_node=60)
    return {kind: export(models / kind, folder / kind, options)[0] for kind in get_args(ModelKind)}
