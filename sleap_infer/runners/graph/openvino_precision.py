"""Arithmetic of OpenVINO: networks in 16 bits if the CPU has it, everything else in fp32."""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sleap_infer.choices import Precision
from sleap_infer.model.blocks import block_of, is_kept
from sleap_infer.model.spec import ExportFacts
from sleap_infer.reports import Fallback, reports
from sleap_infer.system.runtimes import import_runtime

ARITHMETIC: Mapping[Precision, str] = {"fp16": "f16", "bf16": "bf16", "int8": "f16"}
"""Arithmetic of blocks that are not quantized, if the CPU has it."""

CAPABILITIES: Mapping[str, str] = {"f16": "FP16", "bf16": "BF16"}
FULL = "f32"

LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that limit the instructions of oneDNN, which OpenVINO uses."""

HAS_BF16 = ("BF16", "FP16", "AMX", "AVX10", "VNNI_2", "ALL", "DEFAULT")
"""Substrings of names of instruction sets with 16-bit arithmetic."""

SHAPE = "ShapeOf"
"""Reads no values. OpenVINO reshapes biases with it, and fuses them into the convolution only if nothing on that path
is marked."""


def find_arithmetic(core: Any, device: str, facts: ExportFacts) -> str:
    """Return the arithmetic of the blocks that are not quantized. OpenVINO's own default is bf16 if available.

    Args:
        core: an `openvino.Core`.
        device: in OpenVINO's notation.
        facts: of the export.
    """
    wanted = ARITHMETIC.get(facts.precision, FULL)
    if wanted == FULL or (facts.precision == "int8" and not facts.kept):
        return FULL
    if has_arithmetic(core, device, wanted):
        return wanted
    if facts.precision == "bf16":
        message = f"{device} has no bf16 arithmetic: computing in 32-bit floats."
        reports().fall_back(Fallback("precision", "bf16", "fp32", message), message)
    return FULL


def has_arithmetic(core: Any, device: str, numbers: str) -> bool:
    """Return whether a device has arithmetic in `f16` or `bf16`; others emulate it slowly."""
    limit = next((os.environ[name].upper() for name in LIMITS if os.environ.get(name)), "")
    if device == "CPU" and limit and not any(part in limit for part in HAS_BF16):
        return False  # OpenVINO still reports bf16, and cannot compile for it
    return CAPABILITIES[numbers] in core.get_property(device, "OPTIMIZATION_CAPABILITIES")


def keep_precise(core: Any, model: Any, facts: ExportFacts) -> Any:
    """Return a model in which only the blocks of lower precision are computed in it, and all others in fp32.

    Others are marked `precise` as in OpenVINO's model files, because there is no function for it. Otherwise peaks and
    crop positions would be computed in 16 bits, too.

    Args:
        core: an `openvino.Core`.
        model: an `openvino.Model` of an exported graph.
        facts: of the export. Blocks excluded from int8 are computed in 16 bits.

    Returns:
        The marked model, or `None` if the graph does not name blocks (other programs, old exports).
    """
    is_int8 = facts.precision == "int8"
    low = operations_in(model, lambda block: is_kept(block, facts.kept) == is_int8)
    if not low:
        return None
    openvino = import_runtime("openvino")
    with tempfile.TemporaryDirectory() as folder:
        text, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.serialize(model, text, weights)
        tree = ElementTree.parse(text)  # written in the line before
        for layer in tree.getroot().findall("layers/layer"):
            if layer.get("name") not in low:
                notes = layer.find("rt_info")
                notes = ElementTree.SubElement(layer, "rt_info") if notes is None else notes
                ElementTree.SubElement(notes, "attribute", name="precise", version="0")
        return core.read_model(ElementTree.tostring(tree.getroot()), weights.read_bytes())


def operations_in(model: Any, is_wanted: Callable[[str], bool]) -> set[str]:
    """Return the names of operations in some blocks of networks, with constants and operations in between.

    Args:
        model: an `openvino.Model`.
        is_wanted: whether a block, by name, is included.
    """
    operations = model.get_ordered_ops()
    constant: set[str] = set()
    for operation in operations:
        sources = [source.get_source_output().get_node().get_friendly_name() for source in operation.inputs()]
        if operation.get_type_name() in ("Constant", SHAPE) or (sources and constant.issuperset(sources)):
            constant.add(operation.get_friendly_name())
    found: dict[str, str] = {}
    for operation in reversed(operations):
        name = operation.get_friendly_name()
        block = block_of(name) or _block_after(operation, found, name in constant)
        if block is not None and is_wanted(block):
            found[name] = block
    return set(found)


def _block_after(operation: Any, found: Mapping[str, str], is_constant: bool) -> str | None:
    """Return the block of an operation without one of our names: the one of all its consumers."""
    consumers = [
        target.get_node().get_friendly_name()
        for out in operation.outputs()
        for target in out.get_target_inputs()
        if target.get_node().get_type_name() != SHAPE
    ]
    if not consumers or any(name not in found for name in consumers):
        return None
    if not is_constant:
        sources = [source.get_source_output().get_node().get_friendly_name() for source in operation.inputs()]
        if all(block_of(source) is None for source in sources):
            return None
    return found[consumers[0]]
