"""Exported models give the poses of their source, and say clearly when they cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import sleap_io as sio
import torch
from poses import close

from sleap_infer import Predictor
from sleap_infer.checks.images import structured_images
from sleap_infer.errors import (
    BackendNotInstalledError,
    DeviceError,
    ExportedModelError,
    ModelCombinationError,
    ModelNotFoundError,
    OptionError,
    OutputExistsError,
    UnsupportedModelError,
)
from sleap_infer.export import ExportOptions, ExportResult, export, validate
from sleap_infer.model import read_spec
from sleap_infer.runners import find_runner

QUICK = ExportOptions(validate=False)
CORPUS = {
    "single_instance": ["minimal_instance_single_instance"],  # colour, scale 0.5
    "topdown": ["minimal_instance_centroid", "minimal_instance_centered_instance"],
    "bottomup": ["minimal_instance_bottomup"],  # transposed convolutions
    "multiclass_bottomup": ["minimal_instance_multiclass_bottomup"],  # scale 0.5
}
"""Trained on real videos."""

DRAWN = {
    "convnext": "models/convnext_small_arch",
    "swin": "models/swint_small_arch",
    "legacy_bottomup": "legacy/minimal_instance.UNet.bottomup",
    "legacy_centroid": "legacy/minimal_instance.UNet.centroid",
}
"""Compared on generated images: without training, or trained on other images."""


PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)


SOURCES = (
    ("onnx", "two_flies_rgb", 1, {}),
    ("openvino", "two_flies", 4, {}),
    ("onnx", "two_flies", 4, {}),
    ("onnx", "two_flies_large", 7, {}),
    ("onnx", "two_flies_large", 4, {"max_height": 240, "max_width": 320}),
    ("onnx", "two_flies", 4, {"input_scaling": 1.25, "peak_threshold": 0.35}),
    ("openvino", "two_flies_rgb", 7, {"peak_threshold": 0.35}),
    ("openvino", "two_flies_large", 1, {"max_height": 240, "max_width": 320}),
    ("openvino", "two_flies", 4, {"input_scaling": 1.25}),
)
"""Backend, video, batch size, options: the first two for each pipeline, the others for two of them."""


def sources_of(pipelines: Iterable[tuple[str, ...]]) -> Iterator[Any]:
    """Yield a pipeline and how it is run; what repeats others is exhaustive."""
    for names in pipelines:
        for number, source in enumerate(SOURCES):
            quick = number < 2 or names in (("bottomup",), ("centroid", "centered_instance"))
            marks = [] if quick else pytest.mark.exhaustive
            yield pytest.param(names, *source, marks=marks, id=f"{names[-1]}-{'-'.join(map(str, source[:3]))}-{number}")


@pytest.mark.parametrize(("names", "backend", "video", "batch_size", "options"), list(sources_of(PIPELINES)))
def test_poses_are_those_of_torch(
    names: tuple[str, ...],
    backend: str,
    video: str,
    batch_size: int,
    options: dict[str, object],
    exports: Mapping[str, ExportResult],
    models: Path,
    videos: Path,
) -> None:
    given = {"batch_size": batch_size, "device": "cpu", **options}
    directories = [exports[name].directory for name in names]
    with (
        Predictor.from_model_paths(directories, backend=backend, **given) as exported,
        Predictor.from_model_paths([models / name for name in names], **given) as source,
    ):
        assert exported.runners[0].backend == backend
        path = videos / f"{video}.mp4"
        expected = source.predict(path, as_labels=False, frames=range(8))
        found = exported.predict(path, as_labels=False, frames=range(8))
    assert not any(out.capped for out in found)
    close(found, expected)


@pytest.mark.parametrize(
    "case",
    [c if c in ("single_instance", "bottomup") else pytest.param(c, marks=pytest.mark.exhaustive) for c in CORPUS],
)
def test_real_models(case: str, corpus: Path, tmp_path: Path) -> None:
    paths = [corpus / "models" / name for name in CORPUS[case]]
    options = attrs.evolve(QUICK, max_peaks_per_node=40)
    results = export(paths, tmp_path / case, options)
    video = corpus / "videos" / "centered_pair_small.mp4"
    with Predictor.from_model_paths(paths, device="cpu") as source:
        expected = source.predict(video, as_labels=False, frames=range(9))
    for backend, batch_size in (("onnx", 1), ("onnx", 4), ("openvino", 7)):
        directories = [result.directory for result in results]
        with Predictor.from_model_paths(directories, backend=backend, batch_size=batch_size) as exported:
            close(exported.predict(video, as_labels=False, frames=range(9)), expected)


@pytest.mark.parametrize(
    ("case", "form"),
    [
        ("convnext", {"batch_size": 4, "input_size": (160, 160)}),
        *(pytest.param(case, {}, marks=pytest.mark.exhaustive) for case in DRAWN),
    ],
)
def test_other_architectures(case: str, form: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    model = corpus / DRAWN[case]
    options = ExportOptions(n_frames=8, **form)
    (result,) = export(model, tmp_path / case, options)
    assert result.report is not None
    assert result.report.raw_verdict == "PASS", result.report
    report = validate(result.directory, model, options=options, backend="openvino")
    assert report.raw_verdict == "PASS", report


def test_every_export_passed_its_gate(exports: Mapping[str, ExportResult]) -> None:
    for result in exports.values():
        assert result.report is not None
        assert result.report.verdict in ("PASS", "WARN"), result.report.line()
        spec = read_spec(result.directory)
        assert spec.exported is not None
        assert spec.exported.verdict == result.report.line()
        assert spec.exported.source_sha256


def test_the_directory_alone_gives_named_labels(
    exports: Mapping[str, ExportResult], videos: Path, tmp_path: Path
) -> None:
    place = tmp_path / "moved"
    shutil.copytree(exports["multi_class_bottomup"].directory, place)
    labels = Predictor.from_model_paths(place).predict(videos / "two_flies.mp4", frames=[0, 1])
    assert labels.skeletons[0].node_names == ["head", "thorax", "abdomen", "wing_left", "wing_right"]
    assert {track.name for track in labels.tracks} <= {"female", "male"}
    assert labels.tracks


def test_metadata_have_the_fields_that_other_programs_read(exports: Mapping[str, ExportResult]) -> None:
    data = json.loads((exports["bottomup"].directory / "export_metadata.json").read_text())
    expected = {
        "model_type": "bottomup",
        "n_nodes": 5,
        "n_edges": 4,
        "input_channels": 1,
        "max_peaks_per_node": 60,
        "input_dtype": "uint8",
        "normalization": "0_to_1",
        "output_stride": 2,
        "peak_threshold": 0.2,
    }
    assert {name: data[name] for name in expected} == expected


def test_a_bare_graph_carries_its_metadata(exports: Mapping[str, ExportResult], videos: Path, tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    shutil.copy(exports["bottomup"].graph, graph)
    labels = Predictor.from_model_paths(graph).predict(videos / "two_flies.mp4", frames=[0])
    assert len(labels[0]) == 2


def test_the_snippet_runs_with_onnxruntime_and_numpy_alone(exports: Mapping[str, ExportResult]) -> None:
    for result in exports.values():
        assert result.snippet() in str(result)
        code = "import sys\nsys.modules['torch'] = sys.modules['sleap_infer'] = None\n" + result.snippet()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_predicting_needs_no_torch(exports: Mapping[str, ExportResult], videos: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(videos / "two_flies.mp4"), "-o", str(tmp_path / "poses.slp"), "--frames", "0-3"]
    for name in ("centroid", "centered_instance"):
        arguments += ["-m", str(exports[name].directory)]
    code = "import sys\nsys.modules['torch'] = None\nfrom sleap_infer.cli import main\n"
    code += f"sys.argv[1:] = {arguments!r}\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [len(frame) for frame in sio.load_slp(str(tmp_path / "poses.slp"))] == [2, 2, 2, 2]


def test_the_threshold_is_an_input_and_the_rest_is_fixed(exports: Mapping[str, ExportResult]) -> None:
    place = exports["bottomup"].directory
    for backend in ("onnx", "mnn", "openvino"):
        assert find_runner(backend).from_model_path(place, peak_threshold=0.9).settings.peak_threshold == 0.9
    for name, value in (("n_points", 5), ("integral_patch_size", 7), ("refinement", "none")):
        with pytest.raises(OptionError, match=f"{name}=.*for good"):
            Predictor.from_model_paths(place, **{name: value})
    assert Predictor.from_model_paths(place, n_points=10)
    with pytest.raises(OptionError, match="gives no maps"):
        Predictor.from_model_paths(place, return_confmaps=True)


@pytest.fixture(scope="module")
def limited(models: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A model of centroids with room for two, and options that are fixed in its graph."""
    place = tmp_path_factory.mktemp("limited") / "c"
    options = attrs.evolve(QUICK, max_instances=2)
    return export(models / "centroid", place, options, integral_patch_size=3, peak_threshold=0.5)[0]


def test_fixed_options_are_remembered(limited: ExportResult) -> None:
    settings = Predictor.from_model_paths(limited.directory).settings.stages[0]
    assert settings.peaks.integral_patch_size == 3
    assert settings.peak_threshold == 0.5
    assert Predictor.from_model_paths(limited.directory, peak_threshold=0.1).settings.stages[0].peak_threshold == 0.1


def test_a_frame_that_fills_all_places_is_reported(limited: ExportResult, videos: Path) -> None:
    predictor = Predictor.from_model_paths(limited.directory, peak_threshold=0.2)
    (full,) = predictor.predict(videos / "two_flies.mp4", False, [0])
    assert full.capped
    assert full.n_instances == 2


def damage(result: ExportResult, tmp_path: Path, graph: bytes | None = None, metadata: str | None = None) -> Path:
    place = tmp_path / "damaged"
    shutil.copytree(result.directory, place)
    if graph is not None:
        (place / "model.onnx").write_bytes(graph)
    if metadata is not None:
        (place / "export_metadata.json").write_text(metadata)
    return place


def test_a_changed_graph_is_refused(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    whole = exports["centroid"].graph.read_bytes()
    with pytest.raises(ExportedModelError, match="not the file that was exported"):
        read_spec(damage(exports["centroid"], tmp_path, graph=whole[:-10]))


def test_the_graph_of_another_model_is_refused(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    place = damage(exports["centroid"], tmp_path, graph=exports["bottomup"].graph.read_bytes())
    with pytest.raises(ExportedModelError, match="not the file that was exported"):
        Predictor.from_model_paths(place)
    (place / "model.onnx").rename(place / "renamed.onnx")
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx"):
        Predictor.from_model_paths(place)


def test_a_bare_graph_that_is_truncated(exports: Mapping[str, ExportResult], tmp_path: Path) -> None:
    whole = exports["centroid"].graph.read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportedModelError):
        Predictor.from_model_paths(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("metadata", "found"),
    [("{", "readable JSON"), ("[]", "expected a mapping"), ('{"model_type": "bottomup"}', "not sleap_infer's"),
     ('{"sleap_infer": {}}', "malformed metadata"), ('{"sleap_infer": {"backbone": 3}}', "malformed metadata")],
)  # fmt: skip
def test_metadata_that_say_nothing(
    metadata: str, found: str, exports: Mapping[str, ExportResult], tmp_path: Path
) -> None:
    with pytest.raises(ExportedModelError, match=found):
        read_spec(damage(exports["centroid"], tmp_path, metadata=metadata))


@pytest.mark.parametrize("content", [b"", b"not a graph", bytes(range(256)) * 20])
def test_a_file_that_is_no_graph(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportedModelError, match=r"cannot be opened|not sleap_infer's"):
        read_spec(path)


def test_a_foreign_graph(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    same = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [same])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "m.onnx")
    with pytest.raises(ExportedModelError, match="not sleap_infer's"):
        read_spec(tmp_path / "m.onnx")


def test_the_wrong_backend(exports: Mapping[str, ExportResult], models: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="backend='onnx'"):
        Predictor.from_model_paths(exports["bottomup"].directory, backend="torch")
    for backend in ("onnx", "mnn", "openvino"):
        with pytest.raises(UnsupportedModelError, match="sleap-infer export"):
            find_runner(backend).from_model_path(models / "bottomup")


@pytest.mark.parametrize("backend", ["onnx", "mnn", "openvino"])
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "cpu:1", "cuda:x"])
def test_devices_are_never_swapped_silently(device: str, backend: str, exports: Mapping[str, ExportResult]) -> None:
    with pytest.raises(DeviceError, match=device):
        find_runner(backend).from_model_path(exports["centroid"].directory, device=device)


def test_top_down_is_a_directory_of_two(models: Path, videos: Path, tmp_path: Path) -> None:
    place = tmp_path / "td"
    results = export([models / "centered_instance", models / "centroid"], place, QUICK)
    assert [result.directory.name for result in results] == ["centroid", "centered_instance"]
    assert type(Predictor.from_model_paths(place)).__name__ == "TopDownPredictor"
    with pytest.raises(OutputExistsError):
        export(models / "centroid", place, QUICK)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all my work")
    with pytest.raises(OutputExistsError, match="not an export"):
        export(models / "centroid", tmp_path / "mine", attrs.evolve(QUICK, overwrite=True))
    export(models / "centroid", place, attrs.evolve(QUICK, overwrite=True))
    assert sorted(path.name for path in place.iterdir()) == ["export_metadata.json", "model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "td"]


class Double(torch.nn.Module):
    def forward(self, peaks: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return peaks * 2, values


def test_hooks_go_into_the_graph(models: Path, tmp_path: Path) -> None:
    one = attrs.evolve(QUICK, batch_size=1)
    plain, doubled = (
        export(models / "centered_instance", tmp_path / name, options)[0]
        for name, options in (("a", one), ("b", attrs.evolve(one, after=Double())))
    )
    image = structured_images(1, (80, 80), 1)
    (a,), (b,) = (find_runner("onnx").from_model_path(r.directory).predict(image) for r in (plain, doubled))
    np.testing.assert_allclose(b.pred_keypoints, a.pred_keypoints * 2, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "error"), [(["nowhere"], ModelNotFoundError), (["bottomup", "centroid"], ModelCombinationError)]
)
def test_models_that_cannot_be_exported(names: list[str], error: type[Exception], models: Path, tmp_path: Path) -> None:
    with pytest.raises(error):
        export([models / name for name in names], tmp_path / "x")


def test_wrong_options(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("max_instances", "max_peaks_per_node", "batch_size", "max_batch_size", "n_frames", "max_error_px"):
        with pytest.raises(OptionError, match=name):
            ExportOptions(**{name: 0})
    both = [models / "centroid", models / "centered_instance"]
    with pytest.raises(OptionError, match="Add fused"):
        export(both, tmp_path / "x", ExportOptions(self_contained=True))
    with pytest.raises(OptionError, match="give both"):
        export(models / "centroid", tmp_path / "x", ExportOptions(fused=True))
    with pytest.raises(OptionError, match="crop_size decides"):
        export(models / "centered_instance", tmp_path / "x", ExportOptions(input_size=(64, 64)))
    with pytest.raises(OptionError, match="no effect"):
        export(models / "centroid", tmp_path / "x", n_points=3)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BackendNotInstalledError, match=r"pip install '.*\[export\]'"):
        export(models / "centroid", tmp_path / "x")
