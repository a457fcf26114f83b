"""Build TensorRT engines beside exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sleap_infer.checks.validate import Source
from sleap_infer.config.graph_options import ExportOptions, Size
from sleap_infer.config.options import DEFAULT_BATCH_SIZE, StreamOptions
from sleap_infer.errors import DeviceError, OptionError
from sleap_infer.frames import open_source
from sleap_infer.graphs.build import GRAPH_NAME, network_size, of_network
from sleap_infer.quantization.accuracy_search import BuiltGraph
from sleap_infer.reports import OnProgress
from sleap_infer.runners.tensorrt.cuda import Gpu, find_gpu
from sleap_infer.runners.tensorrt.engines import EngineStore, Profile, Range, require_tensorrt

NO_SIZE = (
    "An engine is built for sizes of images, and none is known. Give --input-size HEIGHTxWIDTH, or three of them as "
    "MIN,BEST,MAX, or --frames VIDEO to take its size."
)


def check_engines(source: Source, options: ExportOptions, frames: Any) -> None:
    """Check that engines can be built, before anything is written.

    Raises:
        BackendNotInstalledError: TensorRT is not installed.
        DeviceError: there is no GPU, and this TensorRT needs one.
        OptionError: no size is known, or an option cannot be combined with engines.
    """
    if not options.has_engines:
        if options.batch_range or options.size_range:
            raise OptionError("Three numbers MIN,BEST,MAX are for engines: add --format tensorrt, or give one.")
        return
    if options.layout == "flat":
        raise OptionError("layout 'flat' has as many rows as there are points, which an engine has not. Leave it out.")
    trt = require_tensorrt()
    if gpu_here() is None and trt.__name__ != "tensorrt_rtx":
        raise DeviceError(
            f"{trt.__name__} {trt.__version__} builds engines on the GPU that they are for, and there is none here. "
            "Export with --format onnx, and let backend='tensorrt' build them where they run; or install tensorrt-rtx."
        )
    for model in source.models:
        _batch(options, model.spec.row.on_crops)
        if not model.spec.row.on_crops:
            _sizes(source, options, frames)


def build_engines(
    source: Source, graphs: Sequence[BuiltGraph], options: ExportOptions, frames: Any, on_progress: OnProgress
) -> list[Path]:
    """Build the engine of every graph of a pipeline, beside the graph.

    Args:
        source: the trained models.
        graphs: their graphs.
        options: of the export.
        frames: source for the export check; its frame size is used if no other is known.
        on_progress: called with one line per step.

    Raises:
        ExportedModelError: TensorRT rejects a graph.
        BackendError: an engine cannot be built.
    """
    trt, gpu = require_tensorrt(), gpu_here()
    paths = []
    for item in graphs:
        facts = item.spec.exported
        assert facts is not None
        store = EngineStore(trt, item.directory / GRAPH_NAME, facts.sha256, facts.precision, gpu)
        profile = engine_profile(source, item, options, frames)
        on_progress(f"building an engine of {item.spec.kind} with {trt.__name__} {trt.__version__}")
        paths.append(store.make(profile))
    return paths


def gpu_here() -> Gpu | None:
    """Return the first GPU of this machine, if there is one."""
    try:
        return find_gpu("cuda")
    except DeviceError:
        return None


def engine_profile(source: Source, made: BuiltGraph, options: ExportOptions, frames: Any) -> Profile:
    """Return the range of image sizes for the engine of a graph."""
    facts = made.spec.exported
    assert facts is not None
    on_crops = made.spec.row.on_crops
    stage = source.settings.stages[-1 if on_crops else 0]
    if on_crops:
        assert stage.crop_size is not None
        sizes = ((stage.crop_size, stage.crop_size),) * 3
    else:
        sizes = _sizes(source, options, frames)
    if facts.inside == "network":
        images = of_network(source.models[-1 if on_crops else 0])
        least, best, most = (network_size(size, images) for size in sizes)
    else:
        least, best, most = sizes
    channels = 3 if source.settings.frames.ensure_rgb else made.spec.backbone.in_channels
    height, width = zip(least, best, most, strict=True)
    return Profile(_batch(options, on_crops), (1, channels, 3), height, width)


def _batch(options: ExportOptions, on_crops: bool) -> Range:
    if options.batch_size:
        return (options.batch_size,) * 3
    usual = options.max_batch_size or (StreamOptions().crop_batch_size if on_crops else DEFAULT_BATCH_SIZE)
    if options.batch_range is None:
        return 1, usual, usual
    least, best, most = options.batch_range
    if not 1 <= least <= best <= most:
        raise OptionError(f"Batch sizes MIN,BEST,MAX go up from 1, found {least},{best},{most}.")
    return least, best, most


def _sizes(source: Source, options: ExportOptions, frames: Any) -> tuple[Size, Size, Size]:
    fitted = source.settings.frames
    if options.size_range is not None:
        least, best, most = options.size_range
        if any(not a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
            raise OptionError(f"Sizes MIN,BEST,MAX go up, found {least}, {best}, {most}.")
        return options.size_range
    if options.input_size is not None:
        return (options.input_size,) * 3
    if options.inside == "network" and fitted.max_height and fitted.max_width:
        return ((fitted.max_height, fitted.max_width),) * 3
    if frames is None:
        raise OptionError(NO_SIZE)
    with open_source(frames) as opened:
        height, width = next(batch for batch in opened.batches(1) if len(batch.images)).images.shape[2:]
    return ((height, width),) * 3
