"""Maps are those of sleap-nn, and of TensorFlow for models that it trained."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from sleap_infer.model import load_network

TOLERANCE = 1e-5
TOLERANCE_OF_CLASSES = 1e-4
"""Behind a sigmoid of large sums, whose last bits depend on the instructions of the CPU (3e-5 with AVX2)."""
"""Of the expected map's own maximum."""

MODELS = (
    "minimal_instance_single_instance",
    "minimal_instance_centroid",
    "minimal_instance_centered_instance",
    "minimal_instance_bottomup",
    "minimal_instance_multiclass_bottomup",
    "unet_rgb",
    "unet_stem2",
    "convnext_small_arch",
    "swint_small_arch",
)
LEGACY = ("minimal_instance.UNet.bottomup", "minimal_instance.UNet.centroid")


def draw(network: torch.nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return {name: maps.numpy() for name, maps in network(torch.from_numpy(images)).items()}


def assert_same_maps(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, maps in expected.items():
        assert found[name].shape == maps.shape
        tolerance = TOLERANCE_OF_CLASSES if name == "ClassMapsHead" else TOLERANCE
        assert np.abs(found[name] - maps).max() <= tolerance * np.abs(maps).max(), name


def golden(corpus: Path, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    expected = dict(np.load(corpus / "golden" / "maps" / f"{name}.npz"))
    return expected.pop("input"), expected


@pytest.mark.parametrize("name", MODELS)
def test_maps_of_sleap_nn(corpus: Path, name: str) -> None:
    images, expected = golden(corpus, name)
    assert_same_maps(draw(load_network(corpus / "models" / name), images), expected)


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_maps_as_sleap_nn_draws_them(corpus: Path, name: str) -> None:
    images, expected = golden(corpus, name)
    found = draw(load_network(corpus / "legacy" / name, "sleap-nn"), images)
    del found["OffsetRefinementHead"]  # which sleap-nn leaves out
    assert_same_maps(found, expected)


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_maps_are_those_of_tensorflow(corpus: Path, name: str) -> None:
    directory = corpus / "legacy" / name
    with h5py.File(directory / "dummy_activations.h5") as file:
        heads = [key for key in file if "Head" in key]
        stored = {key.removesuffix("_0"): file[key][()].transpose(0, 3, 1, 2) for key in heads}
    network = load_network(directory)
    stride = next(head.spec.output_stride for head in network.head_layers)
    height, width = (stride * side for side in next(iter(stored.values())).shape[2:])
    assert_same_maps(draw(network, np.zeros((1, 1, height, width), np.float32)), stored)


def test_every_golden_map_is_checked(corpus: Path) -> None:
    assert {path.stem for path in (corpus / "golden" / "maps").glob("*.npz")} == {*MODELS, *LEGACY}
