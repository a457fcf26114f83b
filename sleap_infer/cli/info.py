"""`sleap-infer info`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from sleap_infer.choices import CentroidMethod
from sleap_infer.cli.flags import REQUIRED, argument, command, flag
from sleap_infer.cli.groups import IGNORE_UNKNOWN_HELP
from sleap_infer.errors import BackendNotInstalledError, DeviceError, SleapInferError
from sleap_infer.runners.registry import backend_names, find_runner

if TYPE_CHECKING:
    from sleap_infer.model import ModelSpec


CENTRES: Mapping[CentroidMethod, str] = {
    "center_of_mass": "the mean of the points",
    "bbox_center": "the middle of the points' bounding box",
    "geometric_median": "the geometric median of the points",
}


@frozen
class InfoFlags:
    """Models to show."""

    models: list[Path] = argument(REQUIRED, "Model directories.")
    ignore_unknown_settings: bool = flag(False, IGNORE_UNKNOWN_HELP)


@command
def info(given: InfoFlags) -> None:
    """Show what models are, and which backends can run them here.

    Examples:
      sleap-infer info models/bottomup
      sleap-infer info models/centroid models/centered_instance
    """
    from rich.table import Table

    from sleap_infer.cli.output.terminal import Terminal
    from sleap_infer.model import expand_model_path, find_model_files, read_spec

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    rows: list[tuple[str, str]] = []
    for path in (path for model in given.models for path in expand_model_path(model)):
        weights, spec = find_model_files(path).weights, read_spec(path, given.ignore_unknown_settings)
        rows += facts(spec).items()
        if spec.exported is None:
            rows.append(("parameters", count_parameters(spec)))
        rows += [("weights", f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB"), ("", "")]
    for name, value in [*rows, *backends().items()]:
        table.add_row(name, value)
    Terminal().print(table)


def facts(spec: ModelSpec) -> dict[str, str]:
    """Describe a model in rows."""
    images = spec.preprocessing
    size = f"{images.max_height or 'any'} x {images.max_width or 'any'} (height x width)"
    colour = "rgb" if images.ensure_rgb else "gray" if images.ensure_grayscale else "unchanged"
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
    rows["conventions"] = _conventions(spec)
    rows["refinement"] = "offset head" if spec.has_offsets else "integral"
    if spec.classes:
        rows["classes"] = ", ".join(spec.classes)
    return rows | export_facts(spec)


def _crop(spec: ModelSpec, side: int) -> str:
    of_scaled = spec.conventions.cropping == "between_pixels" and spec.preprocessing.scale != 1.0
    where = spec.anchor_part or CENTRES[spec.centroid_method]
    return f"{side} x {side}{' of the scaled frame' if of_scaled else ''} around {where}"


def _conventions(spec: ModelSpec) -> str:
    """Name the program whose rules apply to images and points; `docs/models.md` has all of them."""
    from sleap_infer.model.conventions import SLEAP, SLEAP_NN

    conventions = spec.conventions
    program = {SLEAP: "SLEAP", SLEAP_NN: "sleap-nn"}.get(conventions, "unknown program")
    resized = "without antialiasing" if conventions.resizing == "bilinear" else "antialiased"
    crops = "between pixels, after scaling" if conventions.cropping == "between_pixels" else "at whole pixels"
    half = f", {conventions.half_pixel:g} px added where frames are scaled" if conventions.half_pixel else ""
    return f"{program}: resized {resized}, cropped {crops}{half}"


def export_facts(spec: ModelSpec) -> dict[str, str]:
    """Describe what is fixed in an exported graph."""
    facts = spec.exported
    if facts is None:
        return {}
    rows = {
        "exported by": facts.made_by,
        "graph": f"{facts.precision}, {facts.layout} outputs, at most {facts.n_places} peaks",
        "inside": {
            "network": "network (without resizing, scaling and padding)",
            "scaling": "scaling, padding and network",
            "fitting": "resizing, scaling, padding and network",
        }[facts.inside],
        "fixed": ", ".join(f"{name}={value}" for name, value in facts.baked.items() if value is not None),
        "source": facts.source,
        "check": facts.verdict or "none",
    }
    if facts.kept:
        rows["blocks in fp32"] = ", ".join(facts.kept)
    return rows


def count_parameters(spec: ModelSpec) -> str:
    """Return the number of parameters; builds the network."""
    if find_spec("torch") is None:
        return "unknown without PyTorch"
    import torch

    from sleap_infer.model.networks import Network

    with torch.device("meta"):
        network = Network(spec, "tensorflow" if spec.format == "sleap" else "sleap-nn")
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def backends() -> dict[str, str]:
    """Describe the backends that can run here, and name those that cannot in one row."""
    rows, absent = {}, []
    for name in backend_names():
        try:
            rows[f"backend {name}"] = f"yes, {find_runner(name).summary()}"
        except (BackendNotInstalledError, DeviceError):
            absent.append(name)
        except SleapInferError as error:
            rows[f"backend {name}"] = f"no: {error}"
        except Exception as error:  # a broken runtime, or a package from elsewhere, may raise anything
            rows[f"backend {name}"] = f"no: {type(error).__name__}: {error}"
    if absent:
        rows["not available"] = f"{', '.join(absent)} (reasons and fixes: sleap-infer doctor)"
    return rows


def _trainer(spec: ModelSpec) -> str:
    """Return the program that trained a model; of an exported one only the version is known."""
    return "version" if spec.exported else spec.format


def _head(head: object) -> str:
    stride = getattr(head, "output_stride", None)
    name = str(getattr(head, "name", ""))
    return f"{name} {stride}" if stride else name
