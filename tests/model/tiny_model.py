"""Small models of every kind in sleap-nn's format, made on the spot from random weights."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

from sleap_infer.model import read_spec
from sleap_infer.model.networks import Network

KINDS = (
    "single_instance",
    "centroid",
    "centered_instance",
    "bottomup",
    "multi_class_bottomup",
    "multi_class_topdown",
)
NODES = ["head", "thorax", "tail"]
EDGES = [["head", "thorax"], ["thorax", "tail"]]
SECOND_HEAD: dict[str, dict[str, Any]] = {
    "bottomup": {"pafs": {"edges": EDGES, "output_stride": 4}},
    "multi_class_bottomup": {"class_maps": {"classes": ["f", "m"], "output_stride": 2}},
    "multi_class_topdown": {"class_vectors": {"classes": ["f", "m"], "num_fc_units": 8}},
}


def tiny_config(kind: str = "bottomup") -> dict[str, Any]:
    """A configuration as training writes it, of a U-Net with strides 2, 4 and 8."""
    unet = {"in_channels": 1, "filters": 4, "filters_rate": 1.5, "max_stride": 8, "output_stride": 2}
    edges = [{"source": {"name": a}, "destination": {"name": b}} for a, b in EDGES]
    skeleton = {"name": "fly", "nodes": [{"name": node} for node in NODES], "edges": edges, "symmetries": []}
    head = {"confmaps": {"part_names": NODES, "output_stride": 2}, **SECOND_HEAD.get(kind, {})}
    config = {
        "data_config": {"preprocessing": {"scale": 1.0, "crop_size": 32}, "skeletons": [skeleton]},
        "model_config": {
            "backbone_config": {"unet": unet, "convnext": None, "swint": None},
            "head_configs": {**dict.fromkeys(KINDS), kind: head},
        },
    }
    return deepcopy(config)


def change(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Set what stands at `a/b/c`, in place; `...` removes it."""
    *above, last = path.split("/")
    at: Any = config
    for key in above:
        at = at[int(key) if key.isdigit() else key]
    if value is ...:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return config


def write_config(directory: Path, config: object) -> Path:
    """Write a configuration; text goes as it is."""
    directory.mkdir(exist_ok=True)
    text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
    (directory / "training_config.yaml").write_text(text, encoding="utf-8")
    return directory


def write_model(directory: Path, config: dict[str, Any], **extra: object) -> Network:
    """Write a model directory with random weights, `extra` entries in its checkpoint, and give its network."""
    write_config(directory, config)
    (directory / "best.ckpt").touch()
    torch.manual_seed(0)
    network = Network(read_spec(directory), "sleap-nn").eval()
    torch.save({**checkpoint_of(network), **extra}, directory / "best.ckpt")
    return network


def checkpoint_of(network: Network) -> dict[str, Any]:
    """What training keeps of a network."""
    weights = OrderedDict((f"model.{key}", value) for key, value in network.state_dict().items())
    return {"epoch": 3, "global_step": 99, "pytorch-lightning_version": "2.5.0", "state_dict": weights, "loops": {}}
