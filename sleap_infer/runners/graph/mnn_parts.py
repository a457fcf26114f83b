"""Networks of exported graphs converted for MNN, once: beside an export that has them, else in the cache.

Only the converter in MNN's extension module is used, in a process of its own, because it prints. MNN's scripts are
blocked: they install a package and report to a server (`docs/privacy.md`).
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import ExportedModelError, UnsupportedModelError
from sleap_infer.model.onnx_graph import open_graph
from sleap_infer.model.onnx_safety import check_graph
from sleap_infer.reports import reports
from sleap_infer.runners.graph.mnn_network import MnnNetwork, require_mnn
from sleap_infer.runners.graph.split import Part, read_parts, split_graph, write_parts
from sleap_infer.system.cache_directory import cache_directory
from sleap_infer.system.cache_entries import find_damage, is_ready, making, seal
from sleap_infer.system.child_process import ask
from sleap_infer.system.digest import digest, file_digest

FOLDER = "mnn"
"""Folder of an export with its parts."""

GRAPH_SUM = "graph.sha256"
"""File with the SHA-256 of the graph that the parts are of."""

TIMEOUT_S = 600.0
MAX_DIFFERENCE = 1e-3
"""Largest difference of a network's outputs from those on ONNX Runtime, as a share of their largest value."""

CONVERT = """
import sys
sys.modules["MNN.tools"] = None
import _tools
_tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", sys.argv[1], "--MNNModel", sys.argv[2], "--bizCode", "x"])
"""
"""Program of the child. The converter returns True also if it failed."""

INSTEAD = "Use backend='onnx'."

UNSUPPORTED = re.compile(r"These Op Not Support: (.+)")
OPERATION = re.compile(r"ONNX::(\w+)")

logger = logging.getLogger(__name__)


def find_parts(graph: Path) -> tuple[Path, tuple[Part, ...]]:
    """Return the parts of a graph with its networks converted, and their folder; convert them if there are none.

    Raises:
        UnsupportedModelError: MNN does not run an operation of a network.
        ExportedModelError: the graph names no network, or a converted network computes other values.
        BackendNotInstalledError: a package that converting needs is missing.
        CacheError: other users may write to the cache.
        OutputError: the cache cannot be written.
    """
    own, mnn = graph.parent / FOLDER, require_mnn()
    if _is_of(own, graph):
        return own, read_parts(own)
    entry = cache_directory("mnn") / digest({"graph": file_digest(graph), "mnn": mnn.version()})
    if not is_ready(entry):
        reports().progress(f"converting {graph} for MNN to {entry}, once")
        with making(entry) as folder:
            make_parts(graph, folder)
    return entry, read_parts(entry)


def make_parts(graph: Path, folder: Path) -> tuple[Part, ...]:
    """Split a graph, convert its networks, and compare each with ONNX Runtime.

    Args:
        graph: an ONNX file, made by this package in fp32.
        folder: is created if it is missing, and sealed.

    Raises:
        UnsupportedModelError: MNN does not run an operation of a network.
        ExportedModelError: the graph names no network, or a converted network computes other values.
        BackendNotInstalledError: a package that converting needs is missing.
    """
    check_graph(graph)
    folder.mkdir(exist_ok=True)
    parts = []
    for part in split_graph(graph, folder):
        if part.is_network:
            source = folder / part.name
            part = attrs.evolve(part, name=f"{source.stem}.mnn")
            _convert(source, folder / part.name, graph)
            _compare(source, folder, part, graph)
            source.unlink()
        parts.append(part)
    write_parts(parts, folder)
    (folder / GRAPH_SUM).write_text(file_digest(graph), encoding="ascii")
    seal(folder)
    return tuple(parts)


def _is_of(folder: Path, graph: Path) -> bool:
    """Return whether a folder has the undamaged parts of a graph; a damaged one is reported."""
    if not folder.is_dir():
        return False
    damage = find_damage(folder)
    try:
        if not damage:
            read_parts(folder)
            return (folder / GRAPH_SUM).read_text(encoding="utf-8") == file_digest(graph)
    except (OSError, ValueError, ExportedModelError) as error:
        damage = str(error)
    logger.warning("%s is damaged (%s): its networks are converted again, to the cache", folder, damage)
    return False


def _convert(source: Path, target: Path, graph: Path) -> None:
    command = [sys.executable, "-I", "-c", CONVERT, str(source), str(target)]
    try:
        done = ask(command, TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ExportedModelError(f"Converting {graph} for MNN took more than {TIMEOUT_S:.0f} s. {INSTEAD}") from error
    unsupported = UNSUPPORTED.search(done.stdout)
    if unsupported:
        names = ", ".join(sorted(set(OPERATION.findall(unsupported[1]))))
        raise UnsupportedModelError(f"MNN {require_mnn().version()} does not run {names}, found in {graph}. {INSTEAD}")
    if not target.is_file():
        last = " ".join((done.stdout + done.stderr).split()[-30:])
        raise ExportedModelError(
            f"{graph} cannot be converted for MNN (exit code {done.returncode}: {last}). {INSTEAD}"
        )


def _compare(source: Path, folder: Path, part: Part, graph: Path) -> None:
    """Compare a converted network with its ONNX file on random images of two sizes.

    Raises:
        ExportedModelError: its outputs differ.
    """
    session = open_graph(source)
    (given,) = session.get_inputs()
    rng = np.random.default_rng(0)
    for n_images, n_strides in ((1, 5), (2, 7)):
        shape = example_shape(given.shape, n_images, n_strides)
        images = rng.random(shape, np.float32)
        found = MnnNetwork(folder / part.name, part, shape).run(images)
        for name, expected in zip(part.outputs, session.run(list(part.outputs), {given.name: images}), strict=True):
            away = _difference(found[name], expected)
            if not away <= MAX_DIFFERENCE:
                raise ExportedModelError(
                    f"A network of {graph} differs on MNN {require_mnn().version()}: {name} by {away:.2g} of its "
                    f"largest value. {INSTEAD}"
                )


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference, as a share of the largest value; infinite if shapes or places of NaN differ."""
    if found.shape != expected.shape or not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return float("inf")
    inside = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[inside]).max(initial=0.0)))
    return float(np.abs(found[inside] - expected[inside]).max(initial=0.0)) / scale


def example_shape(shape: Sequence[int | str | None], n_images: int, n_strides: int) -> tuple[int, ...]:
    """Return a shape (B, C, H, W) for images of a network, of at least 64 pixels where its size is open.

    >>> example_shape(["batch", 1, "16*height_strides", "16*width_strides"], 2, 5)
    (2, 1, 80, 80)
    """
    batch, channels, *size = shape

    def side(named: int | str | None) -> int:
        if isinstance(named, int):
            return named
        stride = int(found[1]) if (found := re.match(r"(\d+)\*", str(named))) else 1
        return stride * n_strides * max(1, -(-64 // (stride * n_strides)))

    return (
        batch if isinstance(batch, int) else n_images,
        channels if isinstance(channels, int) else 1,
        *map(side, size),
    )
