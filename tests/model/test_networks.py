"""Networks in their rarer forms: what joins, what is left out, what is built without memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from attrs import evolve
from tiny_model import KINDS, change, tiny_config, write_config, write_model

from sleap_infer.errors import WeightsMismatchError
from sleap_infer.model import ModelSpec, SkeletonSpec, load_network, read_spec
from sleap_infer.model.networks import Network
from sleap_infer.model.networks.blocks import AlignedTranspose, Features
from sleap_infer.model.networks.heads import MapHead, VectorHead
from sleap_infer.model.spec import BackboneSpec, ConvNextSpec, MapHeadSpec, SwinSpec, UNetSpec, VectorHeadSpec

UNET = UNetSpec(filters=4, max_stride=8)
CONVNEXT = ConvNextSpec((1, 1, 1, 1), (4, 4, 4, 4))
SWIN = SwinSpec(4, (1, 2, 1, 1), (1, 1, 1, 1))


def network(backbone: BackboneSpec) -> Network:
    head = MapHeadSpec("SingleInstanceConfmapsHead", 2, backbone.output_stride)
    torch.manual_seed(0)
    return Network(ModelSpec("single_instance", SkeletonSpec(("a", "b")), backbone, (head,)), "sleap-nn").eval()


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        (UNET, (40, 56)),
        (evolve(UNET, output_stride=8), (40, 56)),
        (evolve(UNET, stem_stride=2, output_stride=2), (48, 64)),
        (
            evolve(UNET, stem_stride=2, output_stride=2),
            (40, 56),
        ),  # odd multiples: levels differ by a pixel and are fitted
        (evolve(UNET, convs_per_block=3), (16, 24)),
        (evolve(UNET, kernel_size=5, in_channels=3), (16, 24)),
        (CONVNEXT, (32, 64)),  # stride 1 is finer than any feature of the encoder
        (evolve(CONVNEXT, output_stride=32), (32, 64)),
        (evolve(CONVNEXT, output_stride=2, up_interpolate=False), (32, 64)),
        (evolve(SWIN, output_stride=2), (32, 64)),
        (evolve(SWIN, output_stride=4, window_size=4), (96, 64)),
    ],
)
def test_maps_have_a_cell_per_stride(backbone: BackboneSpec, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        maps = network(backbone)(torch.rand(2, backbone.in_channels, *size))["SingleInstanceConfmapsHead"]
    assert maps.shape == (2, 2, size[0] // backbone.output_stride, size[1] // backbone.output_stride)
    assert maps.isfinite().all()


@pytest.mark.parametrize(("alignment", "first"), [("tensorflow", 0), ("sleap-nn", 1)])
def test_alignments_of_transposed_convolutions_are_one_pixel_apart(alignment: str, first: int) -> None:
    """One pixel gives the whole kernel, 3x3; TensorFlow keeps its first two rows and columns, sleap-nn the last."""
    layer = AlignedTranspose(1, 1, alignment)  # type: ignore[arg-type]
    kernel = torch.arange(1.0, 10).view(1, 1, 3, 3)
    layer.load_state_dict({"weight": kernel, "bias": torch.zeros(1)})
    with torch.inference_mode():
        assert torch.equal(layer(torch.ones(1, 1, 1, 1)), kernel[..., first : first + 2, first : first + 2])


def test_class_probabilities_by_hand() -> None:
    """Channels' maxima are 3 and -2; the hidden layer passes (3, 0); the last gives (ln 2, 0), so 2 to 1."""
    head = VectorHead(VectorHeadSpec("ClassVectorsHead", 2, num_fc_layers=1, num_fc_units=2), 2)
    weights = {
        "pre_classification0_fc.weight": torch.eye(2),
        "pre_classification0_fc.bias": torch.zeros(2),
        "ClassVectorsHead.weight": torch.tensor([[math.log(2) / 3, 5.0], [0.0, 0.0]]),
        "ClassVectorsHead.bias": torch.zeros(2),
    }
    head.load_state_dict(weights)
    bottleneck = torch.tensor([[[1.0, 3], [0, -9]], [[-2.0, -3], [-4, -5]]])[None]
    with torch.inference_mode():
        assert head(Features(bottleneck, {}))[0].tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(("sigmoid", "expected"), [(False, math.log(3)), (True, 0.75)])
def test_map_heads_are_linear_or_sigmoid(sigmoid: bool, expected: float) -> None:
    head = MapHead(MapHeadSpec("ClassMapsHead", 1, 2, sigmoid), {2: 1})
    head.load_state_dict(
        {"ClassMapsHead.0.weight": torch.full((1, 1, 1, 1), 2.0), "ClassMapsHead.0.bias": torch.tensor([-math.log(3)])}
    )
    maps = {2: torch.full((1, 1, 1, 1), math.log(3)), 4: torch.zeros(1, 1, 1, 1)}
    with torch.inference_mode():
        assert head(Features(maps[4], maps)).item() == pytest.approx(expected)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config())
    before = torch.get_rng_state()
    load_network(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_networks_have_all_their_weights_in_memory(tmp_path: Path, kind: str) -> None:
    write_model(tmp_path, tiny_config(kind))
    for weights in load_network(tmp_path).state_dict().values():
        assert (weights.device.type, weights.dtype, weights.is_contiguous()) == ("cpu", torch.float32, True)


def test_a_size_beyond_all_memory_is_refused_by_the_weights(tmp_path: Path) -> None:
    """Level 0 alone would take 1.4 TB."""
    write_model(tmp_path, tiny_config())
    write_config(tmp_path, change(tiny_config(), "model_config/backbone_config/unet/filters", 200_000))
    with pytest.raises(WeightsMismatchError, match=r"26 of another shape \(e\.g\. .*\(9,\) instead of \(450000,\)"):
        load_network(tmp_path)


def test_heads_are_found_by_their_ends(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config())
    spec = read_spec(tmp_path)
    assert spec.map_head("ConfmapsHead").output_stride == 2
    assert spec.map_head("PartAffinityFieldsHead").output_stride == 4
    with pytest.raises(KeyError, match="ClassMapsHead"):
        spec.map_head("ClassMapsHead")
