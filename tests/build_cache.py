"""Traced graphs and exports, shared by the processes of a run and between runs.

They lie in `build/test-cache` (git-ignored; another folder: SLEAP_INFER_TEST_CACHE), in a folder for the sources and
packages that make them. A change of code there makes a new folder; a change of comments or docstrings does not.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any, TypeVar

from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "sleap_infer"
ROOT = Path(os.environ.get("SLEAP_INFER_TEST_CACHE") or REPOSITORY / "build" / "test-cache")
OF_TRACES = ("config", "graphs", "model", "ops", "poses", "runners/torch")
OF_EXPORTS = (*OF_TRACES, "checks", "export", "frames", "predictors", "quantization", "runners")
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy")
ENVIRONMENT = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")
N_FOLDERS = 6
"""Folders of earlier sources that stay, for switching between branches."""

Made = TypeVar("Made")


class _Pickler(pickle.Pickler):
    """Equal objects give equal bytes in each process: no addresses, paths, order of sets, or identity of strings."""

    def persistent_id(self, found: Any) -> str | None:
        import torch

        if isinstance(found, torch.Tensor):
            values = found.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return f"tensor {found.dtype} {tuple(found.shape)} {hashlib.sha256(values).hexdigest()}"
        if isinstance(found, str):
            return f"text {found}"
        if isinstance(found, PurePath):
            return "path"  # where a model lies changes nothing in its graph; metadata come later
        if isinstance(found, (set, frozenset)):
            return f"set {sorted(map(repr, found))}"
        return None


def digest(found: Any) -> str:
    """Return a digest of an object with all its tensors, the same in each process."""
    file = io.BytesIO()
    _Pickler(file).dump(found)
    return hashlib.sha256(file.getvalue()).hexdigest()


@cache
def folder_for(rooms: Sequence[str]) -> Path:
    """Return the folder for what the current sources in some rooms make, and remove the oldest of the others."""
    sources = sorted({path for room in rooms for path in (PACKAGE / room).rglob("*.py")})
    facts = [sys.version, *(metadata.version(name) for name in PACKAGES), *map(os.environ.get, ENVIRONMENT)]
    code = hashlib.sha256(repr(facts).encode())
    for path in sources:
        code.update(f"{path.relative_to(PACKAGE)} {_without_docstrings(path)}".encode())
    found = ROOT / code.hexdigest()[:20]
    found.mkdir(parents=True, exist_ok=True)
    os.utime(found)
    for old in sorted(ROOT.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[N_FOLDERS:]:
        shutil.rmtree(old, ignore_errors=True)
    return found


def _without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def made_once(place: Path, make: Callable[[Path], None]) -> Path:
    """Make a file or a directory at `place` unless it is there. One process makes it, the others wait."""
    if not place.exists():
        with FileLock(f"{place}.lock"):
            if not place.exists():
                beside = place.with_name(f"{place.name}.{os.getpid()}.part")
                shutil.rmtree(beside, ignore_errors=True)
                make(beside)
                beside.rename(place)
    return place


def remember_traces() -> Iterator[None]:
    """Replace the tracing of graphs by a look into the cache. Modules that cannot be pickled are traced each time."""
    from sleap_infer.graphs import onnx_file

    trace = onnx_file.write_graph

    def write_graph(graph: Any, path: Path, *form: Any) -> None:
        try:
            key = digest((graph.eval(), form, [inspect.getsource(kind) for kind in _of_tests(graph)]))
        except (pickle.PicklingError, AttributeError, TypeError):
            return trace(graph, path, *form)
        with _without_coverage():
            traced = made_once(folder_for(OF_TRACES) / f"{key}.onnx", lambda place: trace(graph, place, *form))
        shutil.copy(traced, path)
        return None

    onnx_file.write_graph = write_graph
    yield
    onnx_file.write_graph = trace


@contextmanager
def _without_coverage() -> Iterator[None]:
    """Switch coverage off in this thread: it doubles the time of PyTorch's own code, and where the cache has a graph,
    its code is not seen either.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def _of_tests(graph: Any) -> list[type]:
    kinds = {type(module) for module in graph.modules()}
    return sorted((kind for kind in kinds if kind.__module__.split(".")[0] not in ("sleap_infer", "torch")), key=repr)


class Exports(Mapping[str, Any]):
    """Exports of models by kind, each made when it is first asked for. Shared: nobody writes into them."""

    def __init__(self, models: Path, kinds: Sequence[str], **options: Any) -> None:
        self._models, self._kinds, self._options = models, tuple(kinds), options
        self._found: dict[str, Any] = {}

    def __getitem__(self, kind: str) -> Any:
        if kind not in self._kinds:
            raise KeyError(kind)
        if kind not in self._found:
            key = hashlib.sha256(repr(sorted(self._options.items())).encode())
            for path in sorted((self._models / kind).iterdir()):
                key.update(path.read_bytes())
            place = folder_for(OF_EXPORTS) / f"{kind}-{key.hexdigest()[:20]}"
            made_once(place, lambda beside: self._make(kind, beside))
            (self._found[kind],) = _relocated(pickle.loads((place / "result.pickle").read_bytes()), place)
        return self._found[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def _make(self, kind: str, place: Path) -> None:
        from sleap_infer.export import ExportOptions, export

        place.mkdir()
        results = export(self._models / kind, place / kind, ExportOptions(**self._options))
        (place / "result.pickle").write_bytes(pickle.dumps(results))


def _relocated(results: Sequence[Any], place: Path) -> list[Any]:
    """Return results of an export that was moved into `place`."""
    import attrs

    return [
        attrs.evolve(
            result, directory=place / result.directory.name, graph=place / result.directory.name / result.graph.name
        )
        for result in results
    ]
