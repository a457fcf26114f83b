"""Nothing in a checkpoint is ever run, whatever it asks for."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import checkpoint_of, tiny_config, write_model

from sleap_infer.errors import CheckpointError
from sleap_infer.model import load_network
from sleap_infer.model.readers.checkpoint import read_checkpoint


class Payload:
    """A pickle of it calls `function` with `argument` when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def shell(marker: Path) -> Payload:
    return Payload(os.system, f"touch {marker}")


def execute(marker: Path) -> Payload:
    return Payload(builtins.exec, f"open({str(marker)!r}, 'w').close()")


def make_directory(marker: Path) -> Payload:
    return Payload(os.mkdir, str(marker))


ATTACKS = (shell, execute, make_directory)


def config_entry(content: dict[str, Any], payload: Payload) -> dict[str, Any]:
    return {**content, "config": payload}


def deep_in_config(content: dict[str, Any], payload: Payload) -> dict[str, Any]:
    return {**content, "config": {"data_config": [{"x": (payload,)}]}}


def among_weights(content: dict[str, Any], payload: Payload) -> dict[str, Any]:
    content["state_dict"]["model.evil"] = payload
    return content


def instead_of_weights(content: dict[str, Any], payload: Payload) -> dict[str, Any]:
    return {**content, "state_dict": payload}


def instead_of_all(content: dict[str, Any], payload: Payload) -> Any:
    return payload


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_payloads_do_work_in_a_careless_reader(marker: Path, attack: Callable[[Path], Payload]) -> None:
    pickle.loads(pickle.dumps(attack(marker)))
    assert marker.exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", [config_entry, deep_in_config])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_weights_are_read_around_a_payload(
    tmp_path: Path, marker: Path, attack: Any, place: Any, protocol: int
) -> None:
    network = write_model(tmp_path / "model", tiny_config())
    path = tmp_path / "model" / "best.ckpt"
    torch.save(place(checkpoint_of(network), attack(marker)), path, pickle_protocol=protocol)
    weights = read_checkpoint(path)
    assert not marker.exists()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", [among_weights, instead_of_weights, instead_of_all])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])
def test_payloads_in_place_of_weights_are_refused(
    tmp_path: Path, marker: Path, attack: Any, place: Any, zipped: bool
) -> None:
    network = write_model(tmp_path / "model", tiny_config())
    path = tmp_path / "model" / "best.ckpt"
    torch.save(place(checkpoint_of(network), attack(marker)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        load_network(tmp_path / "model")
    assert not marker.exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("tail", [False, True], ids=["bare", "zip-behind"])
def test_bare_pickles_are_refused(tmp_path: Path, marker: Path, attack: Any, protocol: int, tail: bool) -> None:
    behind = io.BytesIO()
    if tail:
        torch.save({"state_dict": {"model.x": torch.zeros(1)}}, behind)
    path = tmp_path / "best.ckpt"
    path.write_bytes(pickle.dumps(attack(marker), protocol) + behind.getvalue())
    with pytest.raises(CheckpointError, match=r"best\.ckpt is not a PyTorch checkpoint"):
        read_checkpoint(path)
    assert not marker.exists()


def write_pickle(path: Path, instructions: bytes) -> Path:
    """A checkpoint archive around hand-written pickle instructions."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", instructions), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)
    return path


INSTRUCTIONS = {
    "sets-defaults": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01K\x02\x86s\x86b.",
    "patches-ordered-dict": b"\x80\x02ccollections\nOrderedDict\nN}X\x04\x00\x00\x00evilK\x01s\x86b.",
    "patches-stand-in": b"\x80\x02cos\nsystem\nN}X\x04\x00\x00\x00evilK\x01s\x86b.",
    "dotted-name": b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict.fromkeys.__globals__\x93.",
    "instance-opcode": b"(S'true'\nios\nsystem\n.",
    "extension-code": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("instructions", INSTRUCTIONS.values(), ids=INSTRUCTIONS)
def test_hand_written_instructions_change_nothing(tmp_path: Path, instructions: bytes) -> None:
    rebuild = torch._utils._rebuild_tensor_v2
    before = (rebuild.__defaults__, dict(vars(rebuild)))
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        read_checkpoint(write_pickle(tmp_path / "best.ckpt", instructions))
    assert (rebuild.__defaults__, dict(vars(rebuild))) == before
