"""Inputs and outputs of sleap-nn's exports, converted to our conventions. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import ImageError
from sleap_infer.model.settings import ImageSettings
from sleap_infer.model.spec import ModelSpec
from sleap_infer.poses.candidates import Candidates
from sleap_infer.poses.geometry import Floats
from sleap_infer.poses.preprocess import fit_channels

NAN, ZERO = np.float32(np.nan), np.float32(0)

MASKED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "instance_valid": (("centroids", "peaks", "class_probs"), ("centroid_vals", "peak_vals")),
    "peak_mask": (("peaks", "class_probs"), ("peak_vals",)),
    "candidate_mask": (("line_scores",), ()),
}
"""Arrays that are NaN, and that are 0, where a mask is false."""


def fit_images(images: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    """Convert channels for a graph, and check the size of images, because the graph would stretch others.

    Args:
        images: (B, C, H, W).
        spec: of the export.

    Returns:
        (B, C', H, W).

    Raises:
        ImageError: the graph requires another height or width.
    """
    assert spec.exported is not None
    size = spec.exported.input_size
    fed = None if size is None else tuple(int(side * spec.preprocessing.scale) for side in size)
    if fed is not None and images.shape[2:] != fed:
        raise ImageError(
            f"The graph in {spec.path} takes images of (H, W) = {fed} and would stretch or cut others wrongly, found "
            f"{images.shape[2:]}. Give whole images to predict, or crops of crop_size, without resizing them."
        )
    is_colour = spec.backbone.in_channels == 3
    return fit_channels(images, ImageSettings(ensure_rgb=is_colour, ensure_grayscale=not is_colour))


def undo_quirks(outputs: Mapping[str, NDArray[Any]], spec: ModelSpec) -> Candidates:
    """Convert the outputs of a sleap-nn graph to candidates as in `sleap_infer.poses.candidates`.

    Positions are scaled to pixels of the graph's input. Entries without a peak get NaN positions and values of 0.
    Peaks, which are sorted by value, are sorted by row and column. `class_probs` are probabilities already.

    Args:
        outputs: by their names in the contract.
        spec: of the export.
    """
    assert spec.exported is not None
    found, scale = dict(outputs), np.float32(spec.exported.output_scale)
    for name in ("peaks", "centroids"):
        if name in found:
            found[name] = found[name] * scale
    if spec.row.is_fused:
        found["peaks"] = uncrop(found["peaks"], found["centroids"], spec)
    for mask_name, (to_nan, to_zero) in MASKED.items():
        if mask_name in found:
            mask = found[mask_name].astype(bool)
            found |= {name: _masked(found[name], mask, NAN) for name in to_nan if name in found}
            found |= {name: _masked(found[name], mask, ZERO) for name in to_zero if name in found}
    return in_reading_order(found, spec)


def uncrop(peaks: Floats, centroids: Floats, spec: ModelSpec) -> Floats:
    """Return the positions in the frame of points in crops that the graph cut.

    With S the side of a crop and D that of the frame, the graph samples column k of a crop around c at

        x(k) = c - S (D - 1) / (2 D) + k S (D - 1) / (D (S - 1))

    but reports points as if it were c - S / 2 + k. Half a pixel is added, as models are trained for it (see
    `preprocess.place_crops`). Uncorrected, points are about one pixel too far to the left and to the top.

    Args:
        peaks: (B, I, N, 2) as the graph reports them.
        centroids: (B, I, 2).
        spec: of the export, with the sizes of its crops and of its frames.

    Returns:
        (B, I, N, 2) in pixels of the frame.
    """
    assert spec.exported is not None
    assert spec.exported.input_size is not None
    assert spec.preprocessing.crop_size is not None
    side = np.float64(spec.preprocessing.crop_size)
    frame = np.array(spec.exported.input_size[::-1], np.float64)
    extent, centres = side * (frame - 1) / frame, centroids[:, :, None].astype(np.float64)
    inside = peaks - (centres - side / 2)
    points: Floats = (centres - extent / 2 + inside * extent / (side - 1) + 0.5).astype(np.float32)
    return points


def in_reading_order(found: Candidates, spec: ModelSpec) -> Candidates:
    """Sort candidates by row and column, as in `ops.peaks`, empty ones last.

    The choice among equally probable assignments depends on the order.
    """
    key, mask = ("centroids", "instance_valid") if "centroids" in found else ("peaks", "peak_mask")
    if mask not in found:
        return found
    # The mean of a plateau lies up to half a pixel of the map below its first row.
    stride = 1 if spec.row.is_fused else spec.map_head("ConfmapsHead").output_stride
    rows = np.floor(found[key][..., 1] / stride + 0.25)
    order = np.lexsort((found[key][..., 0], rows), axis=-1)
    lines = {
        name: _sorted_lines(found[name], order, spec) for name in ("line_scores", "candidate_mask") if name in found
    }
    return {name: _sorted(values, order) for name, values in found.items() if name not in lines} | lines


def _sorted(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """Sort values (..., K, more axes) by an order (..., K)."""
    index = order.reshape(order.shape + (1,) * (values.ndim - order.ndim))
    return np.take_along_axis(values, index, axis=order.ndim - 1)


def _sorted_lines(values: NDArray[Any], order: NDArray[np.int64], spec: ModelSpec) -> NDArray[Any]:
    """Sort values (B, E, K * K) of connections by an order (B, N, K) of the peaks of each node."""
    sources, destinations = (order[:, list(nodes)] for nodes in zip(*spec.paf_edges, strict=True))
    square = values.reshape(*sources.shape, -1)
    square = np.take_along_axis(square, sources[..., None], axis=2)
    return np.take_along_axis(square, destinations[:, :, None], axis=3).reshape(values.shape)


def _masked(values: NDArray[Any], mask: NDArray[np.bool_], empty: np.float32) -> NDArray[Any]:
    """Replace values (..., more axes) where the mask (...) is false."""
    return np.where(mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)), values, empty)
