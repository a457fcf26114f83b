"""int8 exports of trained models in the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleap_infer._version import __version__
from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.export.exporting import export
from sleap_infer.graphs.cache import FORM
from sleap_infer.model import expand_model_path, find_model_files, read_spec
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.reports import reports
from sleap_infer.system.cache_directory import cache_directory
from sleap_infer.system.cache_entries import is_ready, making
from sleap_infer.system.digest import digest


def cached_int8(models: Sequence[Path], frames: Any, inference_options: Mapping[str, Any]) -> list[Path]:
    """Return the exported int8 directories of trained models; export and check them if they are not cached.

    Args:
        models: one, or two of a top-down pipeline; exported models are returned unchanged.
        frames: source for calibration and for the export check, as in `Predictor.predict`.
        inference_options: options of the later run, by name.

    Raises:
        ModelError: a model cannot be read.
        BackendNotInstalledError: a package that exporting needs is missing.
        ExportDiffersError: the poses in int8 exceed the error budget.
        CacheError: other users may write there.
        OutputError: the cache cannot be written.
    """
    paths = [path for model in models for path in expand_model_path(model)]
    ignore = inference_options.get("ignore_unknown_settings") is True
    if all(read_spec(path, ignore).exported for path in paths):
        return paths
    directory = cache_directory("graphs") / f"int8-{_key(paths, inference_options)}"
    if not is_ready(directory):
        report = reports().progress
        report(f"exporting to int8 in {directory}, once: some minutes")
        with making(directory) as work:
            options, made = ExportOptions(precision="int8"), work / "export"
            for result in export(paths, made, options, frames, report, **inference_options):
                report(str(result).replace(str(made), str(directory)))
            for path in made.iterdir():
                path.rename(work / path.name)
            made.rmdir()
    return expand_model_path(directory)


def _key(paths: Sequence[Path], given: Mapping[str, Any]) -> str:
    files = [find_model_files(path) for path in paths]
    facts = [
        __version__,
        FORM,
        "one graph",
        [[hash_file(model.weights), hash_file(model.config)] for model in files],
        dict(given),
    ]
    return digest(facts)
