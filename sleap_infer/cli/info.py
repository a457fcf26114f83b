"""`sleap-infer info`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sleap_infer.model import ModelSpec


def info(model: Annotated[Path, typer.Argument(help="Model directory.", show_default=False)]) -> None:
    """Show what a model is, and what can run it here."""
    from rich.console import Console
    from rich.table import Table

    from sleap_infer.model import find_model_files, read_spec

    files = find_model_files(model)
    spec = read_spec(model)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts(spec).items():
        table.add_row(name, value)
    table.add_row("parameters", count_parameters(spec))
    table.add_row("weights", f"{files.weights.name}, {files.weights.stat().st_size / 1e6:.1f} MB")
    for name, value in backends().items():
        table.add_row(name, value)
    Console().print(table)


def facts(spec: ModelSpec) -> dict[str, str]:
    """What a model is, as words."""
    images = spec.preprocessing
    size = f"{images.max_height or 'any'} x {images.max_width or 'any'} (height x width)"
    colour = "rgb" if images.ensure_rgb else "gray" if images.ensure_grayscale else "as they are"
    rows = {
        "kind": spec.kind,
        "written by": f"{spec.format} {spec.written_by}".strip(),
        "backbone": f"{spec.backbone.kind}, {spec.backbone.in_channels} channel(s) in",
        "strides": f"{spec.max_stride} (padding); " + ", ".join(_head(head) for head in spec.heads),
        "frames": f"{size}, channels {colour}, scale {images.scale:g}",
    }
    if images.crop_size:
        rows["crop"] = f"{images.crop_size} x {images.crop_size} around {spec.anchor_part or 'the mean of the points'}"
    elif spec.anchor_part:
        rows["anchor"] = spec.anchor_part
    rows["nodes"] = f"{spec.n_nodes}: {', '.join(spec.skeleton.nodes)}"
    if spec.skeleton.edges:
        rows["edges"] = ", ".join(f"{source}-{destination}" for source, destination in spec.skeleton.edges)
    if spec.classes:
        rows["classes"] = ", ".join(spec.classes)
    return rows


def count_parameters(spec: ModelSpec) -> str:
    """Number of parameters, which takes building the network."""
    if find_spec("torch") is None:
        return "unknown without PyTorch"
    import torch

    from sleap_infer.model.networks import Network

    with torch.device("meta"):
        network = Network(spec, "tensorflow" if spec.format == "sleap" else "sleap-nn")
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def backends() -> dict[str, str]:
    """What each backend would do here, as words."""
    if find_spec("torch") is None:
        missing = "no: PyTorch is not installed; pip install 'sleap-infer[torch]'"
        return {"backend torch": missing, "backend torch_compile": missing}
    import torch

    from sleap_infer.errors import BackendNotInstalledError
    from sleap_infer.runners.torch import find_device
    from sleap_infer.runners.torch_compile import require_compiler

    runs = f"yes, PyTorch {torch.__version__} on {find_device('auto')}"
    try:
        require_compiler()
    except BackendNotInstalledError as error:
        return {"backend torch": runs, "backend torch_compile": f"no: {error}"}
    return {"backend torch": runs, "backend torch_compile": runs}


def _head(head: object) -> str:
    stride = getattr(head, "output_stride", None)
    name = str(getattr(head, "name", ""))
    return f"{name} {stride}" if stride else name
