"""Cache of the graphs of trained models that run on graph backends.

The name of an entry is a hash of all that goes into the graph: weights, configuration, fixed options, capacity, and the
version of this package. Several processes may fill the cache at once (`system/cache_entries.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from sleap_infer._version import __version__
from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import GraphOptions
from sleap_infer.config.options import DEFAULT_PLACES
from sleap_infer.errors import ExportedModelError, OptionError, OutputError
from sleap_infer.graphs.bfloat16 import round_weights
from sleap_infer.graphs.build import GRAPH_NAME, Trained, baked_options, build_graph, inside_of, make_graph
from sleap_infer.graphs.metadata import restate, write_metadata
from sleap_infer.model import find_model_files
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.model.settings import ImageSettings
from sleap_infer.reports import reports
from sleap_infer.runners import find_runner
from sleap_infer.runners.torch.runner import require_torch
from sleap_infer.system.cache_directory import CACHE_VARIABLE, cache_directory
from sleap_infer.system.cache_entries import is_ready, making
from sleap_infer.system.digest import digest

MAX_DIFFERENCE: Mapping[Precision, float] = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1}
"""Of the highest values on random pixels; in 16 bits, as a share of the largest where that is above 1."""

FORM = 5
"""Version of the graphs: 2 names operations after blocks, 3 quantizes weights with GPTQ, 4 finds peaks faster, 5 passes
NaN on to the candidates."""


def cached_graph(
    model: Trained, frames: ImageSettings, given: dict[str, Any], precision: Precision | None = None
) -> Path:
    """Return the exported directory of a trained model; export it if it is not cached.

    Args:
        model: with its resolved settings.
        frames: how whole frames are fitted.
        given: inference options that were given, by name.
        precision: of the network.

    Raises:
        OptionError: int8 is asked for, which needs frames to measure ranges on.
        ModelError: the model cannot be read.
        BackendNotInstalledError: a package that exporting needs is missing.
        ExportedModelError: the graph gives other candidates than the model.
        CacheError: other users may write there.
        OutputError: the cache cannot be written.
    """
    if precision == "int8":
        raise OptionError(
            "int8 measures ranges on frames of yours first. Make it with: sleap-infer export --precision int8 "
            f"--calibration VIDEO {model.path} -o DIR, then predict with DIR."
        )
    options = _options(given, precision)
    entry = find_entry(model, given, precision)
    if is_ready(entry):
        return entry
    require_torch()
    reports().progress(f"exporting {model.path} to {entry}, once")
    try:
        with making(entry) as directory:
            spec, _ = make_graph([model], frames, directory, options, given)
            if options.precision == "bf16":
                round_weights(directory / GRAPH_NAME, directory / GRAPH_NAME)
                restate(directory, spec, "bf16", ())
            else:
                write_metadata(directory, spec)
            _check(model, frames, options, directory)
    except OSError as error:
        raise OutputError(
            f"The cache {entry.parent} cannot be written: {error.strerror}. Set {CACHE_VARIABLE} to a directory that "
            "can be."
        ) from error
    return entry


def find_entry(model: Trained, given: dict[str, Any], precision: Precision | None = None) -> Path:
    """Where the graph of a trained model is, or will be; arguments as in `cached_graph`."""
    return cache_directory("graphs") / f"{model.spec.kind}-{_key(model, _options(given, precision))}"


def _options(given: dict[str, Any], precision: Precision | None) -> GraphOptions:
    return GraphOptions(
        precision=precision or "fp32",
        max_peaks_per_node=given.get("max_peaks_per_node") or DEFAULT_PLACES,
        max_instances=max(given.get("max_instances") or 0, DEFAULT_PLACES),  # a smaller capacity would seem exhausted
    )


def _key(model: Trained, options: GraphOptions) -> str:
    files = find_model_files(model.path)
    facts = {
        "version": __version__,
        "form": FORM,
        "is_sealed": True,
        "weights": hash_file(files.weights),
        "configuration": hash_file(files.config),
        "options": baked_options(model.spec.kind, model.settings, options, {}),
        "stride": model.settings.images.pad_to_stride,
        "places": [options.max_instances, options.max_peaks_per_node],
        "precision": options.precision,
        "conventions": attrs.asdict(model.spec.conventions),
        "scale": model.settings.images.input_scaling if inside_of([model], options) == "scaling" else None,
    }
    return digest(facts)


def _check(model: Trained, frames: ImageSettings, options: GraphOptions, directory: Path) -> None:
    """Compare the values of the highest peaks on one image; the full gate is `sleap-infer export`.

    Values only: which of two nearly equal peaks is retained last is arbitrary.
    """
    import torch

    side = model.settings.images.pad_to_stride * 8
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, model.spec.backbone.in_channels, side, side), dtype=np.uint8)
    graph = build_graph([model], frames, attrs.evolve(options, precision="fp32"))
    with torch.inference_mode():
        expected = graph(torch.from_numpy(image), *(torch.tensor(0.0) for _ in graph.threshold_names))
    found = find_runner("onnx").from_model_path(directory, device="cpu", peak_threshold=0.0).infer(image)
    for name, values in zip(graph.output_names, expected, strict=True):
        if not name.endswith("_vals"):
            continue
        difference = np.abs(np.sort(found[name], axis=-1) - np.sort(values.numpy(), axis=-1)).max(initial=0.0)
        scale = 1.0 if options.precision == "fp32" else max(1.0, float(values.abs().nan_to_num().max()))
        if difference > scale * MAX_DIFFERENCE[options.precision]:
            instead = "backend='torch'" if options.precision == "fp32" else "precision='fp32'"
            raise ExportedModelError(
                f"The graph of {model.path} in {options.precision} differs from it: {name} by {difference:.2g}. Use "
                f"{instead}, and please report this model."
            )
