"""One value of a configuration or of metadata is replaced by an odd one: a clear error, or what the value says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from tiny_model import KINDS, tiny_config

from sleap_infer.errors import SleapInferError
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.readers.directory import ModelFiles
from sleap_infer.model.readers.exported_spec import spec_to_json
from sleap_infer.model.readers.legacy import read_json_spec
from sleap_infer.model.readers.sleap_nn import spec_from_data
from sleap_infer.model.settings import pipeline_kind, read_options, resolve
from sleap_infer.model.spec import ExportFacts
from sleap_infer.predictors.auto import cache as choices
from sleap_infer.predictors.auto.cache import Choice, Tried, load, save
from sleap_infer.runners.tensorrt.engines import EngineFacts, Profile, read_facts

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 2**100, float("nan"), float("inf"), 1.5, "x", "../../etc/passwd", "\x1b[31m"),
    *([], {}, [[]], ["x"], {"x": 1}, [None], "9" * 5000),
)


def places(data: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in plain data; of lists the first two."""
    items = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def mutations(data: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Place, value, and the data with this value there."""
    for place in places(data):
        for value in ODD:
            changed = deepcopy(data)
            at = changed
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = value
            yield place, value, changed


def outcome(read: Callable[[], ModelSpec]) -> ModelSpec | str:
    """What is read, or what the error says; any other error is raised."""
    try:
        spec = read()
        settle(spec)
    except SleapInferError as error:
        return str(error)
    return spec


def settle(spec: ModelSpec) -> None:
    """Resolve the settings, as opening a model does."""
    options = read_options([spec], pipeline_kind([spec]), {})
    resolve([spec], options)


def exported_data(kind: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "training_config.yaml").write_text(json.dumps(tiny_config(kind)))
    (tmp_path / "best.ckpt").touch()
    (tmp_path / "model.onnx").write_bytes(b"graph")
    facts = ExportFacts(
        sha256=hashlib.sha256(b"graph").hexdigest(),
        n_places=20,
        baked={"max_peaks_per_node": 20} if kind in ("bottomup", "multi_class_bottomup") else {},
        peak_threshold=0.2,
        input_size=(64, 64),
        batch_size=2,
        max_batch_size=4,
    )
    return spec_to_json(attrs.evolve(read_spec(tmp_path), exported=facts))


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_exports(tmp_path: Path, kind: str) -> None:
    """No value makes a traceback, and none that is accepted is another than what it says."""
    data = exported_data(kind, tmp_path)
    path = tmp_path / "export_metadata.json"

    def read(ours: Any) -> ModelSpec | str:
        path.write_text(json.dumps({"sleap_infer": ours}))
        return outcome(lambda: read_spec(tmp_path))

    base = read(data)
    assert isinstance(base, ModelSpec)
    for place, value, changed in mutations(data):
        spec = read(changed)
        if isinstance(spec, str):
            assert "\n" not in str(spec), (place, value)
            continue
        said, stands = (json.loads(json.dumps({**part, "format": ""})) for part in (spec_to_json(spec), changed))
        assert said == stands or spec == base, (place, value)


@pytest.mark.parametrize("kind", KINDS)
def test_training_configurations_of_sleap_nn(tmp_path: Path, kind: str) -> None:
    files = ModelFiles(tmp_path, tmp_path / "training_config.yaml", tmp_path / "best.ckpt", "sleap-nn")
    for place, value, changed in mutations(tiny_config(kind)):
        found = outcome(partial(spec_from_data, changed, "training_config.yaml", files))
        if isinstance(found, str):
            assert "training_config.yaml" in found or "configuration" in found or str(tmp_path) in found, (place, value)
            assert "\n" not in found, (place, value)


LEGACY = {
    "data": {
        "labels": {"skeletons": []},
        "preprocessing": {"input_scaling": 0.5, "target_height": 64, "ensure_rgb": False, "pad_to_stride": 8},
        "instance_cropping": {"crop_size": 48, "center_on_part": "a"},
    },
    "model": {
        "backbone": {"leap": None, "unet": {"max_stride": 8, "stem_stride": None, "filters": 8, "stacks": 1}},
        "heads": {"centered_instance": {"part_names": ["a", "b"], "anchor_part": None, "output_stride": 4}},
    },
    "sleap_version": "1.4.1",
}


def test_training_configurations_of_sleap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleap_infer.model.readers.legacy._in_channels", lambda weights: 1)
    path = tmp_path / "training_config.json"
    files = ModelFiles(tmp_path, path, tmp_path / "best_model.h5", "sleap")
    for place, value, changed in mutations(LEGACY):
        path.write_text(json.dumps(changed))
        found = outcome(partial(read_json_spec, files))
        if isinstance(found, str):
            assert str(tmp_path) in found, (place, value)
            assert "\n" not in found, (place, value)


def test_choices_that_are_remembered() -> None:
    choice = Choice("onnx", "fp32", 4, "fastest", (Tried("onnx", "fp32", 4, 100.0), Tried("torch", "fp32", 1)), 100)
    save("key", (64, 64, 1), choice)
    assert load("key", (64, 64, 1)) == choice
    (path,) = choices.choices_directory().glob("key-*.json")
    for place, value, changed in mutations(json.loads(path.read_text())):
        path.write_text(json.dumps(changed))
        found = load("key", (64, 64, 1))
        assert found is None or isinstance(found.batch_size, int), (place, value)
        if found is not None:
            assert all(tried.line() for tried in found.tried), (place, value)
    for text in ("", "[]", "3", "{}", "[" * 100_000):
        path.write_text(text)
        assert load("key", (64, 64, 1)) is None


def test_facts_of_engines(tmp_path: Path) -> None:
    profile = Profile((1, 4, 4), (1, 1, 3), (64, 64, 64), (64, 64, 64))
    facts = EngineFacts("0" * 64, "tensorrt", "11.1", "H200", "9.0", "13.0", "fp32", profile)
    path = tmp_path / "engine.json"

    def read(data: Any) -> EngineFacts | None:
        path.write_text(json.dumps(data))
        return read_facts(tmp_path / "engine.engine")

    data = {"engine": json.loads(json.dumps(attrs.asdict(facts)))}
    assert read(data) == facts
    for place, value, changed in mutations(data):
        found = read(changed)
        assert found is None or found.profile.shapes, (place, value)
    for text in ("", "[]", "3", "[" * 100_000):
        path.write_text(text)
        assert read_facts(tmp_path / "engine.engine") is None
