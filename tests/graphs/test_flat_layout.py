"""Tables hold all that the arrays hold: there and back."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from sleap_infer.config.kinds import KINDS
from sleap_infer.graphs.layout import flat_names, flatten
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.spec import ExportFacts
from sleap_infer.runners.graph.flat import unflatten

PLACES, IMAGES = 4, 3


def random_candidates(spec: ModelSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    nodes, edges, classes = spec.n_nodes, len(spec.paf_edges), max(len(spec.classes), 2)
    one = spec.kind in ("single_instance", "centered_instance", "multi_class_topdown")
    local = "bottomup" in spec.kind
    shape = (IMAGES, nodes) if one else (IMAGES, nodes, PLACES) if local else (IMAGES, PLACES, nodes)
    seen = rng.random(shape) < 0.6
    valid = rng.random((IMAGES, PLACES)) < 0.7
    if not one and not local:
        seen &= valid[..., None]
    peaks = np.where(seen[..., None], rng.random((*shape, 2)), np.nan).astype(np.float32)
    values = np.where(seen, rng.random(shape), 0).astype(np.float32)
    pairs = rng.random((IMAGES, edges, PLACES * PLACES)) < 0.5
    of_place = (IMAGES, classes) if one else (*shape, classes) if local else (IMAGES, PLACES, classes)
    probabilities = rng.random(of_place).astype(np.float32)
    if not one:
        probabilities *= (seen if local else valid)[..., None]
    everything = {
        "peaks": peaks,
        "peak_vals": values,
        "peak_mask": seen,
        "line_scores": (rng.random(pairs.shape) * pairs).astype(np.float32),
        "candidate_mask": pairs,
        "class_probs": probabilities,
        "centroids": np.where(valid[..., None], rng.random((*valid.shape, 2)), np.nan).astype(np.float32),
        "centroid_vals": (rng.random(valid.shape) * valid).astype(np.float32),
        "instance_valid": valid,
    }
    return {name: everything[name] for name in spec.row.arrays}


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, models: Path) -> None:
    model = {"topdown": "centered_instance", "multi_class_topdown_combined": "multi_class_topdown"}.get(kind, kind)
    facts = ExportFacts(sha256="", n_places=PLACES, layout="flat")
    spec = attrs.evolve(read_spec(models / model), kind=kind, exported=facts)
    candidates = random_candidates(spec)
    tables = flatten({name: torch.from_numpy(value) for name, value in candidates.items()}, kind)
    assert tuple(tables) == flat_names(kind)
    assert all(table.ndim == 2 for table in tables.values())
    back = unflatten({name: table.numpy() for name, table in tables.items()}, spec, IMAGES)
    assert sorted(back) == sorted(candidates)
    for name, value in candidates.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)
