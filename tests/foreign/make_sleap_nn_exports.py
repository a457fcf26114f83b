"""Makes sleap-nn's own exports of the repository's models: graphs of another program, to read and to compare with.

    python tests/foreign/make_sleap_nn_exports.py --sleap-nn sleap-nn --output DIR
    python tests/foreign/make_sleap_nn_exports.py --sleap-nn sleap-nn --output DIR --kinds bottomup topdown

sleap-nn is run as it is, on the CPU, in its own environment, which needs onnx, onnxscript and onnxruntime. Each kind
becomes `DIR/<kind>/` with `model.onnx`, `export_metadata.json` and the training configuration of each model.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

MODELS = Path(__file__).resolve().parents[2] / "sleap_infer" / "assets" / "models"

EXPORTS: dict[str, tuple[str, ...]] = {
    "single_instance": ("single_instance",),
    "centroid": ("centroid",),
    "centered_instance": ("centered_instance",),
    "bottomup": ("bottomup",),
    "multi_class_bottomup": ("multi_class_bottomup",),
    "multi_class_topdown": ("multi_class_topdown",),
    "topdown": ("centroid", "centered_instance"),
    "multi_class_topdown_combined": ("centroid", "multi_class_topdown"),
}
"""What sleap-nn calls the kind of graph, and the models that go into it."""

EXPECTED_KEYS = ("pretrained_backbone_weights", "pretrained_head_weights")
"""Keys of `model_config` that sleap-nn's exporter looks up, though its loader does without them."""


def main(command: list[str], output: Path, kinds: list[str]) -> None:
    """Make the exports of these kinds; one that is there already is replaced."""
    if (program := Path(command[0])).exists():
        command = [str(program.resolve()), *command[1:]]
    output = output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            target = output / kind
            shutil.rmtree(target, ignore_errors=True)
            for model in EXPORTS[kind]:
                copy_model(model, Path(folder))
            # Run beside the models, so that the metadata hold no path of this machine.
            arguments = [*command, "export", *EXPORTS[kind], "-o", str(target), "--precision", "fp32"]
            subprocess.run([*arguments, "--device", "cpu"], check=True, cwd=folder, capture_output=True)
            check(target)
            print(kind, f"{sum(file.stat().st_size for file in target.iterdir()) / 1000:.0f} kB")


def copy_model(name: str, folder: Path) -> None:
    """Copy one of the repository's models, with the keys that the exporter wants."""
    shutil.copytree(MODELS / name, folder / name, dirs_exist_ok=True)
    path = folder / name / "training_config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in EXPECTED_KEYS:
        config["model_config"].setdefault(key, None)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def check(directory: Path) -> None:
    """Refuse a graph that has lines of source code with it, as PyTorch's newer exporter adds them.

    sleap-nn falls back on that exporter for a single_instance model whose input is scaled.

    Raises:
        ValueError: it has.
    """
    if b"stack_trace" in (directory / "model.onnx").read_bytes():
        raise ValueError(f"{directory} holds stack traces of the program that made it; do not share it.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sleap-nn", required=True, metavar="COMMAND", help="how sleap-nn's command line is called")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the exports go")
    parser.add_argument("--kinds", nargs="+", choices=EXPORTS, default=list(EXPORTS), help="only these kinds")
    given = parser.parse_args()
    main(shlex.split(given.sleap_nn), given.output, given.kinds)
