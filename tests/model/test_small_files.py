"""Small weights files that claim to be large: refused before memory is taken, in processes with a limit of memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny_model import tiny_config, write_model

from sleap_infer.errors import CheckpointError, WeightsMismatchError
from sleap_infer.model import load_network
from sleap_infer.model.readers.checkpoint import read_checkpoint
from sleap_infer.model.readers.legacy import read_keras_weights

GIB = 1 << 30
MEMO_BOMB = b"\x80\x02cos\nsystem\n0N" + b"r" + (1 << 30).to_bytes(4, "little") + b"."
"""A pickle of None, put under number 2**30: a memo of that many places. The name in front calls for our own reader."""


def read_in_child(folder: Path, code: str, limit: int) -> list[str]:
    """Names of the error for each file of a folder, read in a process that may take so many bytes."""
    script = f"""
from pathlib import Path
from sleap_infer.errors import SleapInferError
{code}
for path in sorted(Path('.').iterdir()):
    try:
        read(path)
        print(path.stem, 'read')
    except SleapInferError as error:
        print(path.stem, type(error).__name__, chr(10) in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def never_written(group: h5py.Group) -> None:
    group.create_dataset("kernel:0", (1 << 12, 1 << 12, 32, 32), "f4", chunks=(64, 64, 32, 32))


def never_written_in_one(group: h5py.Group) -> None:
    group.create_dataset("kernel:0", (1 << 12, 1 << 12, 32, 32), "f4")


def compressed_nothing(group: h5py.Group) -> None:
    group.create_dataset("kernel:0", (3, 3, 1024, 1024), "f4", chunks=(3, 3, 1024, 1024), compression="gzip")
    group["kernel:0"][...] = 0


def in_another_file(group: h5py.Group) -> None:
    Path(f"{group.file.filename}.raw").write_bytes(b"\0" * 4096)
    group.create_dataset("kernel:0", (3, 3, 1, 8), "f4", external=[(f"{group.file.filename}.raw", 0, 288)])


def external_link(group: h5py.Group) -> None:
    group["kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(group: h5py.Group) -> None:
    group["kernel:0"] = h5py.SoftLink("/elsewhere")


def of_many(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((3, 3, 1, 8), "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", (3, 3, 1, 8))
    group.create_virtual_dataset("kernel:0", layout)


def text(group: h5py.Group) -> None:
    group["kernel:0"] = "weights"


H5 = (never_written, never_written_in_one, compressed_nothing, in_another_file, external_link, soft_link, of_many, text)


def test_keras_files(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for fill in H5:
        with h5py.File(folder / f"{fill.__name__}.h5", "w") as file:
            fill(file.create_group("model_weights/conv/conv"))
    for raw in folder.glob("*.raw"):
        raw.rename(tmp_path / raw.name)
    code = "from sleap_infer.model.readers.legacy import read_keras_weights as read"
    expected = [f"{name} CheckpointError False" for name in sorted(fill.__name__ for fill in H5)]
    assert read_in_child(folder, code, GIB) == expected


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/conv"), h5py.SoftLink("/elsewhere")], ids=repr)
@pytest.mark.parametrize("place", ["model_weights", "model_weights/conv", "model_weights/conv/conv"])
def test_groups_of_keras_files_are_not_links(tmp_path: Path, place: str, link: object) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["conv/conv/kernel:0"] = np.zeros((3, 3, 1, 8), np.float32)
    with h5py.File(tmp_path / "best_model.h5", "w") as file:
        file["elsewhere/conv/kernel:0"] = np.zeros((3, 3, 1, 8), np.float32)
        if place != "model_weights":
            file.create_group(place.rpartition("/")[0])
        file[place] = link
    with pytest.raises(CheckpointError, match="not followed"):
        read_keras_weights(tmp_path / "best_model.h5")


def test_compressed_keras_files_are_read(tmp_path: Path) -> None:
    """A repacked file is not hostile: random weights hardly compress."""
    weights = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    with h5py.File(tmp_path / "best_model.h5", "w") as file:
        file.create_dataset("model_weights/conv/conv/kernel:0", data=weights, compression="gzip", chunks=True)
    found = read_keras_weights(tmp_path / "best_model.h5")["conv.weight"]
    np.testing.assert_array_equal(found, weights.transpose(3, 2, 0, 1))


def checkpoint(path: Path) -> Path:
    torch.save({"state_dict": {"model.x": torch.zeros(1 << 18)}}, path)
    return path


def compressed(path: Path) -> None:
    with (
        zipfile.ZipFile(checkpoint(path.with_suffix(".whole"))) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))


def one_for_many(path: Path) -> None:
    """Ten thousand entries with the bytes of one."""
    with zipfile.ZipFile(checkpoint(path), "a") as archive:
        entry = next(entry for entry in archive.infolist() if entry.file_size == 1 << 20)
        for number in range(10_000):
            again = copy(entry)
            again.filename = again.orig_filename = f"{entry.filename}{number}"
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]


def one_value_for_many(path: Path) -> None:
    torch.save({"state_dict": {"model.x": torch.zeros(1).expand(1 << 20, 1 << 16)}}, path)


def memo_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", MEMO_BOMB)
        archive.writestr("archive/version", "3\n")


CHECKPOINTS = (compressed, one_for_many, one_value_for_many, memo_bomb)


def test_checkpoints(tmp_path: Path) -> None:
    """One would take 10 GB, one 256 GB, one a memo of 16 GB. PyTorch itself needs some address space."""
    folder = tmp_path / "files"
    folder.mkdir()
    for fill in CHECKPOINTS:
        fill(folder / f"{fill.__name__}.ckpt")
    for rest in folder.glob("*.whole"):
        rest.unlink()
    code = "from sleap_infer.model.readers.checkpoint import read_checkpoint as read"
    expected = [f"{name} CheckpointError False" for name in sorted(fill.__name__ for fill in CHECKPOINTS)]
    assert read_in_child(folder, code, 6 * GIB) == expected


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (compressed, "is compressed"),
        (one_for_many, r"its entries claim 10,\d{3},\d{3},\d{3} of"),
        (one_value_for_many, "its weights claim 274,877,906,944 bytes"),
    ],
)
def test_messages(tmp_path: Path, fill: Callable[[Path], None], message: str) -> None:
    fill(tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_file_that_is_far_larger_than_the_network(tmp_path: Path) -> None:
    """By a hole, which takes no space."""
    write_model(tmp_path, tiny_config())
    os.truncate(tmp_path / "best.ckpt", 8 * GIB)
    with pytest.raises(WeightsMismatchError, match="has 8,589,934,592 bytes, but the network of"):
        load_network(tmp_path)
