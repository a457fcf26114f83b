"""What is missing, cut off or mixed up says so by name: which file, what was found, what to do."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny_model import change, tiny_config, write_config, write_model

from sleap_infer.errors import CheckpointError, ModelConfigError, ModelNotFoundError, WeightsMismatchError
from sleap_infer.model import load_network, read_spec
from sleap_infer.model.readers.checkpoint import read_checkpoint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", tiny_config())
    return tmp_path / "model"


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere: there is no such file or directory"):
        read_spec(tmp_path / "nowhere")


def test_path_that_the_system_refuses() -> None:
    with pytest.raises(ModelNotFoundError, match=r"No model at x+: File name too long\. Check the path"):
        read_spec("x" * 5000)


@pytest.mark.parametrize(
    ("name", "error"), [("best.ckpt", CheckpointError), ("training_config.yaml", ModelConfigError)], ids=str
)
def test_file_that_may_not_be_read(model: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type) -> None:
    """Not by permissions, which do not hold for a superuser."""
    may = Path.open

    def open_others(path: Path, *args: object, **options: object) -> object:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return may(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_others)
    with pytest.raises(error, match=rf"{name}.*Permission denied"):
        load_network(model)


def test_home_of_nobody() -> None:
    with pytest.raises(ModelNotFoundError, match="~nobody-of-that-name"):
        read_spec("~nobody-of-that-name/model")


def test_directory_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    with pytest.raises(ModelNotFoundError, match=r"expected training_config\.yaml.* found video\.mp4\. Give the dir"):
        read_spec(tmp_path)


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="found nothing"):
        read_spec(tmp_path)


@pytest.mark.parametrize("name", ["training_log.csv", "initial_config.yaml", "labels.slp"])
def test_another_file_of_the_directory_is_not_the_model(model: Path, name: str) -> None:
    (model / name).touch()
    with pytest.raises(ModelNotFoundError, match=rf"{name}: expected training_config\.yaml"):
        read_spec(model / name)


def test_configuration_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'best\.ckpt' are not beside it .* Copy the whole"):
        read_spec(write_config(tmp_path / "model", tiny_config()))


def test_weights_of_the_other_format(model: Path) -> None:
    (model / "best_model.h5").touch()
    with pytest.raises(ModelNotFoundError, match=r"best_model\.h5: expected"):
        read_spec(model / "best_model.h5")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_checkpoint(model: Path, share: float) -> None:
    path = model / "best.ckpt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        CheckpointError, match=r"best\.ckpt is not a PyTorch checkpoint, or only a part .* copy it again"
    ):
        load_network(model)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1000])
def test_random_bytes_for_a_checkpoint(model: Path, size: int) -> None:
    (model / "best.ckpt").write_bytes(random.Random(0).randbytes(size))
    with pytest.raises(CheckpointError, match=rf"best\.ckpt is not a PyTorch checkpoint.*\({size} bytes\)"):
        load_network(model)


def test_bytes_changed_in_a_checkpoint_never_raise_anything_else(model: Path) -> None:
    path, dice = model / "best.ckpt", random.Random(0)
    whole = path.read_bytes()
    refusals = []
    for _ in range(150):
        damaged = bytearray(whole)
        at = dice.randrange(4000) if dice.random() < 0.5 else -1 - dice.randrange(4000)
        damaged[at : at + 1 or None] = dice.randbytes(1)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert all(str(path) in refusal for refusal in refusals)


@pytest.mark.parametrize(
    "content",
    [{}, [1, 2], torch.zeros(3), {"state_dict": {}}, {"state_dict": [1]}, {"weights": {"model.x": torch.zeros(1)}}],
    ids=str,
)
def test_pytorch_file_that_is_no_checkpoint(model: Path, content: object) -> None:
    torch.save(content, model / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt holds no `state_dict`"):
        load_network(model)


@pytest.mark.parametrize(
    "odd", [lambda t: t.to("meta"), torch.Tensor.to_sparse, lambda t: t.to(torch.complex64), bytes]
)
def test_weights_that_are_no_plain_numbers(model: Path, odd: Callable[[torch.Tensor], object]) -> None:
    content = torch.load(model / "best.ckpt", weights_only=True)
    content["state_dict"]["model.odd"] = odd(torch.ones(2).byte())
    torch.save(content, model / "best.ckpt")
    with pytest.raises(
        CheckpointError, match=r"best\.ckpt: entries \['model\.odd'\] .* are not plain tensors.*copy it"
    ):
        load_network(model)


def test_zip_file_that_is_no_checkpoint(model: Path) -> None:
    archive = shutil.make_archive(str(model.parent / "archive"), "zip", model, "training_config.yaml")
    shutil.copy(archive, model / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"an archive, but not a training checkpoint .*training_config\.yaml"):
        load_network(model)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("model_config/backbone_config/unet/filters", 6, "of another shape"),
        ("model_config/backbone_config/unet/max_stride", 16, "missing"),
        ("model_config/backbone_config/unet/up_interpolate", False, "missing"),
        ("model_config/head_configs/bottomup/pafs/edges", [["head", "tail"]], "1|2 of another shape"),
    ],
)
def test_weights_of_another_model(model: Path, path: str, value: object, complaint: str) -> None:
    write_config(model, change(tiny_config(), path, value))
    with pytest.raises(
        WeightsMismatchError, match=rf"best\.ckpt does not fit training_config\.yaml: .*{complaint}.*run"
    ):
        load_network(model)


def test_weights_of_another_kind(model: Path) -> None:
    write_config(model, tiny_config("centroid"))
    with pytest.raises(WeightsMismatchError, match="CentroidConfmapsHead"):
        load_network(model)


LEGACY_CONFIG = """{"data": {"labels": {"skeletons": []}, "preprocessing": {}}, "model": {
    "backbone": {"unet": {"stem_stride": null}}, "heads": {"single_instance": {"part_names": ["a", "b"]}}}}"""


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    (tmp_path / "training_config.json").write_text(LEGACY_CONFIG)
    (tmp_path / "best_model.h5").write_bytes(os.urandom(2000))
    return tmp_path


def test_random_bytes_for_keras_weights(legacy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best_model\.h5 cannot be read as Keras weights .* copy it again"):
        read_spec(legacy)


@pytest.mark.parametrize(
    ("layer", "value", "error"),
    [
        ("other/x", np.zeros(3), CheckpointError),
        ("model_weights", np.zeros(3), CheckpointError),
        ("model_weights/stack0_enc0_conv0", np.zeros(3), CheckpointError),
        ("model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0", np.zeros((3, 3, 1)), CheckpointError),
        ("model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0", b"text", CheckpointError),
        ("model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0/x", np.zeros(3), CheckpointError),
        ("model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0", np.zeros((3, 3, 2, 8)), ModelConfigError),
        ("model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0", np.zeros((3, 3, 1, 8)), WeightsMismatchError),
    ],
)
def test_strange_keras_weights(legacy: Path, layer: str, value: object, error: type[Exception]) -> None:
    with h5py.File(legacy / "best_model.h5", "w") as file:
        file[layer] = value
    with pytest.raises(error, match=str(legacy)):
        load_network(legacy)
