"""The contract between the network and the instances: one set of arrays, the same for every backend.

The arrays of each kind of model, their order and their axes are in its row in `sleap_infer.config.kinds`. Positions are
(x, y) in pixels of the network's input. Positions without a peak hold NaN coordinates, scores and probabilities, and
values of 0. Where the network's maps are not finite, all values of the image (of the crop) are NaN.

Backends add, on request, `confmaps`, `pafs` and `class_maps`, as the network drew them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sleap_infer.config.options import ReturnOptions

Candidates: TypeAlias = dict[str, NDArray[Any]]

MAP_NAMES: Mapping[str, str] = {
    "confmaps": "pred_confmaps",
    "pafs": "pred_pafs",
    "class_maps": "pred_class_maps",
}
"""Maps that come with the candidates on request, and the field of `Outputs` that takes them."""

CONFIDENCES = ("peak_vals", "centroid_vals")
"""Arrays that hold 0 where there is nothing; others in floats hold NaN."""


def are_damaged(candidates: Candidates) -> NDArray[np.bool_]:
    """Return for which images, (B,), the network gave NaN or infinite values.

    >>> are_damaged({"peaks": np.zeros((2, 1, 2)), "peak_vals": np.array([[0.5], [np.nan]])}).tolist()
    [False, True]
    """
    found = np.zeros(len(next(iter(candidates.values()))), bool)
    for name in (name for name in CONFIDENCES if name in candidates):
        damaged = ~np.isfinite(candidates[name])
        if name == "peak_vals" and "instance_valid" in candidates:  # crops of empty positions are of no account
            damaged &= candidates["instance_valid"].astype(bool)[..., None]
        found |= damaged.any(axis=tuple(range(1, damaged.ndim)))
    return found


PAIRS = ("line_scores", "candidate_mask")
"""Arrays of all pairs of positions."""


def join(parts: list[Candidates]) -> Candidates:
    """Join the candidates of several batches; all have the same names, and shapes except for B, K and I.

    >>> few = {"centroid_vals": np.ones((2, 1)), "instance_valid": np.ones((2, 1), bool)}
    >>> many = {"centroid_vals": np.ones((1, 3)), "instance_valid": np.ones((1, 3), bool)}
    >>> join([few, many])["centroid_vals"]
    array([[1., 0., 0.],
           [1., 0., 0.],
           [1., 1., 1.]])
    """
    n_positions = max(_count_positions(part) for part in parts)
    parts = [_with_positions(part, n_positions) for part in parts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _count_positions(part: Candidates) -> int:
    """K, or I where each position is of an instance; 0 where every node has one position."""
    positions = part.get("peak_mask", part.get("instance_valid"))
    return 0 if positions is None else positions.shape[-1]


def _with_positions(part: Candidates, n_positions: int) -> Candidates:
    """Pad candidates with empty positions up to a number of positions."""
    missing = n_positions - _count_positions(part)
    if not missing:
        return part
    axis = 2 if "peak_mask" in part else 1
    grown = {}
    for name, values in part.items():
        if name in MAP_NAMES:
            grown[name] = values
        elif name in PAIRS:
            square = values.reshape(*values.shape[:2], n_positions - missing, n_positions - missing)
            behind = [(0, 0), (0, 0), (0, missing), (0, missing)]
            padded = np.pad(square, behind, constant_values=_nothing(name, values))
            grown[name] = padded.reshape(*values.shape[:2], -1)
        else:
            behind = [(0, missing if dimension == axis else 0) for dimension in range(values.ndim)]
            grown[name] = np.pad(values, behind, constant_values=_nothing(name, values))
    return grown


def _nothing(name: str, values: NDArray[Any]) -> float:
    """Return the value of empty positions."""
    return np.nan if values.dtype.kind == "f" and name not in CONFIDENCES else 0


def requested_maps(returned: ReturnOptions) -> tuple[str, ...]:
    """Return the names of the maps that candidates carry besides.

    >>> requested_maps(ReturnOptions(return_confmaps=True))
    ('confmaps',)
    """
    wanted = {
        "confmaps": returned.return_confmaps,
        "pafs": returned.return_pafs,
        "class_maps": returned.return_class_maps,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)
