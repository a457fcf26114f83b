"""Models of the size that labs train, with random weights: what they find is nothing, what they cost is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from sleap_infer.model import read_spec
from sleap_infer.model.networks import Network

N_NODES = 13
NODES = [f"node{number}" for number in range(N_NODES)]
EDGES = [[NODES[number], NODES[number + 1]] for number in range(N_NODES - 1)]
CLASSES = ["a", "b"]
CROP = 160

KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "single_instance": {"confmaps": {"part_names": NODES, "output_stride": 2}},
    "centroid": {"confmaps": {"anchor_part": NODES[0], "output_stride": 2}},
    "centered_instance": {"confmaps": {"part_names": NODES, "output_stride": 2}},
    "bottomup": {
        "confmaps": {"part_names": NODES, "output_stride": 2},
        "pafs": {"edges": EDGES, "output_stride": 4},
    },
    "multi_class_bottomup": {
        "confmaps": {"part_names": NODES, "output_stride": 2},
        "class_maps": {"classes": CLASSES, "output_stride": 4},
    },
    "multi_class_topdown": {
        "confmaps": {"part_names": NODES, "output_stride": 2},
        "class_vectors": {"classes": CLASSES, "num_fc_units": 64},
    },
}

UNET = {
    "in_channels": 1,
    "kernel_size": 3,
    "filters": 32,
    "filters_rate": 1.5,
    "max_stride": 16,
    "convs_per_block": 2,
    "up_interpolate": True,
    "output_stride": 2,
}


def write_models(place: Path, **unet: Any) -> dict[str, Path]:
    """Write one model of each kind.

    Args:
        place: a directory.
        **unet: what is different about the U-Net.

    Returns:
        The directory of each kind.
    """
    return {kind: _write(place / kind, kind, heads, {**UNET, **unet}) for kind, heads in KINDS.items()}


def _write(directory: Path, kind: str, heads: dict[str, Any], unet: dict[str, Any]) -> Path:
    directory.mkdir(parents=True)
    edges = [{"source": {"name": a}, "destination": {"name": b}} for a, b in EDGES]
    skeleton = {"name": "animal", "nodes": [{"name": node} for node in NODES], "edges": edges, "symmetries": []}
    config = {
        "data_config": {"preprocessing": {"scale": 1.0, "crop_size": CROP}, "skeletons": [skeleton]},
        "model_config": {
            "backbone_config": {"unet": unet, "convnext": None, "swint": None},
            "head_configs": {**dict.fromkeys(KINDS), kind: heads},
        },
    }
    (directory / "training_config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (directory / "best.ckpt").touch()
    torch.manual_seed(0)
    network = Network(read_spec(directory), "sleap-nn").eval()
    with torch.no_grad():
        for parameter in network.head_layers.parameters():
            parameter.mul_(1e-3)
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights}, directory / "best.ckpt")
    return directory
