"""What makes a job this job: models, settings, videos, frames; and what runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.model import find_model_files
from sleap_infer.model.exported import hash_file
from sleap_infer.predictors.opening import Plan

ENDS = 1 << 16
"""Bytes at either end of a video file that stand for its content."""

HOW = ("backend", "device", "precision", "batch_size")

WITHOUT_EFFECT = ("stream", "returned")
"""Settings that change no pose."""


def identify(models: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """What is predicted of what.

    Args:
        models: as `identify_models` says.
        source: opened.
    """
    return plain({**models, "videos": identify_videos(source)})


def identify_models(plan: Plan) -> dict[str, Any]:
    """Content of the models, and those of their settings that change poses."""
    models = [find_model_files(path) for path in plan.paths]
    settings = {name: value for name, value in attrs.asdict(plan.settings).items() if name not in WITHOUT_EFFECT}
    return {"models": [[hash_file(files.config), hash_file(files.weights)] for files in models], "settings": settings}


def identify_videos(source: Source) -> list[dict[str, Any]]:
    """Content of each video and which of its frames; wherever its file lies."""
    return [_identify_video(part) for part in source.parts]


def how_it_runs(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What may change the last bits of a result, from what `Predictor.describe` says."""
    how = {name: facts[name] for name in HOW}
    return {**how, "device": str(how["device"]).partition(":")[0]}


def digest(identity: Mapping[str, Any]) -> str:
    """An identity in 32 letters."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    """In what two identities differ, in words.

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
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=str))


def _identify_video(part: VideoPart) -> dict[str, Any]:
    reader: Any = part.reader
    own = getattr(reader, "paths", None) or getattr(reader, "path", None) or part.video().filename
    named = [Path(path) for path in (own if isinstance(own, (list, tuple)) else [own])]
    frames = None if part.frame_inds is None else _hash(json.dumps(part.frame_inds).encode())
    return {"name": [path.name for path in named[:3]], "content": _content(named), "frames": frames}


def _content(paths: Sequence[Path]) -> str:
    """Sizes of all files, and what stands at either end of the first and the last."""
    found = [str([path.stat().st_size for path in paths]).encode()]
    for path in dict.fromkeys((paths[0], paths[-1])) if paths else ():
        with path.open("rb") as file:
            found.append(file.read(ENDS))
            file.seek(max(path.stat().st_size - ENDS, 0))
            found.append(file.read(ENDS))
    return _hash(b"".join(found))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
