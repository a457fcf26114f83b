"""Inputs and outputs of exported graphs, shared by the graph backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sleap_infer.choices import Precision
from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import ExportedModelError, ImageError, OptionError, UnsupportedModelError
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import ModelSpec
from sleap_infer.poses.candidates import Candidates, join, requested_maps
from sleap_infer.runners.base import Images, Pending
from sleap_infer.runners.graph.flat import unflatten
from sleap_infer.runners.graph.sleap_nn_exports import fit_images, undo_quirks

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

IMAGE_INPUT = "image"
CENTROID_THRESHOLD, PEAK_THRESHOLD = "centroid_threshold", "peak_threshold"
"""Optional inputs with defaults in the graph."""

OUTPUT_ALIASES: Mapping[str, str] = {"class_logits": "class_probs"}
"""Names in the graphs of other programs. sleap-nn's `class_logits` are probabilities."""


def require_precision(spec: ModelSpec, wanted: Precision | None) -> None:
    """Check that a graph was exported in the requested precision.

    Raises:
        OptionError: it was not.
    """
    if spec.exported and wanted not in (None, spec.exported.precision):
        raise OptionError(
            f"precision={wanted!r} has no effect: {spec.path} was exported in {spec.exported.precision}. Leave it out, "
            f"or export the model again with --precision {wanted}."
        )


def require_export(spec: ModelSpec, returned: ReturnOptions, backend: str) -> None:
    """Check that a model can be run as a graph.

    Raises:
        UnsupportedModelError: it is a trained model.
        OptionError: maps are requested.
    """
    if spec.exported is None:
        raise UnsupportedModelError(
            f"{spec.path} is a trained model, not an exported one. Export it first: "
            f"sleap-infer export {spec.path} -o DIR; or let Predictor.from_model_paths(..., backend={backend!r}) do so."
        )
    maps = requested_maps(returned)
    if maps:
        raise OptionError(f"An exported graph gives no maps, found return_{maps[0]}. Use the trained model for them.")


def thresholds(settings: StageSettings, input_names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Return the values of a graph's inputs that are thresholds."""
    values = {PEAK_THRESHOLD: settings.peak_threshold, CENTROID_THRESHOLD: settings.centroid_threshold}
    return {name: np.array(values[name], np.float32) for name in input_names if name in values}


def run_graph(run: Callable[[Images], Arrays], images: Images, spec: ModelSpec) -> Candidates:
    """Run a graph on a batch of any size; `run` is one call of the graph. See `start_graph`."""

    def done(part: Images) -> Callable[[], Arrays]:
        outputs = run(part)
        return lambda: outputs

    return start_graph(done, images, spec)()


def start_graph(
    start: Callable[[Images], Callable[[], Arrays]],
    images: Images,
    spec: ModelSpec,
    most: int | None = None,
    padded: Callable[[int], int] = lambda n_images: n_images,
) -> Pending:
    """Start a graph on a batch of any size.

    Args:
        start: starts one call of the graph on (B, C, H, W) uint8; the result waits for the outputs by name.
        images: (B, C, H, W), uint8, or floats in [0, 1], which are rounded.
        spec: of the exported model.
        most: maximum number of images per call, if limited.
        padded: maps a number of images to the padded number.

    Returns:
        A function that waits for the candidates of all images.

    Raises:
        ImageError: the graph requires another size.
        ExportedModelError: the outputs of the graph differ from its metadata.
    """
    facts = spec.exported
    assert facts is not None
    if images.dtype != np.uint8:
        images = np.rint(images * np.float32(255)).astype(np.uint8)
    if facts.made_by == "sleap-nn":
        images = fit_images(images, spec)
    at_once = min(facts.batch_size or facts.max_batch_size or len(images), most or len(images))
    started = []
    for first in range(0, len(images), at_once):
        part = images[first : first + at_once]
        fed = _fill_up(part, facts.batch_size or padded(len(part)))
        started.append((start(np.ascontiguousarray(fed)), len(fed), len(part)))

    def take() -> Candidates:
        parts = [read_outputs(outputs(), spec, n_fed, n_images) for outputs, n_fed, n_images in started]
        return parts[0] if len(parts) == 1 else join(parts)

    return take


def read_outputs(outputs: Arrays, spec: ModelSpec, n_fed: int, n_images: int) -> Candidates:
    """Return the outputs of a graph as candidates of its first `n_images` images."""
    named = {OUTPUT_ALIASES.get(name, name): value for name, value in outputs.items()}
    assert spec.exported is not None
    if spec.exported.layout == "flat":
        named = unflatten(named, spec, n_fed)
    missing = [name for name in spec.row.arrays if name not in named]
    if missing:
        raise ExportedModelError(
            f"The graph in {spec.path} gives no {', '.join(missing)}, only {', '.join(outputs)}: it is not a "
            f"{spec.kind} model. Export the model again."
        )
    found = {name: named[name][:n_images] for name in spec.row.arrays}
    return undo_quirks(found, spec) if spec.exported.made_by == "sleap-nn" else found


def check_size(shape: tuple[int, ...], expected: list[Any], spec: ModelSpec) -> None:
    """Compare images (B, C, H, W) with the dimensions of a graph's input, numbers if fixed.

    Raises:
        ImageError: a fixed dimension differs.
    """
    if spec.exported is not None and spec.exported.made_by == "sleap-nn":
        shape = (shape[0], spec.backbone.in_channels, *shape[2:])  # as converted by run_graph
    wrong = [axis for axis in (1, 2, 3) if isinstance(expected[axis], int) and expected[axis] != shape[axis]]
    if wrong:
        raise ImageError(
            f"The graph in {spec.path} takes images of (C, H, W) = {tuple(expected[1:])}, found {tuple(shape[1:])}. "
            "Fit frames into its size, or export the model again with open sizes."
        )


def _fill_up(images: Images, batch_size: int) -> Images:
    """Append black images up to `batch_size`."""
    missing = batch_size - len(images)
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing else images
