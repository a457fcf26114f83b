"""Export trained models: write to a temporary directory, check, rename."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from sleap_infer.checks.report import Report
from sleap_infer.checks.validate import Source, check_backends
from sleap_infer.config.graph_options import LOWERED, ExportOptions
from sleap_infer.errors import ExportDiffersError, OptionError, OutputExistsError
from sleap_infer.export.engines import build_engines, check_engines, gpu_here
from sleap_infer.export.result import ExportResult
from sleap_infer.graphs.build import GRAPH_NAME, Trained, make_graph
from sleap_infer.graphs.metadata import write_metadata
from sleap_infer.graphs.onnx_file import require_export_packages
from sleap_infer.model.readers.directory import METADATA_NAME
from sleap_infer.quantization.accuracy_search import BuiltGraph, check_calibration, quantize_pipeline
from sleap_infer.reports import OnProgress
from sleap_infer.runners.graph.mnn_network import require_mnn
from sleap_infer.runners.graph.mnn_parts import FOLDER, make_parts
from sleap_infer.runners.torch.runner import require_torch
from sleap_infer.system.files import check_folder

logger = logging.getLogger(__name__)


def export(
    models: str | Path | Sequence[str | Path],
    output: str | Path,
    options: ExportOptions | None = None,
    frames: Any = None,
    on_progress: OnProgress = lambda line: None,
    **inference_options: Any,
) -> list[ExportResult]:
    """Export trained models as ONNX graphs with the same candidates.

    Args:
        models: one model, or two of a top-down pipeline; these become two directories in `output`, or one graph with
            `fused`.
        output: directory to create.
        options: of the export.
        frames: source for the export check, as in `Predictor.predict`; by default the labelled frames beside the model,
            else generated images.
        on_progress: called with one line per step.
        **inference_options: by name, those that are fixed in the graph (refinement, integral_patch_size, n_points,
            max_edge_length_ratio, dist_penalty_weight, and with `fused` or `self_contained` those of preprocessing), or
            its defaults (peak_threshold, input_scaling, max_height, ...).

    Returns:
        One result per graph, in execution order.

    Raises:
        ModelError: a model cannot be read.
        OptionError: an option is wrong or has no effect.
        BackendNotInstalledError: a package that exporting needs is missing.
        DeviceError: engines are requested, and cannot be built here.
        OutputExistsError: there is something at `output` already.
        ExportDiffersError: the export differs from its source beyond the limits; nothing is written to `output`.
    """
    options = options or ExportOptions()
    require_torch()
    require_export_packages()
    source = Source.read(models, {**inference_options, **_fixed_size(options, inference_options)})
    check_options(source, options)
    check_engines(source, options, frames)
    if options.format == "mnn":
        require_mnn()
    if options.precision == "int8":
        check_calibration(source, options, frames)
    output = Path(output)
    check_place(output, options.overwrite)
    with _workplace(output) as work:
        made, report = _make_within_budget(source, work, options, frames, on_progress)
        if report is not None:
            _judge(report, source, options)
        made = [_finish(item, report) for item in made]
        put_in_place(work, output)
    return [_result(item, work, output, report) for item in made]


def _make_within_budget(
    source: Source, work: Path, options: ExportOptions, frames: Any, on_progress: OnProgress
) -> tuple[list[BuiltGraph], Report | None]:
    """Build and check; if fp16 exceeds the error budget, again with the heads in fp32, then entirely in fp32."""
    attempts = [options]
    if options.precision == "fp16" and not options.force:
        attempts += [attrs.evolve(options, full_heads=True), attrs.evolve(options, precision="fp32")]
    for attempt in attempts:
        made, report = _make_and_check(source, work, attempt, frames, on_progress)
        if report is None or report.verdict != "FAIL" or attempt is attempts[-1]:
            break
        after = "with the heads in fp32" if attempt is options else "in fp32"
        on_progress(f"exceeds the error budget: {report.line()}; exporting again {after}")
        shutil.rmtree(work)
        work.mkdir()
    return made, report


def _make_and_check(
    source: Source, work: Path, options: ExportOptions, frames: Any, on_progress: OnProgress
) -> tuple[list[BuiltGraph], Report | None]:
    on_progress(f"tracing {source.kind}")
    made = _make_all(source, work, options)
    report = None
    if options.precision in LOWERED:
        made, report = quantize_pipeline(source, work, made, options, frames, on_progress)
    if options.has_engines:
        build_engines(source, made, options, frames, on_progress)
        if gpu_here() is None:
            on_progress("no NVIDIA GPU: engines are built but not run; the graph is compared instead")
    if options.format == "mnn":
        for item in made:
            on_progress(f"converting {item.spec.kind} for MNN")
            make_parts(item.directory / GRAPH_NAME, item.directory / FOLDER)
    if not options.validate or options.after is not None:
        return made, None
    if report is not None and not options.has_engines:
        return made, report
    on_progress("comparing with the trained model")
    return made, check_backends(source, work, frames, options)


def check_place(output: Path, overwrite: bool) -> None:
    """Refuse to replace existing files, except an export with `overwrite`.

    Raises:
        OutputExistsError: there is something else, or `overwrite` is not set.
    """
    if output.is_dir() or not output.exists():
        check_folder(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise OutputExistsError(f"{output} is there already and not empty. Choose another name, or overwrite it.")
    if not output.is_dir() or not (list(output.glob(METADATA_NAME)) or list(output.glob(f"*/{METADATA_NAME}"))):
        raise OutputExistsError(
            f"{output} is there already and is not an export: it is not replaced. Choose another name, or remove it."
        )


def put_in_place(work: Path, output: Path) -> None:
    """Rename a finished directory to its final name; delete the old one afterwards."""
    old = None
    if output.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
        output.rename(old / "old")
    work.rename(output)
    if old is not None:
        shutil.rmtree(old)


def _fixed_size(options: ExportOptions, given: Mapping[str, Any]) -> dict[str, int]:
    """Return the size that frames are fitted into, if it is fixed in the graph."""
    if options.input_size is None:
        return {}
    fixed = dict(zip(("max_height", "max_width"), options.input_size, strict=True))
    for name, value in fixed.items():
        if given.get(name) not in (None, value):
            raise OptionError(f"{name}={given[name]} contradicts input_size={options.input_size}. Give one of them.")
    return fixed


def check_options(source: Source, options: ExportOptions) -> None:
    """Refuse options that contradict each other or the models, and warn of deprecated ones.

    Raises:
        OptionError: they do.
    """
    if options.fused and len(source.models) != 2:
        raise OptionError("fused puts two models of a top-down pipeline into one graph: give both, or leave it out.")
    if options.self_contained and len(source.models) == 2 and not options.fused:
        raise OptionError("self_contained with two models needs fused: crops are cut between them. Add fused.")
    if options.calibration is not None and options.precision not in LOWERED:
        raise OptionError(
            f"calibration has no effect in {options.precision}: only int8 and bf16 are calibrated. Leave it out."
        )
    if options.format == "mnn" and options.precision != "fp32":
        raise OptionError(f"format 'mnn' is for fp32, found precision {options.precision!r}. Leave one of them out.")
    if options.second_look is not None:
        logger.warning("second_look is deprecated and has no effect: no export has a second pass. Leave it out.")


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """Create a directory beside the output, which is deleted afterwards unless it was moved."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        work = Path(folder) / "export"
        work.mkdir()
        yield work


def _make_all(source: Source, work: Path, options: ExportOptions) -> list[BuiltGraph]:
    if options.fused or len(source.models) == 1:
        return [_make(source.models, source, work, options)]
    made = []
    for model in source.models:
        directory = work / model.spec.kind
        directory.mkdir()
        made.append(_make([model], source, directory, options))
    return made


def _make(models: Sequence[Trained], source: Source, directory: Path, options: ExportOptions) -> BuiltGraph:
    spec, inside = make_graph(models, source.settings.frames, directory, options, source.given)
    write_metadata(directory, spec)
    return BuiltGraph(directory, spec, inside)


def _judge(report: Report, source: Source, options: ExportOptions) -> None:
    if options.draw is not None:
        draw_worst(report, options.draw)
    if report.verdict == "FAIL" and not options.force:
        names = " and ".join(str(model.path) for model in source.models)
        raise ExportDiffersError(f"The export of {names} differs from it. {report.line()}. Nothing was written.")


def draw_worst(report: Report, path: Path) -> None:
    """Write a picture of the worst frame, if there is one.

    Raises:
        OutputError: the file cannot be written.
    """
    from sleap_infer.render.frame import write_image

    picture = report.draw()
    if picture is not None:
        write_image(path, picture)


def _finish(made: BuiltGraph, report: Report | None) -> BuiltGraph:
    assert made.spec.exported is not None
    facts = attrs.evolve(made.spec.exported, verdict=report.line() if report else "")
    spec = attrs.evolve(made.spec, exported=facts)
    write_metadata(made.directory, spec)
    return attrs.evolve(made, spec=spec)


def _result(made: BuiltGraph, work: Path, output: Path, report: Report | None) -> ExportResult:
    directory = output / made.directory.relative_to(work)
    engines = tuple(sorted(directory.glob("*.engine")))
    networks = tuple(sorted((directory / FOLDER).glob("*.mnn")))
    spec = attrs.evolve(made.spec, path=directory)
    return ExportResult(directory, directory / GRAPH_NAME, spec, made.inside, report, engines, networks)
