"""`sleap-infer info`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sleap_infer.choices import CentroidMethod
from sleap_infer.cli.parameters import IgnoreUnknown
from sleap_infer.errors import SleapInferError
from sleap_infer.model.conventions import SLEAP, SLEAP_NN
from sleap_infer.runners.registry import backend_names, find_runner

if TYPE_CHECKING:
    from sleap_infer.model import ModelSpec


CENTRES: Mapping[CentroidMethod, str] = {
    "center_of_mass": "the mean of the points",
    "bbox_center": "the middle of the points' bounding box",
    "geometric_median": "the geometric median of the points",
}


def info(
    model: Annotated[Path, typer.Argument(help="Model directory.", show_default=False)],
    ignore_unknown_settings: IgnoreUnknown = False,
) -> None:
    """Show what a model is, and what can run it here."""
    from rich.table import Table

    from sleap_infer.cli.output.terminal import Terminal
    from sleap_infer.model import expand_model_path, find_model_files, read_spec

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    rows: list[tuple[str, str]] = []
    for path in expand_model_path(model):
        weights, spec = find_model_files(path).weights, read_spec(path, ignore_unknown_settings)
        rows += facts(spec).items()
        if spec.exported is None:
            rows.append(("parameters", count_parameters(spec)))
        rows += [("weights", f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB"), ("", "")]
    for name, value in [*rows, *backends().items()]:
        table.add_row(name, value)
    Terminal().print(table)


def facts(spec: ModelSpec) -> dict[str, str]:
    """What a model is, as words."""
    images = spec.preprocessing
    size = f"{images.max_height or 'any'} x {images.max_width or 'any'} (height x width)"
    colour = "rgb" if images.ensure_rgb else "gray" if images.ensure_grayscale else "as they are"
    rows = {
        "kind": spec.kind,
        "trained with" if spec.exported else "written by": f"{_trainer(spec)} {spec.written_by}".strip(),
        "backbone": f"{spec.backbone.kind}, {spec.backbone.in_channels} channel(s) in",
        "strides": f"{spec.max_stride} (padding); " + ", ".join(_head(head) for head in spec.heads),
        "frames": f"{size}, channels {colour}, scale {images.scale:g}",
    }
    if images.crop_size:
        rows["crop"] = _crop(spec, images.crop_size)
    elif spec.anchor_part:
        rows["anchor"] = spec.anchor_part
    rows["nodes"] = f"{spec.n_nodes}: {', '.join(spec.skeleton.nodes)}"
    if spec.skeleton.edges:
        rows["edges"] = ", ".join(f"{source}-{destination}" for source, destination in spec.skeleton.edges)
    rows["fed as by"] = _feeding(spec)
    rows["refinement"] = "by the offset head" if spec.has_offsets else "integral"
    if spec.classes:
        rows["classes"] = ", ".join(spec.classes)
    return rows | export_facts(spec)


def _crop(spec: ModelSpec, side: int) -> str:
    of_scaled = spec.conventions.cropping == "between_pixels" and spec.preprocessing.scale != 1.0
    where = spec.anchor_part or CENTRES[spec.centroid_method]
    return f"{side} x {side}{' of the scaled frame' if of_scaled else ''} around {where}"


def _feeding(spec: ModelSpec) -> str:
    """Whose rules hold for images and points; `docs/models.md` has all of them."""
    conventions = spec.conventions
    program = {SLEAP: "SLEAP", SLEAP_NN: "sleap-nn"}.get(conventions, "no known program")
    resized = "without antialiasing" if conventions.resizing == "bilinear" else "antialiased"
    crops = "between pixels, after scaling" if conventions.cropping == "between_pixels" else "at whole pixels"
    half = f", {conventions.half_pixel:g} px added where frames are scaled" if conventions.half_pixel else ""
    return f"{program}: resized {resized}, crops cut {crops}{half}"


def export_facts(spec: ModelSpec) -> dict[str, str]:
    """What is fixed in an exported graph, as words."""
    facts = spec.exported
    if facts is None:
        return {}
    rows = {
        "exported by": facts.made_by,
        "graph": f"{facts.precision}, {facts.layout} outputs, room for {facts.n_places}",
        "inside": {
            "network": "the network; fitting, scaling and padding come before it",
            "scaling": "scaling, padding and network",
            "fitting": "fitting, scaling, padding and network",
        }[facts.inside],
        "fixed": ", ".join(f"{name}={value}" for name, value in facts.baked.items() if value is not None),
        "made from": facts.source,
        "check": facts.verdict or "none was made",
    }
    if facts.kept:
        rows["kept in fp32"] = ", ".join(facts.kept)
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
    """Return what each backend can do here, in words."""
    return {f"backend {name}": _backend(name) for name in backend_names()}


def _backend(name: str) -> str:
    try:
        return f"yes, {find_runner(name).summary()}"
    except SleapInferError as error:
        return f"no: {error}"
    except Exception as error:  # a broken runtime, or a package from elsewhere, may raise anything
        return f"no: {type(error).__name__}: {error}"


def _trainer(spec: ModelSpec) -> str:
    """What trained a model; of an exported one only the version is known."""
    return "version" if spec.exported else spec.format


def _head(head: object) -> str:
    stride = getattr(head, "output_stride", None)
    name = str(getattr(head, "name", ""))
    return f"{name} {stride}" if stride else name
