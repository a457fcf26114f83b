"""Make `tests/golden/legacy.npz` (small Keras models with random weights, and the poses that SLEAP 1.4.1 finds)
and `tests/golden/tensorflow.npz` (images that TensorFlow resized).

Runs in an environment of its own, with Python 3.10, `tensorflow-cpu==2.11.1`, `sleap==1.4.1` without its GUI packages
(what it cannot import is replaced here), `attrs==21.4.0`, `cattrs==1.1.1` and `numpy<1.24`:

    python training/make_legacy_golden.py tests/golden

Each case runs SLEAP's own predictor, but for crops of scaled frames, which SLEAP 1.4.1 cuts otherwise than its training
does: there, SLEAP's own functions are called in the order of its training pipeline.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
for module in (
    "imgstore",
    "qimage2ndarray",
    "segmentation_models",
    "qtpy",
    "qtpy.QtCore",
    "qtpy.QtGui",
    "ndx_pose",
    "nixio",
):
    try:
        __import__(module)
    except Exception:  # whatever is wrong with it, it is not needed here
        sys.modules[module] = MagicMock()

import numpy as np  # noqa: E402
import sleap  # noqa: E402
import tensorflow as tf  # noqa: E402
from sleap.nn.config import (  # noqa: E402
    CenteredInstanceConfmapsHeadConfig,
    CentroidsHeadConfig,
    ClassMapsHeadConfig,
    ClassVectorsHeadConfig,
    MultiClassBottomUpConfig,
    MultiClassTopDownConfig,
    MultiInstanceConfig,
    MultiInstanceConfmapsHeadConfig,
    PartAffinityFieldsHeadConfig,
    SingleInstanceConfmapsHeadConfig,
    TrainingJobConfig,
    UNetConfig,
)
from sleap.nn.data.instance_cropping import make_centered_bboxes  # noqa: E402
from sleap.nn.data.resizing import SizeMatcher, resize_image  # noqa: E402
from sleap.nn.inference import Predictor  # noqa: E402
from sleap.nn.model import Model  # noqa: E402
from sleap.nn.peak_finding import crop_bboxes  # noqa: E402

NODES, EDGES, CLASSES = ["a", "b", "c"], [("a", "b"), ("a", "c")], ["x", "y"]
THRESHOLD = 0.3
PARTS = {"part_names": NODES, "sigma": 2.0, "output_stride": 2}


def heads(kind: str, offsets: bool) -> Any:
    """Return the configuration of the heads of one kind of model."""
    parts = {**PARTS, "offset_refinement": offsets}
    confmaps = MultiInstanceConfmapsHeadConfig(**parts)
    return {
        "single_instance": lambda: SingleInstanceConfmapsHeadConfig(**parts),
        "centroid": lambda: CentroidsHeadConfig(sigma=2.0, output_stride=2, offset_refinement=offsets),
        "centered_instance": lambda: CenteredInstanceConfmapsHeadConfig(**parts),
        "multi_instance": lambda: MultiInstanceConfig(
            confmaps, PartAffinityFieldsHeadConfig(edges=EDGES, sigma=8, output_stride=2)
        ),
        "multi_class_bottomup": lambda: MultiClassBottomUpConfig(
            confmaps, ClassMapsHeadConfig(classes=CLASSES, sigma=4, output_stride=2)
        ),
        "multi_class_topdown": lambda: MultiClassTopDownConfig(
            CenteredInstanceConfmapsHeadConfig(**parts),
            ClassVectorsHeadConfig(classes=CLASSES, num_fc_layers=1, num_fc_units=8, output_stride=8),
        ),
    }[kind]()


def make_model(
    folder: Path, kind: str, seed: int, offsets: bool, channels: int, crop: int | None, **given: Any
) -> Path:
    """Build a model with random weights whose maps range from about -1 to 1."""
    skeleton = sleap.Skeleton.from_names_and_edge_inds(NODES, [(0, 1), (0, 2)])
    config = TrainingJobConfig()
    config.data.labels.skeletons = [skeleton]
    config.data.instance_cropping.crop_size = crop
    for name, value in given.items():
        setattr(config.data.preprocessing, name, value)
    config.data.preprocessing.resize_and_pad_to_target = "target_height" in given
    config.data.preprocessing.pad_to_stride = 8
    config.model.backbone.unet = UNetConfig(
        max_stride=8, output_stride=2, filters=3, filters_rate=1.5, up_interpolate=True
    )
    setattr(config.model.heads, kind, heads(kind, offsets))
    tf.random.set_seed(seed)
    model = Model.from_config(config.model, skeleton=skeleton, update_config=True)
    side = crop or 96
    model.make_model((side, side, channels))
    images = tf.constant(make_frames(2, (side, side), channels, seed), tf.float32) / 255
    for layer in model.keras_model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        if "Head" in layer.name and "Class" not in layer.name:
            probe = tf.keras.Model(model.keras_model.input, layer.output)(images).numpy()
            weights = in_range(layer.name, *weights, probe.reshape(-1, probe.shape[-1]))
        layer.set_weights([value.astype(np.float16).astype(np.float32) for value in weights])
    folder.mkdir()
    model.keras_model.save(folder / "best_model.h5")
    config.save_json(str(folder / "training_config.json"))
    return folder


def in_range(name: str, kernel: np.ndarray, bias: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
    """Weights of a head so that confidences reach from 0 to 1, fields from -1 to 1, and offsets from -0.4 to 0.4."""
    if "Confmaps" in name:
        low, reach = seen.min(axis=0), np.ptp(seen, axis=0)
        return [kernel / reach, (bias - low) / reach]
    most = np.abs(seen).max(axis=0) / (0.4 if "Offset" in name else 1.0)
    return [kernel / most, bias / most]


def make_frames(n_frames: int, size: tuple[int, int], channels: int, seed: int) -> np.ndarray:
    """Smooth random frames."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (n_frames, size[0] // 8 + 1, size[1] // 8 + 1, channels)).astype(np.float32)
    smooth = tf.image.resize(coarse, size, method="bicubic").numpy() + rng.normal(0, 6, (n_frames, *size, channels))
    return np.clip(smooth, 0, 255).astype(np.uint8)


def predict(paths: list[Path], frames: np.ndarray) -> dict[str, np.ndarray]:
    """Poses by SLEAP's own predictor."""
    predictor = Predictor.from_model_paths([str(path) for path in paths], peak_threshold=THRESHOLD)
    predictor.verbosity = "none"
    video = sleap.Video(backend=sleap.io.video.NumpyVideo(frames))
    batches = predictor.predict(video, make_labels=False)
    return gather(batches)


def gather(batches: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays of all batches, filled up with NaN."""
    found = {}
    for name in ("instance_peaks", "instance_peak_vals", "instance_scores", "centroids", "centroid_vals"):
        if name not in batches[0]:
            continue
        arrays = [np.asarray(batch[name], np.float32) for batch in batches]
        most = max(array.shape[1] for array in arrays)
        found[name] = np.full((sum(map(len, arrays)), most, *arrays[0].shape[2:]), np.nan, np.float32)
        begin = 0
        for array in arrays:
            found[name][begin : begin + len(array), : array.shape[1]] = array
            begin += len(array)
    return found


def predict_scaled_crops(paths: list[Path], frames: np.ndarray, scale: float, side: int) -> dict[str, np.ndarray]:
    """Poses on crops of scaled frames, as training cuts them, around SLEAP's own centroids."""
    predictor = Predictor.from_model_paths([str(path) for path in paths], peak_threshold=THRESHOLD)
    model = predictor.inference_model
    model.instance_peaks.input_scale = 1.0
    found = model.centroid_crop(tf.constant(frames))
    centroids, rows = found["centroids"].flat_values, found["centroids"].value_rowids()
    boxes = make_centered_bboxes(centroids * scale, side, side)
    crops = crop_bboxes(resize_image(tf.constant(frames), scale), boxes, rows)
    offsets = tf.RaggedTensor.from_value_rowids(centroids * scale - side / 2, rows, nrows=len(frames))
    crops = tf.RaggedTensor.from_value_rowids(crops, rows, nrows=len(frames))
    out = dict(model.instance_peaks({**found, "crops": crops, "crop_offsets": offsets}))
    out["instance_peaks"] = out["instance_peaks"] / scale + 0.5
    return gather([sleap.nn.data.utils.unrag_example(out, numpy=True)])


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Weights of a model by layer."""
    model = tf.keras.models.load_model(path / "best_model.h5", compile=False)
    return {weight.name: weight.numpy().astype(np.float16) for weight in model.weights}


def resized_by_tensorflow() -> dict[str, np.ndarray]:
    """Return a small image resized, fitted, cropped and converted to gray by TensorFlow and SLEAP."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 37, 53, 1), dtype=np.uint8)
    colour = rng.integers(0, 256, (2, 12, 9, 3), dtype=np.uint8)
    centroids = rng.uniform(-3, 58, (24, 2)).astype(np.float32)
    centroids[:5] = [[10, 10], [10.5, 10.5], [0, 0], [52, 36], [7.5, 36]]
    found = {"image": image, "colour": colour, "centroids": centroids}
    found["gray"] = tf.image.rgb_to_grayscale(colour).numpy()
    for scale in (0.25, 0.5, 0.7, 0.9, 1.5):
        found[f"floats {scale}"] = resize_image(tf.image.convert_image_dtype(image, tf.float32), scale).numpy()
        found[f"whole {scale}"] = resize_image(image, scale).numpy()
    for side in (8, 9):
        boxes = make_centered_bboxes(centroids, side, side)
        found[f"crops {side}"] = crop_bboxes(image, boxes, np.arange(len(centroids)) % 2).numpy()
    for height, width in ((64, 64), (30, 90), (20, 33), (19, 29), (41, 59), (37, 53)):
        matcher = SizeMatcher(max_image_height=height, max_image_width=width, points_key=None)
        example = {"image": tf.constant(image[0]), "scale": tf.constant(1.0)}
        fitted = next(iter(matcher.transform_dataset(tf.data.Dataset.from_tensors(example))))
        found[f"fitted {height} {width}"] = fitted["image"].numpy()
        found[f"factor {height} {width}"] = fitted["scale"].numpy()
    return found


FITTED = {"target_height": 64, "target_width": 80, "resize_and_pad_to_target": True}

CASES: dict[str, list[tuple[str, int, dict[str, Any]]]] = {
    "single": [("single_instance", 3, {"input_scaling": 1.0})],
    "single_scaled": [("single_instance", 1, {"input_scaling": 0.7, "offsets": True, **FITTED})],
    "bottomup": [("multi_instance", 1, {"input_scaling": 1.0})],
    "bottomup_scaled": [("multi_instance", 3, {"input_scaling": 0.75, "offsets": True})],
    "topdown": [
        ("centroid", 1, {"input_scaling": 0.5, **FITTED}),
        ("centered_instance", 1, {"input_scaling": 1.0, "crop": 32, "offsets": True}),
    ],
    "topdown_scaled": [
        ("centroid", 1, {"input_scaling": 1.0, "offsets": True}),
        ("centered_instance", 1, {"input_scaling": 0.6, "crop": 24}),
    ],
    "multi_class_bottomup": [("multi_class_bottomup", 1, {"input_scaling": 0.5, "offsets": True})],
    "multi_class_topdown": [
        ("centroid", 1, {"input_scaling": 1.0}),
        ("multi_class_topdown", 1, {"input_scaling": 1.0, "crop": 32}),
    ],
    "multi_class_topdown_scaled": [
        ("centroid", 1, {"input_scaling": 1.0}),
        ("multi_class_topdown", 1, {"input_scaling": 0.6, "crop": 24, "offsets": True}),
    ],
}


def main(folder: str) -> None:
    """Write all cases into one file, and images into another."""
    np.savez_compressed(Path(folder) / "tensorflow.npz", **resized_by_tensorflow())
    data: dict[str, np.ndarray] = {}
    for number, (case, stages) in enumerate(CASES.items()):
        with tempfile.TemporaryDirectory() as work:
            paths = []
            for stage, (kind, channels, given) in enumerate(stages):
                known = {"offsets": False, "crop": None, **given}
                path = make_model(Path(work) / kind, kind, 10 * number + stage, channels=channels, **known)
                paths.append(path)
                data[f"{case}/{kind}/config"] = np.array((path / "training_config.json").read_text())
                data |= {f"{case}/{kind}/weights/{name}": value for name, value in weights_of(path).items()}
            frames = make_frames(3, (56, 73), 3 if case.endswith("scaled") else 1, number)
            crop, scale = known["crop"], given["input_scaling"]
            gray = tf.image.rgb_to_grayscale(frames).numpy() if frames.shape[-1] == 3 else frames
            is_scaled = crop is not None and scale != 1.0
            found = predict_scaled_crops(paths, gray, scale, crop) if is_scaled else predict(paths, frames)
        print(case, {name: value.shape for name, value in found.items()}, json.dumps(given))
        data[f"{case}/frames"] = frames
        data |= {f"{case}/found/{name}": value for name, value in found.items()}
    np.savez_compressed(Path(folder) / "legacy.npz", **data)


if __name__ == "__main__":
    main(sys.argv[1])
