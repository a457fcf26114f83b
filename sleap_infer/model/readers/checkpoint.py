"""Read the weights of a PyTorch checkpoint without running code from it.

New checkpoints hold nothing but tensors and load with `weights_only=True`. Early ones also hold a pickled
configuration; they are read with an unpickler for which every name but two resolves to an inert stand-in.
"""

from __future__ import annotations

import collections
import pickle
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sleap_infer.errors import CheckpointError
from sleap_infer.model.readers.texts import explain

KEY_PREFIX = "model."
ARCHIVE_START = b"PK\x03\x04"


class _TensorBuilder:
    """Makes tensors as pickles ask for them.

    A pickle may also set attributes of whatever it names; unlike the function, this has none to set.
    """

    __slots__ = ()

    def __call__(self, *args: Any) -> Tensor:
        """Storage, offset, size, stride and further facts of a tensor in a pickle."""
        return torch._utils._rebuild_tensor_v2(*args)


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _TensorBuilder(),
}
"""The only two names of a checkpoint that resolve to real code; a tensor needs no other."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the network's weights from a sleap-nn checkpoint, keys without their leading `model.`.

    Raises:
        CheckpointError: the file is truncated, is not a PyTorch checkpoint, or holds no weights.
    """
    size = _check_archive(path)
    try:
        content = _load(path)
    except Exception as error:  # a damaged pickle raises whatever its random instructions happen to raise
        reason = str(error).partition("\n")[0]  # without PyTorch's stack
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {reason}). It may be truncated or "
            "altered: copy it again from its source."
        ) from error
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(
            f"{path} holds no `state_dict`: it is a PyTorch file, but not a training checkpoint. "
            "Give the checkpoint that training wrote."
        )
    strange = [key for key, value in weights.items() if not isinstance(key, str) or not _is_plain_tensor(value)]
    if strange:
        raise CheckpointError(
            f"{path}: entries {strange[:3]} of its `state_dict` are not plain tensors. "
            "It is not safe to use: train again, or copy it again from its source."
        )
    claimed = sum(value.numel() * value.element_size() for value in weights.values())
    if claimed > size:
        raise CheckpointError(
            f"{path}: its weights claim {claimed:,} bytes, but the file has {size:,}. It is not safe to use: train "
            "again, or copy it again from its source."
        )
    return {key.removeprefix(KEY_PREFIX): value for key, value in weights.items()}


def _is_plain_tensor(value: object) -> bool:
    """Return whether a value is a dense tensor of real numbers on the CPU."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_complex() or value.is_quantized or value.is_nested)
    )


def _check_archive(path: Path) -> int:
    """Check that an archive is a checkpoint, and that reading it takes no more memory than it has bytes: its size."""
    size, entries = _entries(path)
    names = [entry.filename for entry in entries]
    if not names:
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or only a part of one ({size} bytes). "
            "If it was copied or synchronised, copy it again from its source."
        )
    if not any(name.endswith("/data.pkl") for name in names) or any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is an archive, but not a training checkpoint (it holds {', '.join(names[:3])}). "
            "Give the checkpoint that training wrote."
        )
    packed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    claimed = sum(entry.file_size for entry in entries)
    if packed is not None or claimed > size:
        what = f"{packed.filename} is compressed" if packed else f"its entries claim {claimed:,} of {size:,} bytes"
        raise CheckpointError(
            f"{path} is not as PyTorch writes checkpoints: {what}. It could take all memory: copy it again from its "
            "source."
        )
    return size


def _entries(path: Path) -> tuple[int, list[zipfile.ZipInfo]]:
    """Return the size of a file, and the entries of a zip archive that begins where the file begins (as PyTorch wants
    it); none where there is no such archive.
    """
    size = 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            archive = zipfile.ZipFile(file)
            file.seek(0)
            return size, archive.infolist() if file.read(len(ARCHIVE_START)) == ARCHIVE_START else []
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {explain(error)}.") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        return size, []


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        reader = SimpleNamespace(__name__="inert_pickle", Unpickler=_InertUnpickler, load=_load_inert)
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)


class _Inert:
    """Stands in for any class or function named in a pickle: takes everything, does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        """Ignore list items of a pickle."""

    def extend(self, _items: object) -> None:
        """Ignore list items of a pickle."""


class _InertUnpickler(pickle._Unpickler):  # the C one makes a memo of any size
    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED.get((module, name), _Inert)


def _load_inert(file: Any, **_options: object) -> Any:
    return _InertUnpickler(file).load()
