"""The identity of a job: models, settings, videos, frames; and what runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from sleap_infer.config.kinds import KINDS
from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.plan.content import files_of, samples
from sleap_infer.model import find_model_files
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.predictors.factory import Plan
from sleap_infer.system.digest import digest

HOW = ("backend", "device", "precision", "batch_size")

WITHOUT_EFFECT = ("stream", "returned")
"""Settings that change no pose."""


def identify(models: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Return the identity of a job.

    Args:
        models: as returned by `identify_models`.
        source: opened.
    """
    return plain({**models, "videos": identify_videos(source, crops_are_known(models))})


def identify_models(plan: Plan) -> dict[str, Any]:
    """Return hashes of the models, and those of their settings that change poses."""
    models = [find_model_files(path) for path in plan.paths]
    settings = {name: value for name, value in attrs.asdict(plan.settings).items() if name not in WITHOUT_EFFECT}
    return {"models": [[hash_file(files.config), hash_file(files.weights)] for files in models], "settings": settings}


def identify_videos(source: Source, with_known: bool = False) -> list[dict[str, Any]]:
    """Return the identity of each video: samples of its content, and which frames; independent of its path.

    Args:
        source: opened.
        with_known: whether labels of a person define the crops.
    """
    return [_identify_video(part, source, with_known) for part in source.parts]


def crops_are_known(identity: Mapping[str, Any]) -> bool:
    """Return whether labels of a person define the crops, because a model of crops runs without centroids."""
    return KINDS[identity["settings"]["stages"][0]["kind"]].on_crops


def how_it_runs(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of `Predictor.describe` that may change the last bits of a result."""
    how = {name: facts[name] for name in HOW}
    return {**how, "device": str(how["device"]).partition(":")[0]}


def identity_key(identity: Mapping[str, Any]) -> str:
    """Return an identity as 32 hexadecimal digits, the mark in files of its results."""
    return digest(identity, 32)


def differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    """Yield the differences between two identities, as text.

    >>> list(differences({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": 2}, "c": [1, 2]}))
    ['a.b is 1 there and 2 here']
    """
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in dict.fromkeys([*there, *here]):
            yield from differences(there.get(name), here.get(name), f"{where}.{name}" if where else str(name))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, pair in enumerate(zip(there, here, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif there != here and where.startswith("models"):
        yield "its models are others"
    elif there != here:
        yield f"{where} is {_short(there)} there and {_short(here)} here"


def plain(value: Any) -> Any:
    """Return a value as it is after writing and reading JSON."""
    return json.loads(json.dumps(value, default=str))


def _identify_video(part: VideoPart, source: Source, with_known: bool) -> dict[str, Any]:
    paths = files_of(part)
    frames = None if part.frame_inds is None else digest(part.frame_inds.to_plain())
    found = {"name": [path.name for path in paths[:3]], "content": samples(paths), "frames": frames}
    found |= how_it_is_read(part.reader)
    return {**found, "known": _known(part, source.node_names)} if with_known else found


def how_it_is_read(reader: Any) -> dict[str, Any]:
    """Return dataset and axes of an HDF5 file, which change its frames; also if another process has opened it."""
    if hasattr(reader, "how_it_is_read"):
        return dict(reader.how_it_is_read)
    return {name: getattr(reader, name) for name in ("dataset", "axes") if hasattr(reader, name)}


def _known(part: VideoPart, nodes: Sequence[str] | None) -> str:
    """Return a hash of the labels of a person, in the order of their crops."""
    found = hashlib.sha256(json.dumps(nodes).encode())
    for frame_idx, points in sorted((part.known or {}).items()):
        found.update(f"{frame_idx} {points.shape}".encode())
        found.update(np.ascontiguousarray(points, np.float32).tobytes())
    return found.hexdigest()[:24]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
