"""Compare an exported directory with the trained models it was made from, at export or later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import attrs
from attrs import frozen

from sleap_infer.checks.check import compare_poses, compare_raw, predict_frames, record
from sleap_infer.checks.images import CheckFrames, choose_frames
from sleap_infer.checks.report import Report
from sleap_infer.choices import Precision
from sleap_infer.config.graph_options import ExportOptions, GraphOptions
from sleap_infer.errors import (
    BackendError,
    BackendNotInstalledError,
    ModelCombinationError,
    UnsupportedModelError,
)
from sleap_infer.graphs.build import Trained, build_graph
from sleap_infer.model import ModelSpec, expand_model_path, find_model_files, read_spec
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.model.settings import PipelineSettings, in_order, pipeline_kind, read_options, resolve
from sleap_infer.poses.compare import points_of
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors import Predictor
from sleap_infer.runners.graph.openvino import computes_lower
from sleap_infer.runners.registry import find_facts
from sleap_infer.runners.tensorrt.cuda import find_gpu

BATCH_SIZE = 4

LEAST_INSTANCES = 200
"""Of lower precision: 1 % of them may change, and one that jumps counts twice, as missed and added."""

MOST_TIMES = 8
"""At most this many times the requested frames are compared, to reach `LEAST_INSTANCES`."""


@frozen
class Source:
    """Trained models with their resolved settings.

    Attributes:
        models: in execution order.
        settings: of their pipeline.
        given: inference options that were given, by name.
    """

    models: tuple[Trained, ...]
    settings: PipelineSettings
    given: dict[str, Any]

    @classmethod
    def read(cls, models: str | Path | Sequence[str | Path], given: Mapping[str, Any]) -> Source:
        """Read the specs of the models and resolve their settings.

        Raises:
            ModelError: a model cannot be read, or they do not form a pipeline.
            OptionError: an option is wrong or has no effect.
        """
        paths = [Path(models)] if isinstance(models, (str, Path)) else [Path(model) for model in models]
        read = [(path, read_spec(path, given.get("ignore_unknown_settings") is True)) for path in paths]
        specs = in_order([spec for _, spec in read])
        options = {name: value for name, value in given.items() if value is not None}
        settings = resolve(specs, read_options(specs, pipeline_kind(specs), options))
        ordered = [next(path for path, spec in read if spec is wanted) for wanted in specs]
        trained = tuple(map(Trained, ordered, specs, settings.stages))
        return cls(trained, settings, options)

    @property
    def kind(self) -> str:
        """Return the kind of the pipeline."""
        return self.settings.kind


def validate(
    exported: str | Path,
    against: str | Path | Sequence[str | Path],
    frames: Any = None,
    options: ExportOptions | None = None,
    backend: str = "onnx",
    ignore_unknown_settings: bool = False,
) -> Report:
    """Compare an exported directory with the trained models it was made from.

    Args:
        exported: an exported directory, or one with two of a top-down pipeline.
        against: the trained models.
        frames: source for the check, as in `export`.
        options: `n_frames`, `max_error_px`, `device` and `draw` are used.
        backend: that runs the export.
        ignore_unknown_settings: of the trained models; as in `sleap_infer.config.options`.

    Raises:
        ModelError: something cannot be read, or the export was made from other models.
        SourceError: the frames cannot be read.
    """
    exported = Path(exported)
    specs = in_order([read_spec(path) for path in expand_model_path(exported)])
    facts = specs[-1].exported
    if facts is None:
        raise UnsupportedModelError(f"{exported} is a trained model, not an exported one. Export it first.")
    _check_origin(against, specs, exported)
    ignore = {"ignore_unknown_settings": True} if ignore_unknown_settings else {}
    source = Source.read(against, {**facts.given, **ignore})
    options = options or ExportOptions()
    options = attrs.evolve(
        options,
        precision=max((spec.exported.precision for spec in specs if spec.exported), key=get_args(Precision).index),
        layout=facts.layout,
        fused=len(source.models) > len(specs),
        self_contained=facts.inside == "fitting",
        max_instances=_capacity_for_centroids(specs, facts.n_places),
        max_peaks_per_node=facts.n_places,
    )
    return check(source, exported, frames, options, backend)


def check(source: Source, exported: Path, frames: Any, options: ExportOptions, backend: str = "onnx") -> Report:
    """Compare an exported directory with its source, whose settings are resolved."""
    with Checker(source, frames, options) as checker:
        return checker.check(exported, backend)


def check_backends(source: Source, exported: Path, frames: Any, options: ExportOptions) -> Report:
    """Compare an export on all backends with different results, and return the worst report.

    These are ONNX Runtime, which computes with rounded weights in fp32; OpenVINO, if the CPU has 16-bit arithmetic;
    MNN, if its networks are in the export; and TensorRT for engines, if there is a GPU.
    """
    with Checker(source, frames, options) as checker:
        has_gpu = options.has_engines and _has_gpu()
        reports = [checker.check(exported, "tensorrt")] if has_gpu else []
        if not has_gpu or options.format == "both":
            reports.append(checker.check_on_cpu(exported))
        if options.format == "mnn":
            reports.append(checker.check(exported, "mnn"))
    return worst(reports)


def worst(reports: Sequence[Report]) -> Report:
    """Return the worst report."""
    return max(reports, key=lambda report: (("PASS", "WARN", "FAIL").index(report.verdict), report.poses.p95_px))


def _has_gpu() -> bool:
    try:
        return find_gpu("cuda") is not None
    except BackendError:
        return False


def cpu_backends(precision: Precision) -> list[str]:
    """Return the CPU backends with different results on this machine."""
    try:
        return ["openvino", "onnx"] if computes_lower(precision) else ["onnx"]
    except BackendNotInstalledError:
        return ["onnx"]


class Checker:
    """Compares exports of one source, which is run only once.

    Args:
        source: trained models.
        frames: source for the check, as in `export`.
        options: of the export.

    Attributes:
        expected: poses of the source, frame by frame.
    """

    def __init__(self, source: Source, frames: Any, options: ExportOptions) -> None:
        paths = [model.path for model in source.models]
        channels = source.models[0].spec.backbone.in_channels
        self._source, self._options = source, options
        own = {"return_images": True, "batch_size": BATCH_SIZE, **source.given}
        self._predictor = Predictor.from_model_paths(paths, device=options.device, **own)
        self._graphs = _graphs(source, options)

        def predict(n_frames: int) -> tuple[list[CheckFrames], list[Outputs]]:
            chosen = choose_frames(frames, paths, source.settings, channels, n_frames)
            return chosen, [outputs for item in chosen for outputs in predict_frames(self._predictor, item)]

        self._frames, self.expected = predict(options.n_frames)
        if options.precision != "fp32" and self._are_real and len(self.expected) >= options.n_frames:
            n_seen = sum(len(points_of(outputs)) for outputs in self.expected)
            times = min(-(-LEAST_INSTANCES // max(n_seen, 1)), MOST_TIMES)
            if times > 1:
                self._frames, self.expected = predict(options.n_frames * times)

    def __enter__(self) -> Self:
        """Enter the lifetime of the source."""
        return self

    def __exit__(self, *_details: object) -> None:
        """Close the source."""
        self._predictor.close()

    @property
    def _are_real(self) -> bool:
        return all(item.are_real for item in self._frames) and self._options.before is None

    def check_on_cpu(self, exported: Path, poses_only: bool = False) -> Report:
        """Compare an exported directory on all CPU backends with different results, and return the worst report.

        With `poses_only`, raw values are not compared, and the first backend on which poses fail ends the check.
        """
        reports: list[Report] = []
        for backend in cpu_backends(self._options.precision):
            reports.append(self.check(exported, backend, poses_only))
            if poses_only and reports[-1].pose_verdict == "FAIL":
                break
        return worst(reports)

    def check(self, exported: Path, backend: str = "onnx", poses_only: bool = False) -> Report:
        """Compare an exported directory; with `poses_only` without raw values, which take as long as the source."""
        device = find_facts(backend).devices[0]
        with Predictor.from_model_paths(exported, backend=backend, device=device, batch_size=BATCH_SIZE) as other:
            recording, recorders = record(other)
            found = [outputs for item in self._frames for outputs in predict_frames(recording, item)]
        raw = [
            row
            for graph, seen in zip(self._graphs, recorders, strict=True)
            if seen.inputs and not poses_only
            for row in compare_raw(graph, seen)
        ]
        spec = self._predictor.runners[-1].spec
        nodes = spec.skeleton.nodes if spec.row.finds_points else ("centroid",)
        return Report(
            frames=", ".join(item.name for item in self._frames),
            are_real=self._are_real,
            backend=backend,
            precision=self._options.precision,
            budget_px=self._options.budget_px,
            raw=tuple(raw),
            poses=compare_poses(self.expected, found, nodes),
        )


def _graphs(source: Source, options: GraphOptions) -> list[Any]:
    """Return the torch modules of the graphs, in fp32."""
    options = attrs.evolve(options, precision="fp32")
    parts = [list(source.models)] if options.fused else [[model] for model in source.models]
    return [build_graph(part, source.settings.frames, options) for part in parts]


def _capacity_for_centroids(specs: Sequence[ModelSpec], otherwise: int) -> int:
    return next((spec.exported.n_places for spec in specs if spec.row.finds_centroids and spec.exported), otherwise)


def _check_origin(against: str | Path | Sequence[str | Path], specs: Sequence[ModelSpec], exported: Path) -> None:
    """Refuse to compare an export of other weights.

    Raises:
        ModelCombinationError: the weights differ from the exported ones.
    """
    exports = [spec.exported for spec in specs if spec.exported]
    wanted = {digest for facts in exports for digest in facts.source_sha256.split(";") if digest}
    for path in [against] if isinstance(against, (str, Path)) else against:
        weights = find_model_files(path).weights
        if wanted and hash_file(weights) not in wanted:
            raise ModelCombinationError(
                f"{exported} was not made from {weights}, but from {'; '.join(facts.source for facts in exports)} (its "
                "SHA-256 differs). Give the model it was made from."
            )
