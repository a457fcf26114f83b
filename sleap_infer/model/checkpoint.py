"""Reads the weights out of a PyTorch checkpoint without ever running code from it.

New checkpoints hold nothing but tensors and load with `weights_only=True`. Early ones also hold a pickled
configuration; they are read with an unpickler for which every name but two resolves to an inert stand-in.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sleap_infer.errors import CheckpointError

KEY_PREFIX = "model."
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
}
"""The only two names of a checkpoint that resolve to real code; a tensor needs no other."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The network's weights in a sleap-nn checkpoint, keys without their leading `model.`.

    Raises:
        CheckpointError: the file is truncated, is not a PyTorch checkpoint, or holds no weights.
    """
    _check_archive(path)
    try:
        content = _load(path)
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}).") from error
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} holds no `state_dict`: it is a PyTorch file, but not a training checkpoint.")
    strange = [key for key, value in weights.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(
            f"{path}: entries {strange[:3]} of its `state_dict` are not tensors. It is not safe to use."
        )
    return {key.removeprefix(KEY_PREFIX): value for key, value in weights.items()}


def _check_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or only a part of one ({path.stat().st_size} bytes). "
            "If it was copied or synchronised, copy it again from its source."
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("/data.pkl") for name in names) or any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path} is an archive, but not a training checkpoint (it holds {', '.join(names[:3])}).")


def _load(path: Path) -> Any:
    try:
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
        """Called for list items in a pickle."""

    def extend(self, _items: object) -> None:
        """Called for list items in a pickle."""


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED.get((module, name), _Inert)


def _load_inert(file: Any, **_options: object) -> Any:
    return _InertUnpickler(file).load()
