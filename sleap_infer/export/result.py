"""The result of an export, and how to run it without this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from sleap_infer.checks.report import Report
from sleap_infer.model import ModelSpec
from sleap_infer.runners.tensorrt.engines import ANY_GPU, read_facts
from sleap_infer.system.printable import printable

INSIDE_WORDS = {
    "network": "normalisation, network, peaks; frames are fitted, scaled and padded before it",
    "scaling": "scaling, padding, normalisation, networks, crops, peaks; frames are fitted before it",
    "fitting": "everything from frames of any size to points in their pixels",
}


@frozen
class ExportResult:
    """The export of one model, or of two in one graph.

    Attributes:
        directory: with the graph and its metadata, sufficient to predict.
        graph: the ONNX file.
        spec: the exported model's facts.
        inside: inputs, outputs, opset and number of operations of the graph.
        report: of the export check of the whole pipeline; `None` if it was not requested.
        engines: TensorRT engines beside the graph.
        networks: networks converted for MNN beside the graph.
    """

    directory: Path
    graph: Path
    spec: ModelSpec
    inside: Mapping[str, Any]
    report: Report | None
    engines: tuple[Path, ...] = ()
    networks: tuple[Path, ...] = ()

    def __str__(self) -> str:
        """Describe the export, and how to run it with only onnxruntime and numpy."""
        facts = self.spec.exported
        assert facts is not None
        n_operations = f"opset {self.inside['opset']}, {self.inside['n_nodes']} operations"
        lines = [f"{self.graph} ({self.spec.kind}, {facts.precision}, {n_operations})"]
        lines += [f"  in   {name}: {form}" for name, form in self.inside["inputs"].items()]
        lines += [f"  out  {name}: {form}" for name, form in self.inside["outputs"].items()]
        lines.append(f"  inside: {INSIDE_WORDS[facts.inside]}")
        if self.spec.row.capacity:
            lines.append(f"  capacity: {facts.n_places} {self.spec.row.capacity}; frames that reach it are reported")
        if facts.kept:
            lines.append(f"  blocks in fp32: {', '.join(facts.kept)}")
        lines += [f"  engine {path.name}: {_describe(path)}" for path in self.engines]
        lines += [f"  for MNN {path.parent.name}/{path.name}" for path in self.networks]
        lines.append(f"  check {self.report.line()}" if self.report else "  check: not requested")
        return "\n".join([*map(printable, lines), "", self.snippet()])

    def snippet(self) -> str:
        """Return a program that runs the graph with only onnxruntime and numpy."""
        facts = self.spec.exported
        assert facts is not None
        height, width = self._image_size()
        note = {
            "network": f"uint8, RGB or gray; height and width are multiples of {self.spec.max_stride}.",
            "scaling": "uint8, RGB or gray; frames as the model's size has them.",
            "fitting": "uint8, RGB or gray, of any size.",
        }[facts.inside]
        outputs = list(self.inside["outputs"])
        channels = self.spec.backbone.in_channels
        return (
            "import numpy as np\n"
            "import onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({str(self.graph)!r}, providers=['CPUExecutionProvider'])\n"
            f"# (batch, channels, height, width), {note}\n"
            f"image = np.zeros(({facts.batch_size or 1}, {channels}, {height}, {width}), np.uint8)\n"
            f"{', '.join(outputs) + ',' * (len(outputs) == 1)} = session.run(None, {{'image': image}})\n"
        )

    def _image_size(self) -> tuple[int, int]:
        form = str(self.inside["inputs"]["image"]).partition("(")[2].rstrip(")").split(", ")
        fixed = [int(side) if side.isdigit() else self.spec.max_stride * 8 for side in form[2:]]
        return fixed[0], fixed[1]


def _describe(engine: Path) -> str:
    facts = read_facts(engine)
    if facts is None:
        return "no metadata"
    sizes = ", ".join(" x ".join(map(str, shape)) for shape in dict.fromkeys(facts.profile.shapes))
    gpu = "any GPU" if facts.gpu == ANY_GPU else facts.gpu
    return f"{facts.flavour} {facts.version}, {gpu}, {facts.precision}, images of {sizes}"
