"""Peaks of confidence maps, placed between pixels. Torch, traceable: no shape depends on the data.

Peak positions are (x, y) in bins of the map. Formulas are those of SLEAP (Pereira et al. 2022, Nature Methods 19).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sleap_infer.ops.bilinear import edge_lines
from sleap_infer.ops.constants import constant, indices

MOST_LINES = 1024
"""Maps of more lines follow the rule of edges of maps with so many."""

RADIUS = 2
"""Radius in bins within which a single peak or a small flat top differs from a ridge."""


def global_peaks(
    maps: Tensor,
    threshold: float | Tensor,
    patch_size: int | None,
    offsets: Tensor | None = None,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the highest bin of each map.

    x is the column with the highest maximum and y the row with the highest maximum, the first of equals.

    Args:
        maps: (B, N, H, W) confidence maps.
        threshold: a maximum below it gives NaN coordinates and a value of 0.
        patch_size: side of the patch for integral refinement; `None` leaves peaks on the grid.
        offsets: (B, 2 * N, H, W) of an offset head, that replace that refinement.
        strict: the value is that of the bin in this column and row, not the maximum (they differ only where several
            bins have the maximum), and patches are cut as in TensorFlow; `Conventions.peaks`.

    Returns:
        Positions (B, N, 2) as (x, y) and values (B, N), unrefined.

    >>> maps = torch.zeros(1, 1, 5, 6)
    >>> maps[0, 0, 2, 3] = 0.9
    >>> global_peaks(maps, threshold=0.2, patch_size=5)
    (tensor([[[3., 2.]]]), tensor([[0.9000]]))
    """
    columns, rows = maps.amax(dim=2), maps.amax(dim=3)
    values = columns.amax(dim=2)
    x, y = columns.argmax(dim=2), rows.argmax(dim=2)
    peaks = torch.stack([x, y], dim=-1).to(maps.dtype)
    if strict:
        values = maps.flatten(2).gather(2, (y * maps.shape[-1] + x)[..., None])[..., 0]
    if offsets is not None:
        peaks = peaks + offsets_at(offsets, x[..., None], y[..., None])[..., 0, :]
    elif patch_size is not None:
        patches = gather_patches(maps, x[..., None], y[..., None], patch_size, 0.0, strict)
        peaks = peaks + centre_of_mass(patches)[..., 0, :]
    found = values >= threshold
    return peaks.masked_fill(~found[..., None], torch.nan), values.masked_fill(~found, 0.0)


def local_peaks(
    maps: Tensor,
    is_first: Tensor,
    patch_size: int | None,
    n_peaks: int,
    offsets: Tensor | None = None,
    strict: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all bins of each map that are higher than their eight neighbours, at most the `n_peaks` highest.

    Up to four equal bins that fit into 2x2 count as one peak at their mean (or, refined, at the centre of mass
    around their upper left corner). Larger plateaus are no peaks.

    Args:
        maps: (B, N, H, W) confidence maps.
        is_first: (B, N, H, W) where a peak may begin, of `first_bins`.
        patch_size: side of the patch for integral refinement; `None` leaves peaks on the grid.
        n_peaks: K, maximum number of peaks in each map; no more than a map has bins. As many as a map has
            first bins are always enough.
        offsets: (B, 2 * N, H, W) of an offset head, that replace the refinement.
        strict: patches are cut as in TensorFlow; first bins are peaks already.

    Returns:
        Positions (B, N, K, 2) as (x, y), values (B, N, K), unrefined, and which of them are peaks (B, N, K), bool.
        Peaks of a map stand in reading order: row by row, left to right. Other positions hold NaN and 0.

    >>> maps = torch.zeros(1, 1, 5, 9)
    >>> maps[0, 0, 1, 6], maps[0, 0, 3, 1:3] = 0.9, 0.8
    >>> peaks, values, is_peak = local_peaks(maps, first_bins(maps, 0.2), patch_size=None, n_peaks=3)
    >>> peaks[0, 0, :2].tolist(), is_peak[0, 0].tolist()
    ([[6.0, 1.0], [1.5, 3.0]], [True, True, False])
    """
    height, width = maps.shape[-2:]
    candidates = torch.where(is_first.flatten(2), maps.flatten(2), -torch.inf)
    values, index = candidates.topk(n_peaks, dim=2)
    index, order = index.masked_fill(values.isinf(), candidates.shape[2]).sort(dim=2)
    values = values.gather(2, order)
    index = index.clamp(max=candidates.shape[2] - 1)
    # Looked up, since the exporter cannot divide by a width that is open.
    x = torch.arange(width, device=maps.device).expand(height, width).flatten()[index]
    y = torch.arange(height, device=maps.device)[:, None].expand(height, width).flatten()[index]

    around = gather_patches(maps, x, y, 2 * RADIUS + 1, outside=-torch.inf)
    is_top, corner, mean = flat_tops(around)
    is_peak = is_top & ~values.isinf()
    grid = torch.stack([x, y], dim=-1).to(maps.dtype)
    if offsets is not None:
        peaks = grid + offsets_at(offsets, x, y)
    elif patch_size is None:
        peaks = grid + mean
    else:
        left = x + corner.long()
        patches = gather_patches(maps, left, y, patch_size, 0.0, strict)
        peaks = torch.stack([left.to(maps.dtype), grid[..., 1]], dim=-1) + centre_of_mass(patches)
    return peaks.masked_fill(~is_peak[..., None], torch.nan), values.masked_fill(~is_peak, 0.0), is_peak


def first_bins(maps: Tensor, threshold: float | Tensor, strict: bool = False) -> Tensor:
    """Return the bins that may be the first one (in reading order) of a peak.

    Higher than the neighbours read before, no lower than those read after: at most one bin of any plateau. Each map
    is looked at as an image of one channel: OpenVINO keeps channels innermost, where a few of them fill no vector.

    Args:
        maps: (B, N, H, W) confidence maps.
        threshold: peaks have to be strictly higher.
        strict: no plateau is a peak; these are bins that are higher than all their neighbours.

    Returns:
        (B, N, H, W) bool.
    """
    planes = maps.flatten(0, 1)[:, None]
    padded = F.pad(planes, (1, 1, 1, 1), value=-torch.inf)
    rows = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    before = torch.maximum(rows[..., :-2, :], padded[..., 1:-1, :-2])
    after = torch.maximum(rows[..., 2:, :], padded[..., 1:-1, 2:])
    above = planes > after if strict else planes >= after
    return ((planes > before) & above & (planes > threshold)).view(maps.shape)


def flat_tops(around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Classify the plateau that starts at the centre of each 5x5 patch.

    Args:
        around: (..., 5, 5) map values around the first bin of a plateau, -inf outside the map.

    Returns:
        Whether the plateau is a peak, that is, fits into 2x2 bins and has only lower bins around it (...);
        column of its left edge relative to the centre, -1 or 0 (...); its mean relative to the centre (..., 2).
    """
    value = around[..., RADIUS, RADIUS, None]
    right = around[..., RADIUS, RADIUS + 1] == value[..., 0]
    below = around[..., RADIUS + 1, RADIUS - 1 : RADIUS + 2] == value
    corner = torch.where(below[..., 0], -1, 0)
    leans_left = below[..., 0]  # no torch.where on truth values: ONNX Runtime has none
    is_top = (leans_left & _is_top(around, value, -1)) | (~leans_left & _is_top(around, value, 0))
    weight = torch.stack([right, *below.unbind(-1)], dim=-1).to(around.dtype)
    offsets = constant(((1, 0), (-1, 1), (0, 1), (1, 1)), around.device, around.dtype)
    mean = (weight[..., None] * offsets).sum(-2) / (1 + weight.sum(-1, keepdim=True))
    return is_top, corner, mean


def _is_top(around: Tensor, value: Tensor, left: int) -> Tensor:
    """Return whether the bins of `value` in the 2x2 window with left column `left` are higher than all around them."""
    bins = [(y, x) for y in range(1, 5) for x in range(RADIUS + left - 1, RADIUS + left + 3)]
    window = [(y, x) for y, x in bins if y in (2, 3) and x - RADIUS - left in (0, 1)]
    ring = [position for position in bins if position not in window]
    touching = tuple(tuple(float(abs(y - v) <= 1 and abs(x - u) <= 1) for v, u in window) for y, x in ring)
    flat, device = around.flatten(-2), around.device
    members = flat[..., indices(tuple(5 * y + x for y, x in window), device)]
    rivals = (flat[..., indices(tuple(5 * y + x for y, x in ring), device)] >= value).to(around.dtype)
    rivals = rivals @ constant(touching, device, around.dtype)
    return (members.amax(-1) <= value[..., 0]) & ((rivals * (members == value)).sum(-1) == 0)


def gather_patches(
    maps: Tensor, x: Tensor, y: Tensor, size: int, outside: float, by_tensorflow: bool = False
) -> Tensor:
    """Gather square patches around bins, whose upper left bin is (x - size // 2, y - size // 2).

    Args:
        maps: (B, N, H, W).
        x: (B, N, K) integer columns.
        y: (B, N, K) integer rows.
        size: side of the patches in bins.
        outside: what stands for bins outside the map.
        by_tensorflow: whether bins at the edge are outside where `tf.image.crop_and_resize` rounds them there.

    Returns:
        (B, N, K, size, size).
    """
    height, width = maps.shape[-2:]
    offsets_around = torch.arange(size, device=maps.device) - size // 2
    rows = (y[..., None] + offsets_around)[..., :, None]
    columns = (x[..., None] + offsets_around)[..., None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if by_tensorflow:
        inside &= _edge_is_inside(rows[..., 0], height)[..., :, None]
        inside &= _edge_is_inside(columns[..., 0, :], width)[..., None, :]
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    patches = maps.flatten(2).gather(2, index.flatten(2)).view(index.shape)
    return torch.where(inside, patches, outside)


def _edge_is_inside(lines: Tensor, length: int) -> Tensor:
    """Return where TensorFlow's rounding does not put the first or the last line of maps outside.

    The rule is looked up: runtimes that replace a division by a product round otherwise.

    Args:
        lines: (..., k) integer lines of patches, from the first to the last of each.
        length: of the maps.
    """
    last = torch.arange(length, device=lines.device)[-1]
    rule = constant(_edge_rule(lines.shape[-1]), lines.device, torch.float32)[last.clamp(max=MOST_LINES - 1)] > 0
    size = lines.shape[-1]
    return ((lines != 0) | rule[:size]) & ((lines != last) | rule[size:])


@lru_cache
def _edge_rule(size: int) -> tuple[tuple[float, ...], ...]:
    """`edge_lines` of maps of 1 to `MOST_LINES` lines, one after the other."""
    found = edge_lines(size, np.arange(1, MOST_LINES + 1)).reshape(MOST_LINES, -1)
    return tuple(map(tuple, found.astype(float).tolist()))


def offsets_at(offsets: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the values of an offset head at bins.

    Args:
        offsets: (B, 2 * N, H, W); channels 2n and 2n + 1 are x and y of node n, in bins.
        x: (B, N, K) integer columns.
        y: (B, N, K) integer rows.

    Returns:
        (B, N, K, 2) as (x, y), in bins.

    >>> one = torch.tensor([[[1]]])
    >>> offsets_at(torch.arange(8.0).view(1, 2, 2, 2), one, 0 * one)
    tensor([[[[1., 5.]]]])
    """
    maps = offsets.unflatten(1, (-1, 2)).flatten(3)
    bins = (y * offsets.shape[-1] + x)[:, :, None].expand(-1, -1, 2, -1)
    return maps.gather(3, bins).transpose(2, 3)


def centre_of_mass(patches: Tensor) -> Tensor:
    """Return the mean offset from a patch's centre, weighted with its values (integral refinement).

    Nothing is clipped: negative values count, and a patch whose sum is near zero gives offsets without bound.

    Args:
        patches: (..., k, k).

    Returns:
        (..., 2) as (x, y) in bins.

    >>> centre_of_mass(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    tensor([0.5000, 0.0000])
    """
    size = patches.shape[-1]
    at = torch.arange(size, device=patches.device, dtype=patches.dtype) - (size - 1) / 2
    total = patches.sum(dim=(-2, -1))
    x = (patches * at).sum(dim=(-2, -1)) / total
    y = (patches * at[:, None]).sum(dim=(-2, -1)) / total
    return torch.stack([x, y], dim=-1)
