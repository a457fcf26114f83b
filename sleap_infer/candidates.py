"""The contract between the network and the instances: one set of arrays, the same for every backend.

B is the batch, N nodes, K places for peaks per node, I places for centroids, E edges, C classes. Positions are (x, y)
in pixels of the network's input. Places without a peak hold NaN positions and values of 0.

| kind                                | arrays                                                                        |
|-------------------------------------|-------------------------------------------------------------------------------|
| single_instance, centered_instance  | `peaks` (B, N, 2), `peak_vals` (B, N)                                         |
| centroid                            | `centroids` (B, I, 2), `centroid_vals` (B, I), `instance_valid` (B, I)        |
| bottomup                            | `peaks` (B, N, K, 2), `peak_vals` (B, N, K), `peak_mask` (B, N, K),           |
|                                     | `line_scores` (B, E, K * K), `candidate_mask` (B, E, K * K)                   |
| multi_class_bottomup                | the first three, `class_probs` (B, N, K, C)                                   |
| multi_class_topdown                 | `peaks` (B, N, 2), `peak_vals` (B, N), `class_probs` (B, C)                   |
| topdown, two models in one graph    | `centroids` (B, I, 2), `centroid_vals` (B, I), `peaks` (B, I, N, 2),          |
|                                     | `peak_vals` (B, I, N), `instance_valid` (B, I)                                |
| multi_class_topdown_combined        | the same, with `class_probs` (B, I, C) before `instance_valid`                |

Backends add, on request, `confmaps`, `pafs` and `class_maps`, as the network drew them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sleap_infer.choices import GraphKind

Candidates: TypeAlias = dict[str, NDArray[Any]]

CANDIDATE_NAMES: Mapping[GraphKind, tuple[str, ...]] = {
    "single_instance": ("peaks", "peak_vals"),
    "centered_instance": ("peaks", "peak_vals"),
    "centroid": ("centroids", "centroid_vals", "instance_valid"),
    "bottomup": ("peaks", "peak_vals", "peak_mask", "line_scores", "candidate_mask"),
    "multi_class_bottomup": ("peaks", "peak_vals", "peak_mask", "class_probs"),
    "multi_class_topdown": ("peaks", "peak_vals", "class_probs"),
    "topdown": ("centroids", "centroid_vals", "peaks", "peak_vals", "instance_valid"),
    "multi_class_topdown_combined": (
        "centroids",
        "centroid_vals",
        "peaks",
        "peak_vals",
        "class_probs",
        "instance_valid",
    ),
}
"""The arrays that each kind of model gives, in their published order."""

MAP_NAMES: Mapping[str, str] = {
    "confmaps": "pred_confmaps",
    "pafs": "pred_pafs",
    "class_maps": "pred_class_maps",
}
"""Maps that come with the candidates on request, and the field of `Outputs` that takes them."""


def join(parts: list[Candidates]) -> Candidates:
    """Candidates of several batches as those of one; all parts have the same names and shapes but for B.

    >>> join([{"peak_vals": np.zeros((2, 3))}, {"peak_vals": np.ones((1, 3))}])["peak_vals"].shape
    (3, 3)
    """
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
