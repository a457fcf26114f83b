"""Trained models on graph backends: exported once, to a cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from poses import close

from sleap_infer import Outputs, Predictor
from sleap_infer.errors import CacheError, ExportedModelError, OptionError, OutputError
from sleap_infer.export import ExportResult
from sleap_infer.graphs import build as making
from sleap_infer.graphs import cache
from sleap_infer.system import cache_directory as storage


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where graphs are kept in an empty cache."""
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


def test_a_trained_model_is_exported_once(
    place: Path, models: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [models / "centroid", models / "centered_instance"]
    video = videos / "two_flies.mp4"
    with Predictor.from_model_paths(names, device="cpu") as source:
        expected = source.predict(video, as_labels=False, frames=range(3))
    with Predictor.from_model_paths(names, backend="onnx", device="cpu") as predictor:
        assert [runner.backend for runner in predictor.runners] == ["onnx", "onnx"]
        close(predictor.predict(video, as_labels=False, frames=range(3)), expected)
    assert len(list(place.iterdir())) == 2
    monkeypatch.setattr(cache, "make_graph", None)  # from now on nothing is exported
    with Predictor.from_model_paths(names, backend="openvino", peak_threshold=0.3) as again:
        close(again.predict(video, as_labels=False, frames=range(3)), expected)
    with pytest.raises(TypeError):
        Predictor.from_model_paths(names, backend="onnx", integral_patch_size=3)


def test_a_damaged_entry_is_made_again(
    place: Path, models: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All kinds of damage: tests/test_entries.py."""

    def predict() -> list[Outputs]:
        with Predictor.from_model_paths(models / "centroid", backend="onnx", device="cpu") as predictor:
            return predictor.predict(videos / "two_flies.mp4", as_labels=False, frames=range(2))

    expected = predict()
    (entry,) = place.iterdir()
    assert {path.name for path in entry.iterdir()} == {"model.onnx", "export_metadata.json", "sums.json"}
    metadata = entry / "export_metadata.json"
    metadata.write_text(metadata.read_text().replace("0.2", "0.9"))  # valid, and other poses
    close(predict(), expected)
    assert "export_metadata.json has changed" in caplog.text
    (entry / "model.onnx").unlink()
    close(predict(), expected)
    assert "model.onnx is missing" in caplog.text
    caplog.clear()
    close(predict(), expected)
    assert "damaged" not in caplog.text
    assert [item.name for item in place.iterdir()] == [entry.name]


def test_a_cache_that_others_may_write(place: Path, models: Path) -> None:
    Predictor.from_model_paths(models / "centroid", backend="onnx").close()
    place.chmod(0o777)
    with pytest.raises(CacheError, match="chmod go-w"):
        Predictor.from_model_paths(models / "centroid", backend="onnx")


def test_other_weights_are_another_entry(place: Path, models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models / "centroid", copy)
    for path in (models / "centroid", copy):
        Predictor.from_model_paths(path, backend="onnx")
    assert len(list(place.iterdir())) == 1
    config = copy / "training_config.yaml"
    config.write_text(config.read_text() + "# edited\n")
    Predictor.from_model_paths(copy, backend="onnx")
    assert len(list(place.iterdir())) == 2


def test_a_graph_that_differs_is_not_kept(place: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = making.build_network
    calls = []

    def first_one_worse(*arguments: object) -> object:
        network = build(*arguments)  # type: ignore[arg-type]
        if not calls:
            for weights in network.parameters():
                weights.data *= 1.05
        calls.append(network)
        return network

    monkeypatch.setattr(making, "build_network", first_one_worse)
    with pytest.raises(ExportedModelError, match="differs from it"):
        Predictor.from_model_paths(models / "centered_instance", backend="onnx")
    assert list(place.iterdir()) == []


def test_a_cache_that_cannot_be_written(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match=storage.CACHE_VARIABLE):
        Predictor.from_model_paths(models / "centroid", backend="onnx")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(storage.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert storage.cache_directory() == Path("/caches/sleap_infer")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert storage.cache_directory() == Path.home() / ".cache" / "sleap_infer"


def test_fewer_instances_do_not_make_a_smaller_graph(place: Path, models: Path, videos: Path) -> None:
    """A graph with as many places as instances are wanted would report every frame as full."""
    with Predictor.from_model_paths(models / "centroid", backend="onnx", max_instances=1) as predictor:
        found = predictor.predict(videos / "two_flies.mp4", as_labels=False, frames=[0, 1])
    assert [len(outputs) for outputs in found] == [1, 1]
    assert not any(outputs.capped for outputs in found)


def test_another_number_of_peaks_is_an_error_for_an_exported_graph(
    exports: Mapping[str, ExportResult], models: Path
) -> None:
    with pytest.raises(OptionError, match=r"max_peaks_per_node=3 has no effect.*60"):
        Predictor.from_model_paths(exports["bottomup"].directory, max_peaks_per_node=3)
    Predictor.from_model_paths(exports["bottomup"].directory, max_peaks_per_node=60).close()
