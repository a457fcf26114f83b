"""From a path to a model: its facts without torch, its network with torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sleap_infer.choices import TransposeAlignment
from sleap_infer.errors import (
    CheckpointError,
    ModelConfigError,
    ModelError,
    UnsupportedModelError,
    WeightsMismatchError,
)
from sleap_infer.model.readers.directory import ModelFiles, find_files
from sleap_infer.model.readers.texts import explain
from sleap_infer.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from sleap_infer.model.networks import Network


MOST_TIMES = 16
"""Times the bytes of the weights that a checkpoint may have: optimizers keep a few values for each weight."""

LARGEST_REST = 256 << 20
"""Bytes of a checkpoint that are no weights, at most."""


def find_model_files(path: str | Path) -> ModelFiles:
    """Find configuration and weights, given a model directory or one file in it.

    Args:
        path: as in `read_spec`. A checkpoint that is given is used; of a directory, the best one is. If a directory
            has a YAML and a JSON configuration, the YAML is read.

    Raises:
        ModelNotFoundError: nothing at `path`, or no model in it.
    """
    return find_files(path, lambda found: read_spec(found).kind)


def read_spec(path: str | Path, ignore_unknown_settings: bool = False) -> ModelSpec:
    """Read what a model is from its configuration, without its weights and without torch.

    Args:
        path: a model directory of sleap-nn or of SLEAP up to 1.4, or its configuration or checkpoint file.
        ignore_unknown_settings: whether settings that are not known here are only warned of. By default they are an
            error, for they could change the poses.

    Raises:
        ModelError: there is no such model, or it cannot be run; the subclass says why.
    """
    return _read_spec(find_model_files(path), ignore_unknown_settings)


def load_network(
    path: str | Path, transpose_alignment: TransposeAlignment | None = None, ignore_unknown_settings: bool = False
) -> Network:
    """Load the bare network of a model in eval mode, on the CPU.

    The network maps (B, C, H, W) float images in [0, 1] to a dict of raw maps by head name
    (`"SingleInstanceConfmapsHead"`, `"PartAffinityFieldsHead"`, ...), each (B, channels, H / stride, W / stride).

    Args:
        path: as in `read_spec`.
        transpose_alignment: where transposed convolutions put their output. By default as in the framework that
            trained the model: TensorFlow for SLEAP, PyTorch for sleap-nn. `"sleap-nn"` on a SLEAP model gives what
            sleap-nn makes of it, one pixel off.
        ignore_unknown_settings: as in `read_spec`.

    Raises:
        ModelError: the model cannot be read; the subclass says why.
    """
    files = find_model_files(path)
    return build_network(_read_spec(files, ignore_unknown_settings), files, transpose_alignment)


def build_network(spec: ModelSpec, files: ModelFiles, transpose_alignment: TransposeAlignment | None = None) -> Network:
    """Build the network of a spec and fill it with the weights of its files.

    Raises:
        CheckpointError: the weights cannot be read.
        WeightsMismatchError: they are not the weights of this network.
    """
    if files.format == "onnx":
        raise UnsupportedModelError(
            f"{files.weights} is an exported graph, from which no PyTorch network is made. Run it with backend='onnx', "
            "or give the trained model."
        )
    import torch

    from sleap_infer.model.networks import Network

    default: TransposeAlignment = "tensorflow" if files.format == "sleap" else "sleap-nn"
    try:
        with torch.device("meta"):  # takes no memory, and no time for random weights
            network = Network(spec, transpose_alignment or default)
    except ModelError as error:
        raise type(error)(f"{files.config}: {error}") from error
    except (RuntimeError, MemoryError, OverflowError, TypeError) as error:  # all that PyTorch has for such sizes
        reason = str(error).partition("\n")[0]  # without its stack
        raise ModelConfigError(
            f"{files.config}: no network of this size can be built ({reason}). Check `backbone_config`."
        ) from error
    _check_size(network, files)
    weights = _read_weights(files)
    if files.format == "sleap":
        weights = _by_full_name(weights, network)
    _fill(network, weights, files)
    return network.eval()


def _check_size(network: Network, files: ModelFiles) -> None:
    """Compare the size of the weights file with the network's, before anything of it is read.

    Raises:
        WeightsMismatchError: the file is far larger.
        CheckpointError: the file cannot be found any more.
    """
    needed = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    try:
        size = files.weights.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{files.weights} cannot be read: {explain(error)}.") from error
    if size > LARGEST_REST + MOST_TIMES * needed:
        raise WeightsMismatchError(
            f"{files.weights} has {size:,} bytes, but the network of {files.config.name} has weights of {needed:,}. "
            "They are not of the same training run."
        )


def _read_spec(files: ModelFiles, ignore_unknown: bool) -> ModelSpec:
    if files.format == "onnx":
        from sleap_infer.model.readers.exported import read_export_spec

        return read_export_spec(files, ignore_unknown)
    if files.format == "sleap":
        from sleap_infer.model.readers.legacy import read_json_spec

        return read_json_spec(files, ignore_unknown)
    from sleap_infer.model.readers.sleap_nn import read_yaml_spec

    return read_yaml_spec(files, ignore_unknown)


def _read_weights(files: ModelFiles) -> dict[str, Tensor]:
    if files.format == "sleap":
        import torch

        from sleap_infer.model.readers.legacy import read_keras_weights

        return {name: torch.from_numpy(value) for name, value in read_keras_weights(files.weights).items()}
    from sleap_infer.model.readers.checkpoint import read_checkpoint

    return read_checkpoint(files.weights)


def _by_full_name(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Give Keras weights, named by layer alone, the full names of the network's parameters."""
    names = {_layer_name(name): name for name in network.state_dict()}
    return {names.get(name, name): value for name, value in weights.items()}


def _layer_name(name: str) -> str:
    """`head_layers.0.CentroidConfmapsHead.0.weight` -> `CentroidConfmapsHead.weight`."""
    parts = [part for part in name.split(".") if not part.isdigit()]
    return ".".join(parts[-2:])


def _fill(network: Network, weights: Mapping[str, Tensor], files: ModelFiles) -> None:
    expected = network.state_dict()
    missing = sorted(expected.keys() - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    shapes = [
        f"{name}: {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & weights.keys())
        if weights[name].shape != expected[name].shape
    ]
    faults = [(missing, "missing"), (unknown, "not in the network"), (shapes, "of another shape")]
    if any(found for found, _ in faults):
        text = "; ".join(f"{len(found)} {what} (e.g. {found[0]})" for found, what in faults if found)
        raise WeightsMismatchError(
            f"{files.weights} does not fit {files.config.name}: {text}. "
            "They are not of the same training run, or the configuration was edited."
        )
    fitting = {name: weights[name].detach().to(value.dtype).contiguous() for name, value in expected.items()}
    network.load_state_dict(fitting, assign=True)
