"""A short training loop for one model, and the directory it leaves, in sleap-nn's format."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from attrs import frozen
from scene import ARENA, CLASSES, EDGES, NODES, SYMMETRIES, Arena
from targets import CLASS_SIGMA, CONFMAP_SIGMA, PAF_SIGMA, class_maps, confmaps, pafs
from torch import Tensor
from torch.nn import functional as F

from sleap_infer.model.networks import Network
from sleap_infer.model.readers.backbone import read_backbone
from sleap_infer.model.readers.heads import read_heads
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import ModelSpec, SkeletonSpec

log = logging.getLogger("train")

ANCHOR = "thorax"
CROP = 80


@frozen
class Recipe:
    """How one model is made."""

    kind: str
    filters: int = 12
    filters_rate: float = 1.5
    max_stride: int = 16
    output_stride: int = 2
    second_stride: int = 4
    scale: float = 1.0
    colour: bool = False
    up_interpolate: bool = True
    steps: int = 2500
    batch: int = 8
    learning_rate: float = 2e-3


def head_config(recipe: Recipe) -> dict[str, Any]:
    """Return the `head_configs` section."""
    parts = {"part_names": list(NODES)}
    common = {"sigma": CONFMAP_SIGMA, "output_stride": recipe.output_stride}
    heads: dict[str, dict[str, Any]] = {
        "single_instance": {"confmaps": {**parts, **common}},
        "centroid": {"confmaps": {"anchor_part": ANCHOR, **common}},
        "centered_instance": {"confmaps": {**parts, "anchor_part": ANCHOR, **common, "loss_weight": 1.0}},
        "bottomup": {
            "confmaps": {**parts, **common, "loss_weight": 1.0},
            "pafs": {
                "edges": [list(edge) for edge in EDGES],
                "sigma": PAF_SIGMA,
                "output_stride": recipe.second_stride,
                "loss_weight": 1.0,
            },
        },
        "multi_class_bottomup": {
            "confmaps": {**parts, **common, "loss_weight": 1.0},
            "class_maps": {
                "classes": list(CLASSES),
                "sigma": CLASS_SIGMA,
                "output_stride": recipe.second_stride,
                "loss_weight": 1.0,
            },
        },
        "multi_class_topdown": {
            "confmaps": {**parts, "anchor_part": ANCHOR, **common, "loss_weight": 1.0},
            "class_vectors": {
                "classes": list(CLASSES),
                "num_fc_layers": 1,
                "num_fc_units": 32,
                "global_pool": True,
                "output_stride": recipe.max_stride,
                "loss_weight": 1.0,
            },
        },
    }
    return {kind: section if kind == recipe.kind else None for kind, section in heads.items()}


def trainer_config(recipe: Recipe) -> dict[str, Any]:
    """Return the part that only training uses, which sleap-nn also needs when it predicts."""
    return {
        "max_epochs": 1,
        "seed": 0,
        "trainer_accelerator": "auto",
        "optimizer_name": "Adam",
        "optimizer": {"lr": recipe.learning_rate, "amsgrad": False},
        "lr_scheduler": None,
        "online_hard_keypoint_mining": {
            "online_mining": False,
            "hard_to_easy_ratio": 2.0,
            "min_hard_keypoints": 2,
            "max_hard_keypoints": None,
            "loss_scale": 5.0,
        },
    }


def config(recipe: Recipe, n_params: int = 0) -> dict[str, Any]:
    """Return a complete `training_config.yaml`."""
    finest = min(recipe.output_stride, recipe.second_stride if recipe.kind in PAIRED else recipe.output_stride)
    unet = {
        "in_channels": 3 if recipe.colour else 1,
        "kernel_size": 3,
        "filters": recipe.filters,
        "filters_rate": recipe.filters_rate,
        "max_stride": recipe.max_stride,
        "stem_stride": None,
        "middle_block": True,
        "up_interpolate": recipe.up_interpolate,
        "stacks": 1,
        "convs_per_block": 2,
        "output_stride": finest,
    }
    skeleton = {
        "name": "fly",
        "nodes": [{"name": node} for node in NODES],
        "edges": [{"source": {"name": a}, "destination": {"name": b}} for a, b in EDGES],
        "symmetries": [[{"name": a}, {"name": b}] for a, b in SYMMETRIES],
    }
    return {
        "data_config": {
            "preprocessing": {
                "ensure_rgb": recipe.colour,
                "ensure_grayscale": not recipe.colour,
                "max_height": ARENA[0],
                "max_width": ARENA[1],
                "scale": recipe.scale,
                "crop_size": CROP if is_cropped(recipe.kind) else None,
                "min_crop_size": None,
            },
            "skeletons": [skeleton],
        },
        "model_config": {
            "init_weights": "default",
            "backbone_config": {"unet": unet, "convnext": None, "swint": None},
            "head_configs": head_config(recipe),
            "total_params": n_params,
        },
        "trainer_config": trainer_config(recipe),
        "name": "",
        "description": "Synthetic flies, made by training/make_assets.py of sleap-infer.",
        "sleap_nn_version": "0.3.5",
        "filename": "",
    }


PAIRED = ("bottomup", "multi_class_bottomup")


def is_cropped(kind: str) -> bool:
    """Whether a kind of model looks at crops around centroids."""
    return kind in ("centered_instance", "multi_class_topdown")


def model_spec(recipe: Recipe) -> ModelSpec:
    """Return the facts that the configuration of a recipe holds."""
    model = Section(config(recipe)["model_config"], "recipe")
    skeleton = SkeletonSpec(NODES, EDGES, SYMMETRIES, "fly")
    heads = read_heads(recipe.kind, model.section("head_configs").section(recipe.kind), skeleton)
    return ModelSpec(recipe.kind, skeleton, read_backbone(model.section("backbone_config")), heads)


def example(recipe: Recipe, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """One image, (C, H, W) uint8 at the network's input size, and the targets of the model's heads."""
    n_flies = 1 if recipe.kind == "single_instance" else int(rng.integers(1, 4))
    arena = Arena(zoom=rng.uniform(0.92, 1.08), colour=recipe.colour or rng.random() < 0.3, n_flies=n_flies)
    flies = arena.place(rng)
    if recipe.kind == "multi_class_bottomup":
        for i, fly in enumerate(flies):
            fly.label = i % 2
    image = arena.draw(flies, rng, light=rng.uniform(0.8, 1.1)).transpose(2, 0, 1)
    if not recipe.colour and image.shape[0] == 3:
        image = (0.2989 * image[:1] + 0.587 * image[1:2] + 0.114 * image[2:]).astype(np.uint8)
    points = np.stack([fly.points(arena.zoom) for fly in flies])
    if is_cropped(recipe.kind):
        return crop_example(recipe, image, points, [fly.label for fly in flies], rng)
    scaled = resize(image, recipe.scale)
    return scaled, targets(recipe, points * recipe.scale, [fly.label for fly in flies], scaled.shape[1:])


def crop_example(
    recipe: Recipe, image: np.ndarray, points: np.ndarray, labels: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """As `example`, for a crop around one animal's anchor, placed as at inference."""
    which = int(rng.integers(len(points)))
    centroid = points[which, NODES.index(ANCHOR)] + rng.normal(0, 1.0, 2)
    corner = np.floor(centroid + 0.5).astype(int) - CROP // 2
    padded = np.pad(image, ((0, 0), (CROP, CROP), (CROP, CROP)))
    y, x = corner[1] + CROP, corner[0] + CROP
    crop = padded[:, y : y + CROP, x : x + CROP]
    inside = points[which : which + 1] - (centroid - CROP / 2 + 0.5)
    return crop, targets(recipe, inside, [labels[which]], (CROP, CROP))


def targets(recipe: Recipe, points: np.ndarray, labels: list[int], size: tuple[int, ...]) -> list[np.ndarray]:
    """Targets of all heads, in their order."""
    height_width = (size[0], size[1])
    if recipe.kind == "centroid":
        anchors = points[:, [NODES.index(ANCHOR)]]
        return [confmaps(anchors, height_width, recipe.output_stride)]
    out = [confmaps(points, height_width, recipe.output_stride)]
    if recipe.kind == "bottomup":
        out.append(pafs(points, height_width, recipe.second_stride))
    if recipe.kind == "multi_class_bottomup":
        out.append(class_maps(points, labels, len(CLASSES), height_width, recipe.second_stride))
    if recipe.kind == "multi_class_topdown":
        out.append(np.eye(len(CLASSES), dtype=np.float32)[labels[0]])
    return out


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Antialiased bilinear resize of a (C, H, W) uint8 image, as the models are fed."""
    if scale == 1.0:
        return image
    size = [int(side * scale) for side in image.shape[1:]]
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None]
    return F.interpolate(tensor, size=size, mode="bilinear", antialias=True)[0].numpy()


def loss_of(recipe: Recipe, outputs: dict[str, Tensor], wanted: list[Tensor]) -> Tensor:
    """Weighted squared error of maps; cross-entropy of classes."""
    total = torch.zeros(())
    for (name, output), target in zip(outputs.items(), wanted, strict=True):
        if name == "ClassMapsHead":
            near = target.amax(dim=1, keepdim=True)
            total = total + 0.02 * (F.binary_cross_entropy(output, target, reduction="none") * near).mean()
        elif name == "ClassVectorsHead":
            total = total - 0.003 * (target * torch.log(output + 1e-8)).sum(dim=1).mean()
        else:
            weight = 1.0 + 20.0 * target.abs()
            total = total + (weight * (output - target) ** 2).mean() * (0.1 if "Affinity" in name else 1.0)
    return total


def train(recipe: Recipe, directory: Path, seed: int) -> None:
    """Train one model and write its directory."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Network(model_spec(recipe), "sleap-nn").train()
    n_params = sum(p.numel() for p in network.parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    started = time.monotonic()
    for step in range(recipe.steps):
        images, wanted = batch(recipe, rng)
        loss = loss_of(recipe, network(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            log.info("%s step %d loss %.5f %.0f s", recipe.kind, step, loss.item(), time.monotonic() - started)
    save(network, recipe, directory, n_params)


def batch(recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
    """Return a batch of images in [0, 1] and of targets."""
    pairs = [example(recipe, rng) for _ in range(recipe.batch)]
    images = torch.from_numpy(np.stack([image for image, _ in pairs])).float() / 255
    stack: Callable[[int], Tensor] = lambda i: torch.from_numpy(np.stack([wanted[i] for _, wanted in pairs]))  # noqa: E731
    return images, [stack(i) for i in range(len(pairs[0][1]))]


def save(network: Network, recipe: Recipe, directory: Path, n_params: int) -> None:
    """Write `best.ckpt` and `training_config.yaml` as sleap-nn does."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {f"model.{name}": value.detach().clone() for name, value in network.state_dict().items()}
    checkpoint = {
        "epoch": 0,
        "global_step": recipe.steps,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": weights,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(checkpoint, directory / "best.ckpt")
    text = yaml.safe_dump(config(recipe, n_params), sort_keys=False)
    (directory / "training_config.yaml").write_text(text, encoding="utf-8")
