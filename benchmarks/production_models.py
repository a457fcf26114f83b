"""Models of the size that labs train, with random weights: what they find is nothing, what they cost is real.

Where it matters what is found (crops are only made around animals), `markers=True` leads the brightness of the image
past the random weights to the heads, and `write_video` writes bright spots for animals. sleap-nn reads them too.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor, nn

from sleap_infer.model import read_spec
from sleap_infer.model.networks import Network
from sleap_infer.model.networks.blocks import DecoderBlock
from sleap_infer.model.networks.heads import MapHead, VectorHead

N_NODES = 13
NODES = [f"node{number}" for number in range(N_NODES)]
EDGES = [[NODES[number], NODES[number + 1]] for number in range(N_NODES - 1)]
CLASSES = ["a", "b"]
CROP = 160

MAPS = {"sigma": 2.5, "loss_weight": 1.0}
CONFMAPS = {"part_names": NODES, "output_stride": 2, **MAPS}

KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "single_instance": {"confmaps": CONFMAPS},
    "centroid": {"confmaps": {"anchor_part": NODES[0], "output_stride": 2, **MAPS}},
    "centered_instance": {"confmaps": {"anchor_part": NODES[0], **CONFMAPS}},
    "bottomup": {"confmaps": CONFMAPS, "pafs": {"edges": EDGES, "output_stride": 4, **MAPS}},
    "multi_class_bottomup": {"confmaps": CONFMAPS, "class_maps": {"classes": CLASSES, "output_stride": 4, **MAPS}},
    "multi_class_topdown": {
        "confmaps": {"anchor_part": NODES[0], **CONFMAPS},
        "class_vectors": {
            "classes": CLASSES,
            "num_fc_layers": 1,
            "num_fc_units": 64,
            "output_stride": 16,
            "loss_weight": 1.0,
        },
    },
}

UNET = {
    "in_channels": 1,
    "kernel_size": 3,
    "filters": 32,
    "filters_rate": 1.5,
    "max_stride": 16,
    "stem_stride": None,
    "middle_block": True,
    "stacks": 1,
    "convs_per_block": 2,
    "up_interpolate": True,
    "output_stride": 2,
}

TRAINER = {
    "optimizer_name": "Adam",
    "optimizer": {"lr": 1e-4, "amsgrad": False},
    "lr_scheduler": None,
    "online_hard_keypoint_mining": {
        "online_mining": False,
        "hard_to_easy_ratio": 2.0,
        "min_hard_keypoints": 2,
        "max_hard_keypoints": None,
        "loss_scale": 5.0,
    },
}
"""What sleap-nn asks of a configuration before it predicts."""

CELLS = [(x, y) for y in (-2, 0, 2) for x in (range(-2, 3) if y else range(2, -3, -1))][:N_NODES]
"""Where the nodes of a marked animal are: (x, y) from its spot, in cells of the confidence maps."""

SPOTS = ((0.5, 0.5, 230), (0.2, 0.25, 205), (0.8, 0.3, 180))
"""x and y of each animal's spot as shares of the frame, and how bright it is."""

SPOT_SIGMA, BACKGROUND = 2.5, 25
"""Width of a spot in pixels; the brightest of the background, which is below any threshold."""

AFFINITY = 6.0
"""How much brighter affinity fields are than the image, so that they reach from a spot to all of its nodes."""


def write_models(place: Path, *, markers: bool = False, **unet: Any) -> dict[str, Path]:
    """Write one model of each kind.

    Args:
        place: a directory.
        markers: whether the models find the spots of `write_video`, or nothing. Class maps and vectors stay random.
        **unet: what is different about the U-Net.

    Returns:
        The directory of each kind.
    """
    return {kind: write_model(place / kind, kind, markers=markers, **unet) for kind in KINDS}


def write_video(path: Path, size: tuple[int, int], n_frames: int, n_animals: int) -> Path:
    """Write a gray video of spots that move slowly over an uneven background.

    Args:
        path: of the file, which OpenCV can tell the format of.
        size: (height, width) of the frames.
        n_frames: how many.
        n_animals: at most three.
    """
    height, width = size
    coarse = np.random.default_rng(0).uniform(0, BACKGROUND, (8, 8)).astype(np.float32)
    background = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for number in range(n_frames):
        frame = background.copy()
        for (x, y), (_, _, brightness) in zip(spots_of(size, number), SPOTS[:n_animals], strict=False):
            away = (columns - x) ** 2 + (rows - y) ** 2
            frame = np.maximum(frame, brightness * np.exp(-away / (2 * SPOT_SIGMA**2)))
        writer.write(np.repeat(np.rint(frame).astype(np.uint8)[..., None], 3, axis=-1))
    writer.release()
    return path


def spots_of(size: tuple[int, int], number: int) -> list[tuple[float, float]]:
    """Where the spots of a frame are, (x, y) in pixels: amid four of them, which lie in one cell of the maps.

    So no two cells are equally bright, and a peak does not go from one to the other with the last bit of a number.

    >>> spots_of((192, 192), 1)[0]
    (98.5, 98.5)
    """
    height, width = size
    return [
        (2 * round(x * width / 2) + 2 * number + 0.5, 2 * round(y * height / 2) + 2 * number + 0.5) for x, y, _ in SPOTS
    ]


def write_model(directory: Path, kind: str, *, markers: bool = False, **given: Any) -> Path:
    """Write one model.

    Args:
        directory: to make.
        kind: of the model.
        markers: as in `write_models`.
        **given: what is different about the U-Net.

    Returns:
        The directory.
    """
    heads, unet = KINDS[kind], {**UNET, **given}
    directory.mkdir(parents=True)
    edges = [{"source": {"name": a}, "destination": {"name": b}} for a, b in EDGES]
    skeleton = {"name": "animal", "nodes": [{"name": node} for node in NODES], "edges": edges, "symmetries": []}
    config = {
        "data_config": {"preprocessing": {"scale": 1.0, "crop_size": CROP}, "skeletons": [skeleton]},
        "model_config": {
            "init_weights": "default",
            "pretrained_backbone_weights": None,
            "pretrained_head_weights": None,
            "backbone_config": {"unet": unet, "convnext": None, "swint": None},
            "head_configs": {**dict.fromkeys(KINDS), kind: heads},
        },
        "trainer_config": TRAINER,
    }
    (directory / "training_config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (directory / "best.ckpt").touch()
    torch.manual_seed(0)
    network = Network(read_spec(directory), "sleap-nn").eval()
    with torch.no_grad():
        for parameter in network.head_layers.parameters():
            parameter.mul_(1e-3)
        if markers:
            _mark(network)
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "pytorch-lightning_version": "2.5.0"}, directory / "best.ckpt")
    return directory


def _mark(network: Network) -> None:
    """Let brightness through to the heads: by channel 0, and in the last block, node by node, moved to its cell."""
    for name, layer in network.backbone.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.startswith("middle"):
            _move(layer, 0, 0, (0, 0))
    blocks = [block for block in network.backbone.modules() if isinstance(block, DecoderBlock)]
    first, second = (blocks[-1].blocks[name] for name in blocks[-1].refine)
    near = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y]
    near.insert(0, (0, 0))
    for channel, cell in enumerate(near):
        _move(first, channel, 0, cell)
    for node, (x, y) in enumerate(CELLS, start=1):
        half = (int(x / 2), int(y / 2))
        _move(second, node, near.index(half), (x - half[0], y - half[1]))
    for head in network.head_layers:
        assert isinstance(head, MapHead | VectorHead)
        _read(head, head.spec.name)


def _move(layer: nn.Module, channel: int, source: int, cell: tuple[int, int]) -> None:
    """Make a channel of a 3 x 3 convolution that of its input which `source` is, moved by (x, y) cells."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    weight[channel], bias[channel] = 0, 0
    weight[channel, source, 1 - cell[1], 1 - cell[0]] = 1


def _read(head: MapHead | VectorHead, name: str) -> None:
    """Set what a head of maps reads of the channels that carry the spots; others stay."""
    if isinstance(head, VectorHead) or name == "ClassMapsHead":
        return
    (layer,) = (part for part in head.modules() if isinstance(part, nn.Conv2d))
    if name == "PartAffinityFieldsHead":
        for edge, (start, end) in enumerate(pairwise(CELLS)):
            length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
            for axis in range(2):
                layer.weight[2 * edge + axis, 0] = AFFINITY * (end[axis] - start[axis]) / length
    elif name == "CentroidConfmapsHead":
        layer.weight[0, 0] = 1
    else:
        for node in range(N_NODES):
            layer.weight[node, node + 1] = 1
