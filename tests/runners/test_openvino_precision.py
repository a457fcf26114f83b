"""OpenVINO computes networks in 16 bits, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import onnx
import openvino
import pytest
from tiny_model import change, tiny_config, write_model

from sleap_infer import Predictor
from sleap_infer.choices import Precision
from sleap_infer.export import ExportOptions, ExportResult, export
from sleap_infer.graphs.blocks import layer_groups
from sleap_infer.graphs.metadata import restate
from sleap_infer.model import read_spec
from sleap_infer.model.blocks import block_of
from sleap_infer.model.spec import ExportFacts
from sleap_infer.runners.graph import openvino_precision
from sleap_infer.runners.graph.openvino_precision import find_arithmetic, has_arithmetic, keep_precise

CORE = openvino.Core()
HEAVY = ("Convolution", "ConvolutionBackpropData", "GroupConvolution")


def marked(graph: Path, facts: ExportFacts) -> Mapping[str, bool]:
    """By name of each operation with inputs: whether it stays in 32 bits."""
    model = keep_precise(CORE, CORE.read_model(graph), facts)
    assert model is not None
    return {
        operation.get_friendly_name(): any("precis" in str(note).lower() for note in operation.get_rt_info())
        for operation in model.get_ordered_ops()
        if operation.inputs() and operation.get_type_name() != "Result"
    }


def facts_of(result: ExportResult, precision: Precision, *kept: str) -> ExportFacts:
    facts = read_spec(result.directory).exported
    assert facts is not None
    return attrs.evolve(facts, precision=precision, kept=kept)


@pytest.mark.parametrize("kind", ["single_instance", "centroid", "bottomup", "multi_class_bottomup"])
def test_the_network_and_nothing_else_may_be_in_lower_precision(exports: Mapping[str, ExportResult], kind: str) -> None:
    graph = exports[kind].graph
    precise = marked(graph, facts_of(exports[kind], "bf16"))
    model = CORE.read_model(graph)
    heavy = [each.get_friendly_name() for each in model.get_ordered_ops() if each.get_type_name() in HEAVY]
    assert heavy
    assert not any(precise[name] for name in heavy)
    named = [name for name in precise if block_of(name)]
    assert not any(precise[name] for name in named)
    others = [name for name in precise if name not in heavy and not block_of(name)]
    peaks = [name for name in others if "max" in name or "topk" in name or "round" in name]
    assert peaks
    assert all(precise[name] for name in peaks)
    real = {each.get_friendly_name() for each in model.get_ordered_ops() if each.get_output_element_type(0).is_real()}
    others = [name for name in others if name in real]
    assert sum(precise[name] for name in others) > 0.8 * len(others), "only constants of the network are not"


@pytest.mark.parametrize("kind", ["bottomup", "single_instance"])
def test_constants_of_a_network_are_lowered_with_it(exports: Mapping[str, ExportResult], kind: str) -> None:
    """What is added to 16 bits in 32 takes all that it meets to 32."""
    model = keep_precise(CORE, CORE.read_model(exports[kind].graph), facts_of(exports[kind], "bf16"))
    assert model is not None
    constants = [each for each in model.get_ordered_ops() if each.get_friendly_name().endswith((".weight", ".bias"))]
    assert len(constants) > 10
    assert not any("precis" in str(note).lower() for each in constants for note in each.get_rt_info())


@pytest.fixture
def small_models(tmp_path: Path) -> Path:
    """A folder of small networks for both stages of top-down; only types of operations are looked at."""
    for kind in ("centroid", "centered_instance"):
        config = change(tiny_config(kind), "model_config/backbone_config/unet/max_stride", 4)
        write_model(tmp_path / kind, config)
    return tmp_path


SMALL: Any = {"validate": False, "batch_size": 1, "input_size": (64, 64), "max_instances": 2}
"""A graph of one size is traced faster than one of any size."""


def test_crops_are_placed_in_32_bits_between_two_networks(small_models: Path) -> None:
    paths = [small_models / "centroid", small_models / "centered_instance"]
    (result,) = export(paths, small_models / "fused", ExportOptions(fused=True, **SMALL))
    precise = marked(result.graph, facts_of(result, "fp16"))
    names = list(precise)
    second = next(place for place, name in enumerate(names) if (block_of(name) or "").startswith("instance."))
    between = [name for name in names[:second] if "topk" in name.lower() or "gather" in name.lower()]
    assert between
    assert all(precise[name] for name in between)


def test_kept_blocks_stay_in_32_bits(exports: Mapping[str, ExportResult]) -> None:
    result = exports["bottomup"]
    precise = marked(result.graph, facts_of(result, "bf16", "encoder_stack.1", "heads"))
    blocks = {block_of(name): stays for name, stays in precise.items() if block_of(name)}
    assert blocks["encoder_stack.1"]
    assert blocks["head_layers.0"]
    assert not blocks["encoder_stack.0"]


def test_of_int8_what_is_not_quantized_may_be_in_16_bits(exports: Mapping[str, ExportResult]) -> None:
    result = exports["bottomup"]
    precise = marked(result.graph, facts_of(result, "int8", "encoder_stack.1"))
    blocks = {block_of(name): stays for name, stays in precise.items() if block_of(name)}
    assert [block for block, stays in blocks.items() if not stays] == ["encoder_stack.1"]


def test_blocks_are_named_and_have_all_weights(exports: Mapping[str, ExportResult]) -> None:
    groups = layer_groups(exports["bottomup"].graph)
    assert {"encoder_stack.0", "decoder_stack.0", "head_layers.0", "head_layers.1"} <= set(groups)
    assert all(block_of(name) for names in groups.values() for name in names)


def test_a_graph_that_names_no_blocks_is_computed_in_32_bits(
    exports: Mapping[str, ExportResult],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as those that earlier versions exported."""
    spec = read_spec(exports["centroid"].directory)
    model = onnx.load(str(exports["centroid"].graph))
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    onnx.save(model, str(tmp_path / "model.onnx"))
    restate(tmp_path, spec, "fp16", ())
    monkeypatch.setattr(openvino_precision, "has_arithmetic", lambda *_: True)
    with Predictor.from_model_paths(tmp_path, backend="openvino", device="cpu") as predictor:
        hint = predictor.runners[0].model.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
        (fallback,) = predictor.fallbacks
    assert (fallback.what, fallback.asked, fallback.used) == ("precision", "fp16", "fp32")
    assert "float32" in str(hint)
    assert "export the model again" in caplog.text


class Device:
    """A processor with some capabilities."""

    def __init__(self, *capabilities: str) -> None:
        self._capabilities = capabilities

    def get_property(self, device: str, name: str) -> Any:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", *self._capabilities]


@pytest.mark.parametrize(
    ("precision", "kept", "there", "numbers"),
    [
        ("fp32", (), ("FP16", "BF16"), "f32"),
        ("fp16", (), ("FP16", "BF16"), "f16"),
        ("fp16", (), ("BF16",), "f32"),
        ("bf16", (), ("FP16", "BF16"), "bf16"),
        ("bf16", (), (), "f32"),
        ("int8", (), ("FP16", "BF16"), "f32"),
        ("int8", ("heads",), ("FP16", "BF16"), "f16"),
        ("int8", ("heads",), ("BF16",), "f32"),
    ],
)
def test_arithmetic_is_what_the_processor_has(
    precision: Precision,
    kept: tuple[str, ...],
    there: tuple[str, ...],
    numbers: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in openvino_precision.LIMITS:
        monkeypatch.delenv(name, raising=False)
    facts = ExportFacts(sha256="", n_places=1, precision=precision, kept=kept)
    assert find_arithmetic(Device(*there), "CPU", facts) == numbers


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [("AVX2", "f32"), ("AVX512_CORE_VNNI", "f32"), ("SSE41", "f32"), ("avx512_core_bf16", "bf16"), ("ALL", "bf16")],
)
def test_instructions_may_be_limited(limit: str, numbers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO then still reports bf16, but cannot compile networks for it."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    facts = ExportFacts(sha256="", n_places=1, precision="bf16", kept=())
    assert find_arithmetic(Device("BF16"), "CPU", facts) == numbers


@pytest.mark.parametrize(("precision", "numbers"), [("fp16", "f16"), ("bf16", "bf16")])
def test_a_processor_that_can_computes_networks_in_16_bits(
    small_models: Path, precision: Precision, numbers: str
) -> None:
    """What the compiled model says of itself."""
    if not has_arithmetic(CORE, "CPU", numbers):
        pytest.skip(f"this processor has no arithmetic in {numbers}")
    (result,) = export(small_models / "centroid", small_models / precision, ExportOptions(precision=precision, **SMALL))
    with Predictor.from_model_paths(result.directory, backend="openvino", device="cpu") as predictor:
        running = predictor.runners[0].model.get_runtime_model()  # type: ignore[attr-defined]
        ran = {}
        for operation in running.get_ordered_ops():
            notes = operation.get_rt_info()
            ran.setdefault(str(notes["layerType"].astype(str)), set()).add(str(notes["runtimePrecision"].astype(str)))
    assert ran["Convolution"] == {numbers}
    assert numbers not in ran["TopK"]
