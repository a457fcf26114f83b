"""A network that gives NaN or infinity fails its frame, for every kind of model and backend, and no other frame."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sleap_infer import Predictor
from sleap_infer.errors import ExportedModelError
from sleap_infer.jobs import JobOptions, Models, Task, run_job
from sleap_infer.jobs.events import Event, Note
from sleap_infer.poses.candidates import are_damaged
from sleap_infer.poses.outputs import NOT_FINITE, Outputs

KINDS = {
    "single_instance": ("single_instance",),
    "centroid": ("centroid",),
    "bottomup": ("bottomup",),
    "multi_class_bottomup": ("multi_class_bottomup",),
    "topdown": ("centroid", "centered_instance"),
    "multi_class_topdown": ("centroid", "multi_class_topdown"),
}


def spoiled(model: Path, folder: Path, how: str, head: str = "") -> Path:
    """A copy of a model with other weights.

    Args:
        model: directory.
        folder: where the copy goes.
        how: `"nan"`, one weight of an output is NaN; `"overflow"`, bright images overflow, and black ones do not.
        head: part of the name of the output that is spoiled.
    """
    copy = folder / f"{model.name}-{how}{head}"
    shutil.copytree(model, copy)
    checkpoint = torch.load(copy / "best.ckpt", weights_only=False)
    weights = checkpoint["state_dict"]
    names = [name for name in weights if name.endswith("weight")]
    if how == "nan":
        last = [name for name in names if head.lower() in name.lower()][-1]
        weights[last].flatten()[0] = torch.nan
    else:
        first, second = names[:2]
        for name in (first, second):
            weights[name] *= 1e25
        weights[first.replace("weight", "bias")] *= 0
    torch.save(checkpoint, copy / "best.ckpt")
    return copy


def predict(paths: list[Path], images: np.ndarray, backend: str = "torch", **options: Any) -> list[Outputs]:
    with Predictor.from_model_paths(paths, backend=backend, device="cpu", batch_size=2, **options) as predictor:
        return predictor.predict(images, as_labels=False)


@pytest.fixture(scope="module")
def images(videos: Path) -> np.ndarray:
    """Three frames with animals."""
    import sleap_io as sio

    return sio.load_video(str(videos / "two_flies.mp4"))[:3][..., :1]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_with_nan(kind: str, models: Path, images: np.ndarray, tmp_path: Path) -> None:
    *before, last = KINDS[kind]
    paths = [*(models / name for name in before), spoiled(models / last, tmp_path, "nan")]
    assert [outputs.failure for outputs in predict(paths, images)] == [NOT_FINITE] * len(images)
    assert all(not outputs.n_instances for outputs in predict(paths, images))


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("bottomup", "Confmaps"),
        ("bottomup", "PartAffinity"),
        ("multi_class_bottomup", "Confmaps"),
        ("multi_class_bottomup", "ClassMaps"),
        ("multi_class_topdown", "Confmaps"),
        ("multi_class_topdown", "ClassVectors"),
    ],
)
def test_every_output_of_a_network(kind: str, head: str, models: Path, images: np.ndarray, tmp_path: Path) -> None:
    *before, last = KINDS[kind]
    paths = [*(models / name for name in before), spoiled(models / last, tmp_path, "nan", head)]
    assert [outputs.failure for outputs in predict(paths, images[:1])] == [NOT_FINITE]


def test_centroids_of_a_pipeline(models: Path, images: np.ndarray, tmp_path: Path) -> None:
    paths = [spoiled(models / "centroid", tmp_path, "nan"), models / "centered_instance"]
    found = predict(paths, images[:1], min_instance_score=0.1)
    assert [outputs.failure for outputs in found] == [NOT_FINITE]


BACKENDS = [
    ("torch", "single_instance"),
    ("torch", "bottomup"),
    ("torch", "centroid"),
    ("onnx", "single_instance"),
    ("openvino", "single_instance"),
]


@pytest.mark.parametrize(("backend", "kind"), BACKENDS)
def test_only_the_frames_that_overflow(
    backend: str, kind: str, models: Path, images: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Values become infinite in bright frames; in a batch with them, black ones are as they were."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    mixed = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255), np.zeros_like(images[0])])
    with caplog.at_level(logging.WARNING):
        found = predict([spoiled(models / kind, tmp_path, "overflow")], mixed, backend)
    assert [outputs.failure for outputs in found] == [None, NOT_FINITE, None]
    assert f"{NOT_FINITE} in 1 frames" in caplog.text


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_local_peaks_in_graphs(backend: str, models: Path, images: np.ndarray, tmp_path: Path) -> None:
    """The same graph for both, from the cache. In hidden layers, OpenVINO's ReLU makes 0 of NaN, which nobody sees."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    found = predict([spoiled(models / "bottomup", tmp_path, "nan")], images[:2], backend)
    assert [outputs.failure for outputs in found] == [NOT_FINITE] * 2


@pytest.mark.parametrize(("kind", "how"), [("bottomup", "nan"), ("single_instance", "overflow")])
def test_mnn_refuses_a_network_in_which_it_loses_nan(
    kind: str, how: str, models: Path, images: np.ndarray, tmp_path: Path
) -> None:
    """MNN's ReLU makes 0 of NaN, so its values differ from those of ONNX Runtime when the network is converted."""
    pytest.importorskip("MNN")
    with pytest.raises(ExportedModelError, match=r"differs on MNN .* Use backend='onnx'"):
        predict([spoiled(models / kind, tmp_path, how)], images[:2], "mnn")


@pytest.mark.parametrize(
    ("layout", "spoil"),
    [
        pytest.param("batched", "centered_instance", marks=pytest.mark.exhaustive),
        pytest.param("flat", "centroid", marks=pytest.mark.exhaustive),
    ],
)
def test_both_networks_in_one_graph(layout: Any, spoil: str, models: Path, images: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from sleap_infer.export import ExportOptions, export

    names = ("centroid", "centered_instance")
    paths = [spoiled(models / name, tmp_path, "nan") if name == spoil else models / name for name in names]
    export(paths, tmp_path / "graph", ExportOptions(validate=False, fused=True, layout=layout))
    assert [outputs.failure for outputs in predict([tmp_path / "graph"], images[:1], "onnx")] == [NOT_FINITE]


def test_a_job_counts_them(models: Path, images: np.ndarray, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    from PIL import Image

    for number in range(6):
        Image.fromarray(np.full(images.shape[1:3], 255 * (number % 3 == 1), np.uint8)).save(frames / f"{number}.png")
    model = spoiled(models / "single_instance", tmp_path, "overflow")
    events: list[Event] = []
    task = Task((str(frames),), tmp_path / "a.slp")
    request = Models((str(model),), {}, "torch", "cpu", None, 2)
    (report,) = run_job(request, [task], JobOptions(chunk=2), events.append, n_workers=0)
    assert report.counts["predict_failed"] == 2
    assert report.n_failed == 2
    warnings = [event.text for event in events if isinstance(event, Note) and NOT_FINITE in event.text]
    assert len(warnings) == 1
    assert "2 of 6 frames" in warnings[0]
    assert "--precision fp32" not in warnings[0], "it is fp32 already"
    with (tmp_path / "a.ledger.csv").open() as file:
        rows = [(row["frame"], row["status"]) for row in csv.DictReader(file) if NOT_FINITE in row["reason"]]
    assert rows == [("1", "predict_failed"), ("4", "predict_failed")]


def test_crops_of_empty_places_are_of_no_account() -> None:
    found = {
        "centroid_vals": np.array([[0.5, 0.0]]),
        "instance_valid": np.array([[True, False]]),
        "peak_vals": np.array([[[0.5], [np.nan]]]),
    }
    assert are_damaged(found).tolist() == [False]
    assert are_damaged({**found, "instance_valid": np.array([[True, True]])}).tolist() == [True]
