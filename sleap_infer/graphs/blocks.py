"""Name operations of a graph after the blocks of its networks, for quantization and runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sleap_infer.model.blocks import NETWORK_MARK, block_of

SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata key of the exporter for the module of an operation."""

STACKS = ("stem_stack", "encoder_stack", "decoder_stack", "features")
"""Lists in networks whose items are blocks."""

QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "Concat", "Resize", "Add", "Relu")
"""Operations of networks that are quantized."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Quantized operations with weights."""


def name_blocks(model: Any) -> None:
    """Prefix the name of each operation of a network with its block, from the exporter's notes."""
    for node in model.graph.node:
        block = group_of(next((item.value for item in node.metadata_props if item.key == SCOPES), ""))
        if block is not None:
            node.name = f"{NETWORK_MARK}{block}/{node.name}"


def layer_groups(graph: Path) -> dict[str, tuple[str, ...]]:
    """Return the operations of networks that can be quantized, by block: `encoder_stack.0`, `head_layers.0`.

    With two networks in one graph, the name of the network comes first: `centroid.encoder_stack.0`. Operations without
    weights belong to the preceding block with weights.
    """
    import onnx

    found: dict[str, list[str]] = {}
    nodes = []
    for node in onnx.load(str(graph), load_external_data=False).graph.node:
        group = block_of(node.name)
        if group is not None and node.op_type in QUANTIZED:
            nodes.append((group, node.name))
            if node.op_type in WEIGHTED:
                found.setdefault(group, [])
    last = next(iter(found), None)
    for group, name in nodes:
        last = group if group in found else last
        if last is not None:
            found[last].append(name)
    return {group: tuple(names) for group, names in found.items()}


def group_of(scopes: str) -> str | None:
    """Return the block of an operation, from the exporter's note; `None` outside of networks.

    >>> group_of("['', 'body', 'body.pose_network.network.backbone.encoders.0.encoder_stack.1.blocks']")
    'encoder_stack.1'
    >>> group_of("['', 'body', 'body.pose_network.network.backbone.middle_blocks.0.blocks.conv0']")
    'middle_blocks.0'
    >>> group_of("['', 'body', 'body.centroid.network.head_layers.0', 'conv']")
    'centroid.head_layers.0'
    >>> group_of("['', 'body', 'body.pose_network', 'max']") is None
    True
    """
    names = [name.strip(" '\"[]") for name in scopes.split(",")]
    inside = [name for name in names if ".network." in f"{name}."]
    if not inside:
        return None
    deepest = max(inside, key=len)
    owner, _, path = deepest.partition(".network")
    parts = [part for part in path.split(".") if part and part != "backbone" and part != "network"]
    first = max((index for index, part in enumerate(parts) if part in STACKS), default=0)
    block = ".".join(parts[first : first + 2]) or "between blocks"
    network = owner.rpartition(".")[2]
    return block if network == "pose_network" else f"{network}.{block}"
