"""From trained models to exported directories."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from sleap_infer.candidates import CANDIDATE_NAMES
from sleap_infer.errors import BackendNotInstalledError, ExportedModelError, OptionError, OutputExistsError
from sleap_infer.export.gate import Report, compare_runners, structured_images
from sleap_infer.model import ModelSpec, build_network, find_model_files, read_spec
from sleap_infer.model.directory import METADATA_NAME
from sleap_infer.model.exported import OUR_KEY, hash_file, spec_to_json
from sleap_infer.model.spec import ExportFacts
from sleap_infer.options import DEFAULT_PLACES, InferenceOptions, ReturnOptions
from sleap_infer.runners import find_runner
from sleap_infer.settings import StageSettings, in_order, pipeline_kind, resolve

if TYPE_CHECKING:
    from torch import nn

GRAPH_NAME = "model.onnx"
BAKED_OPTIONS = ("refinement", "integral_patch_size")
BAKED_BOTTOMUP = ("n_points", "max_edge_length_ratio", "dist_penalty_weight")
N_CHECKED = 8
FALLBACK_SIZE = 192


@frozen
class ExportOptions:
    """What goes into the graph, and what is done around it.

    Attributes:
        max_instances: room for centroids.
        max_peaks_per_node: room for peaks of each node.
        opset_version: of ONNX; `None` takes the default.
        validate: compare the export with its source before it is put in place.
        force: put it in place although the comparison failed.
        overwrite: replace an export that is there already.
        before: a module that gets the uint8 images first.
        after: a module that gets the candidates last.
    """

    max_instances: int = DEFAULT_PLACES
    max_peaks_per_node: int = DEFAULT_PLACES
    opset_version: int | None = None
    validate: bool = True
    force: bool = False
    overwrite: bool = False
    before: nn.Module | None = None
    after: nn.Module | None = None

    def __attrs_post_init__(self) -> None:
        """Check the caps."""
        for name in ("max_instances", "max_peaks_per_node"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is a whole number from 1 up, found {getattr(self, name)!r}.")


@frozen
class ExportResult:
    """What was made of one model.

    Attributes:
        directory: that holds the graph and its metadata, enough to predict.
        graph: the ONNX file.
        spec: the exported model's facts.
        inside: inputs, outputs, opset and size of the graph.
        report: how it compares with its source; `None` if that was not asked for.
    """

    directory: Path
    graph: Path
    spec: ModelSpec
    inside: Mapping[str, Any]
    report: Report | None

    def __str__(self) -> str:
        """What was made, and how to run it with nothing but onnxruntime and numpy."""
        facts = self.spec.exported
        assert facts is not None
        lines = [f"{self.graph} ({self.spec.kind}, opset {self.inside['opset']}, {self.inside['n_nodes']} operations)"]
        lines += [f"  in   {name}: {form}" for name, form in self.inside["inputs"].items()]
        lines += [f"  out  {name}: {form}" for name, form in self.inside["outputs"].items()]
        lines.append(f"  room for {facts.n_places} peaks per node, or centroids; a frame that fills it is reported")
        lines.append(f"  check {self.report.line()}" if self.report else "  check: none was made")
        return "\n".join([*lines, "", self.snippet()])

    def snippet(self) -> str:
        """A program that runs the graph with nothing but onnxruntime and numpy."""
        stride, channels = self.spec.max_stride, self.spec.backbone.in_channels
        return (
            "import numpy as np\n"
            "import onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({str(self.graph)!r}, providers=['CPUExecutionProvider'])\n"
            f"# Height and width are multiples of {stride}.\n"
            f"image = np.zeros((1, {channels}, {stride * 8}, {stride * 8}), np.uint8)\n"
            f"{', '.join(CANDIDATE_NAMES[self.spec.kind])} = session.run(None, {{'image': image}})\n"
        )


def export(
    models: str | Path | Sequence[str | Path],
    output: str | Path,
    options: ExportOptions | None = None,
    frames: Any = None,
    **inference_options: Any,
) -> list[ExportResult]:
    """Export trained models as ONNX graphs that give the same candidates.

    Args:
        models: one model directory, or two that make a top-down pipeline; these become two directories in `output`.
        output: directory to make.
        options: of the export.
        frames: images to compare on, as in `BaseInferenceRunner.predict`; by default generated ones.
        **inference_options: by name, those that become part of the graph: refinement, integral_patch_size, n_points,
            max_edge_length_ratio, dist_penalty_weight; and peak_threshold, the default of the graph's input.

    Returns:
        One result per model, in the order in which they run.

    Raises:
        ModelError: a model cannot be read.
        OptionError: an option is wrong or has no effect.
        BackendNotInstalledError: a package that exporting needs is missing.
        OutputExistsError: there is something at `output` already.
        ExportedModelError: the export differs from its source beyond the limits; nothing is put in place.
    """
    options = options or ExportOptions()
    _require_packages()
    given = [models] if isinstance(models, (str, Path)) else list(models)
    paths = {Path(path): read_spec(path) for path in given}
    specs = in_order(list(paths.values()))
    settings = resolve(specs, InferenceOptions.from_names(inference_options, pipeline_kind(specs)))
    output = Path(output)
    if output.exists() and any(output.iterdir()) and not options.overwrite:
        raise OutputExistsError(f"{output} is there already and not empty. Choose another name, or overwrite it.")
    results = []
    for spec, stage in zip(specs, settings.stages, strict=True):
        path = next(path for path, read in paths.items() if read is spec)
        results.append(
            _export_one(path, spec, stage, output if len(specs) == 1 else output / spec.kind, options, frames)
        )
    return results


def _export_one(
    path: Path, spec: ModelSpec, settings: StageSettings, target: Path, options: ExportOptions, frames: Any
) -> ExportResult:
    """Make the export beside its target, check it, and put it in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        place = Path(folder) / "export"
        place.mkdir()
        exported, inside = _write(path, spec, settings, place, options)
        report = _check(path, place, settings, frames) if options.validate and options.after is None else None
        if report is not None and report.verdict == "FAIL" and not options.force:
            raise ExportedModelError(
                f"The export of {path} differs from it. {report.line()}. Nothing was put in place."
            )
        assert exported.exported is not None
        facts = attrs.evolve(exported.exported, verdict=report.line() if report else "")
        exported = attrs.evolve(exported, exported=facts, path=target)
        _write_metadata(place, exported, settings, options)
        if target.exists():
            shutil.rmtree(target)
        place.rename(target)
    return ExportResult(target, target / GRAPH_NAME, exported, inside, report)


def _write(
    path: Path, spec: ModelSpec, settings: StageSettings, place: Path, options: ExportOptions
) -> tuple[ModelSpec, dict[str, Any]]:
    from sleap_infer.export.graph import DEFAULT_OPSET, GraphNetwork, finish_graph, write_graph
    from sleap_infer.runners.pose_network import PoseNetwork

    files = find_model_files(path)
    room = options.max_instances if spec.kind == "centroid" else options.max_peaks_per_node
    network = PoseNetwork(build_network(spec, files), spec, settings, n_peaks=room)
    with _quiet():
        write_graph(
            GraphNetwork(network, options.before, options.after),
            spec,
            settings,
            place / GRAPH_NAME,
            options.opset_version or DEFAULT_OPSET,
        )
    facts = ExportFacts(
        sha256="",
        n_places=room,
        baked=_baked(spec, settings),
        source=str(files.weights.resolve()),
        source_sha256=hash_file(files.weights),
    )
    exported = attrs.evolve(spec, exported=facts, format="onnx")
    inside = finish_graph(place / GRAPH_NAME, settings.peak_threshold, {OUR_KEY: json.dumps(spec_to_json(exported))})
    exported = attrs.evolve(exported, exported=attrs.evolve(facts, sha256=hash_file(place / GRAPH_NAME)))
    _write_metadata(place, exported, settings, options)
    return exported, inside


def _check(path: Path, place: Path, settings: StageSettings, frames: Any) -> Report:
    """Compare the export with its source, given as much room, on frames, or on generated ones of two sizes."""
    from sleap_infer.runners.torch import InferenceRunnerTorch

    source_spec, spec = read_spec(path), read_spec(place)
    assert spec.exported is not None
    returned = ReturnOptions()
    with (
        InferenceRunnerTorch.open(path, source_spec, settings, returned, "cpu") as source,
        find_runner("onnx").open(place, spec, settings, returned, "cpu") as export,
    ):
        assert isinstance(source, InferenceRunnerTorch)
        source.module.n_peaks = spec.exported.n_places
        images = _images(spec, settings) if frames is None else frames
        return compare_runners(source, export, images, are_real=frames is not None)


def _images(spec: ModelSpec, settings: StageSettings) -> list[Any]:
    side = settings.crop_size
    size = (
        (side, side)
        if side
        else (settings.images.max_height or FALLBACK_SIZE, settings.images.max_width or FALLBACK_SIZE)
    )
    channels = spec.backbone.in_channels
    other = (max(size[0] * 2 // 3, 16), max(size[1] * 2 // 3, 16))
    half = N_CHECKED // 2
    return [structured_images(half, size, channels, 1), structured_images(half, other, channels, 2)]


def _baked(spec: ModelSpec, settings: StageSettings) -> dict[str, Any]:
    peaks = {name: getattr(settings.peaks, name) for name in BAKED_OPTIONS}
    if spec.kind != "bottomup":
        return peaks
    return {**peaks, **{name: getattr(settings.grouping, name) for name in BAKED_BOTTOMUP}}


def _write_metadata(place: Path, spec: ModelSpec, settings: StageSettings, options: ExportOptions) -> None:
    """`export_metadata.json`: sleap-nn's fields, and ours."""
    facts, confmaps = spec.exported, spec.map_head("ConfmapsHead")
    assert facts is not None
    crop = settings.crop_size
    fields = {
        "sleap_nn_version": spec.written_by,
        "export_timestamp": datetime.now(UTC).isoformat(),
        "export_format": "onnx",
        "model_type": spec.kind,
        "model_name": Path(facts.source).parent.name,
        "checkpoint_path": facts.source,
        "backbone": spec.backbone.kind,
        "n_nodes": spec.n_nodes,
        "n_edges": len(spec.paf_edges),
        "node_names": list(spec.skeleton.nodes),
        "edge_inds": [list(edge) for edge in spec.paf_edges],
        "input_scale": settings.images.input_scaling,
        "input_channels": spec.backbone.in_channels,
        "output_stride": confmaps.output_stride,
        "crop_size": [crop, crop] if crop else None,
        "max_instances": options.max_instances,
        "max_peaks_per_node": options.max_peaks_per_node,
        "precision": facts.precision,
        "peak_threshold": settings.peak_threshold,
        "input_dtype": "uint8",
        "normalization": "0_to_1",
        "n_classes": len(spec.classes),
        "class_names": list(spec.classes),
        "anchor_part": spec.anchor_part,
        "training_config_embedded": False,
        "sleap_infer_version": version("sleap-infer"),
        OUR_KEY: spec_to_json(spec),
    }
    (place / METADATA_NAME).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendNotInstalledError(
            f"Exporting needs {error.name}, which is not installed. Install: pip install 'sleap-infer[export]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own internals and about packages that no model here uses."""
    import logging

    names = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
