"""Every setting of a configuration takes effect, belongs to the training, or is refused; none is passed over."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tiny_model import KINDS, NODES, change, tiny_config, write_config
from typer.testing import CliRunner

from sleap_infer import Predictor, open_source
from sleap_infer.checks.validate import Source
from sleap_infer.cli.app import app
from sleap_infer.config import kinds
from sleap_infer.errors import ModelConfigError, ModelError, UnsupportedModelError
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.readers import known_settings as known
from sleap_infer.model.readers.known_settings import READ, TRAINING, Only, Rules

REPOSITORY = Path(__file__).resolve().parents[2]
ODD: tuple[Any, ...] = (7, 0.5, True, False, "x", ["x"], {"x": 1}, -1)
HEADS = "model_config/head_configs"
BACKBONES = "model_config/backbone_config"
TRANSFORMERS = {"max_stride": 32, "output_stride": 2}


def config_of(kind: str = "bottomup", backbone: str = "unet") -> dict[str, Any]:
    config = tiny_config(kind)
    if backbone != "unet":
        sizes = {"convnext": {"depths": [1] * 4, "channels": [8] * 4}}
        arch = sizes.get(backbone, {"embed": 8, "depths": [1] * 4, "num_heads": [1] * 4})
        config["model_config"]["backbone_config"] = {backbone: {**TRANSFORMERS, "arch": arch}}
    return config


def read(folder: Path, config: dict[str, Any], **options: Any) -> ModelSpec:
    write_config(folder, config)
    (folder / "best.ckpt").touch()
    return read_spec(folder, **options)


def sections() -> Iterator[tuple[str, str, str, Rules]]:
    """Kind, backbone, place and rules of every section of a sleap-nn configuration."""
    yield "single_instance", "unet", "data_config/preprocessing", known.PREPROCESSING
    yield "single_instance", "unet", "data_config", known.DATA
    yield "single_instance", "unet", "model_config", known.MODEL
    for backbone, rules in known.BACKBONES.items():
        yield "single_instance", backbone, f"{BACKBONES}/{backbone}", rules
    for kind in KINDS:
        for name in [head.section for head in kinds.KINDS[kind].heads]:
            yield kind, "unet", f"{HEADS}/{kind}/{name}", known.HEAD[name]  # type: ignore[misc]


def settings_of(rule: type | str) -> list[Any]:
    return [
        pytest.param(kind, backbone, f"{place}/{name}", found, id=f"{kind} {place}/{name}")
        for kind, backbone, place, rules in sections()
        for name, found in rules.items()
        if found == rule or (isinstance(rule, type) and isinstance(found, rule))
    ]


@pytest.mark.parametrize(("kind", "backbone", "path", "rule"), settings_of(Only))
def test_what_is_not_supported_is_refused(tmp_path: Path, kind: str, backbone: str, path: str, rule: Only) -> None:
    base = read(tmp_path, config_of(kind, backbone))
    for value in (None, *rule.values):
        assert read(tmp_path, change(config_of(kind, backbone), path, value)) == base
    for value in ODD:
        if value in rule.values and isinstance(value, bool) == isinstance(rule.values[0], bool):
            continue
        for ignoring in (False, True):
            with pytest.raises(UnsupportedModelError, match=path.rpartition("/")[2]):
                read(tmp_path, change(config_of(kind, backbone), path, value), ignore_unknown_settings=ignoring)


@pytest.mark.parametrize(("kind", "backbone", "path", "rule"), settings_of(TRAINING))
def test_what_is_of_the_training_does_not_matter(
    tmp_path: Path, kind: str, backbone: str, path: str, rule: str
) -> None:
    base = read(tmp_path, config_of(kind, backbone))
    for value in ODD[:3]:
        assert read(tmp_path, change(config_of(kind, backbone), path, value)) == base


SAME: Mapping[str, tuple[Any, ...]] = {
    "tiling": ({"x": 1},),  # not enabled
    "middle_block": (True,),
    "global_pool": (True,),
    "up_interpolate": (True,),
    "use_sigmoid_activation": (False,),
    "window_size": (7,),
}
"""Values that say what is so anyway."""


@pytest.mark.parametrize(("kind", "backbone", "path", "rule"), settings_of(READ))
def test_what_is_read_takes_effect(tmp_path: Path, kind: str, backbone: str, path: str, rule: str) -> None:
    name = path.rpartition("/")[2]
    if (kind, name) == ("centroid", "part_names"):
        pytest.skip("the only part is the centroid")
    plain = config_of(kind, backbone)
    if name == "model_type":  # counts where no arch is given
        change(plain, f"{BACKBONES}/{backbone}/arch", ...)
    base = read(tmp_path, plain)
    for value in ODD:
        if any(value == same and type(value) is type(same) for same in SAME.get(name, ())):
            continue
        try:
            spec = read(tmp_path, change(deepcopy(plain), path, value))
        except ModelError:
            continue
        assert spec != base, f"{path} = {value!r} is passed over"


@pytest.mark.parametrize("value", [3, "x", False, [1], {"x": 1}, {"x": {"y": 0}}], ids=str)
@pytest.mark.parametrize(
    ("kind", "backbone", "place", "rules"),
    [item for item in sections() if item[2] not in ("data_config", "model_config")],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_unknown_setting_is_an_error_that_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, backbone: str, place: str, rules: Rules, value: Any
) -> None:
    base = read(tmp_path, config_of(kind, backbone))
    config = change(config_of(kind, backbone), f"{place}/wavelet_mode", value)
    with pytest.raises(UnsupportedModelError, match="wavelet_mode") as caught:
        read(tmp_path, config)
    assert "--ignore-unknown-settings" in str(caught.value)
    assert place.replace("/", ": ") in str(caught.value)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, config, ignore_unknown_settings=True) == base
    assert "wavelet_mode" in caplog.text


@pytest.mark.parametrize("place", [f"{BACKBONES}/vit", f"{HEADS}/pose3d", f"{HEADS}/centroid/pafs"])
def test_an_unknown_section_is_an_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(UnsupportedModelError, match=place.rpartition("/")[2]):
        read(tmp_path, change(config_of("centroid"), place, {"layers": 3}))


@pytest.mark.parametrize("value", [None, [], {}, {"x": None}, {"x": {}}], ids=str)
def test_an_unknown_setting_that_says_nothing_is_none(tmp_path: Path, value: Any) -> None:
    base = read(tmp_path, config_of())
    for place in ("data_config/preprocessing", f"{BACKBONES}/unet", f"{HEADS}/bottomup/pafs", BACKBONES, HEADS):
        assert read(tmp_path, change(config_of(), f"{place}/wavelet_mode", value)) == base


@pytest.mark.parametrize("place", ["data_config", "model_config"])
def test_an_unknown_setting_beside_those_of_training_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    base = read(tmp_path, config_of())
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, change(config_of(), f"{place}/wavelet_mode", 3)) == base
    assert "wavelet_mode" in caplog.text


def test_a_misspelt_setting_names_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="did you mean 'crop_size'"):
        read(tmp_path, change(config_of(), "data_config/preprocessing/crop_sise", 64))


DEFAULTS_035: dict[str, Any] = {
    "data_config/preprocessing": {
        **{"ensure_rgb": False, "ensure_grayscale": False, "max_height": None, "max_width": None, "scale": 1.0},
        **{"crop_size": 32, "min_crop_size": 100, "crop_padding": None, "crop_mode": "fixed"},
        **{"crop_bbox_aspect": "square", "crop_bbox_padding": 0.1, "crop_bbox_min_size": None},
        **{"burn_in": False, "background_fill": "black", "crop_centering": "auto"},
        "tiling": {
            **{"enabled": False, "tile_size": None, "overlap": None, "min_overlap_fraction": 0.25},
            **{"blend": "gaussian", "sigma_scale": 0.125, "tile_batch_size": None, "accumulator_device": "auto"},
            **{"cpu_thresh": 0.4, "sampling": "foreground", "tile_fg_fraction": 0.5, "samples_per_frame": None},
            **{"center_jitter": 0.5, "min_visible_keypoints": 1, "steps_per_epoch": None, "full_frame_pass": False},
        },
    },
    "data_config": {
        **{"train_labels_path": None, "use_same_data_for_val": False, "parallel_caching": True, "cache_workers": 0},
        **{"use_negative_frames": False, "negative_loss_weight": 1.0, "centroids_from_masks": None},
        **{"identity": {"tracks_are_proofread": False}, "split": {"split_by": "frame"}},
        **{"bbox_source": "auto", "bbox_padding": 0.0},
    },
    f"{HEADS}/centroid/confmaps": {
        **{"anchor_part": None, "centroid_method": None, "centroid_fallback": None, "centroid_source": None},
        **{"sigma": 5.0, "use_sigmoid_activation": False, "focal_loss_alpha": 0.0, "focal_loss_beta": 4.0},
        "focal_loss_pos_threshold": 0.5,
    },
    f"{HEADS}/multi_class_topdown/class_vectors": {
        **{"class_output": "track", "num_fc_layers": 1, "num_fc_units": 8, "global_pool": True, "output_stride": 8},
        "loss_weight": 1.0,
    },
}
"""What sleap-nn 0.3.5 writes where nothing is set (seen from the outside)."""


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_of_sleap_nn_are_what_older_files_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    config = config_of(kind)
    for name in ("ensure_rgb", "ensure_grayscale"):
        change(config, f"data_config/preprocessing/{name}", False)
    base = read(tmp_path, config)
    for place, values in DEFAULTS_035.items():
        if not place.startswith(HEADS) or f"/{kind}/" in place:
            for name, value in values.items():
                change(config, f"{place}/{name}", value)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, config) == base
    assert not caplog.records


def test_crop_size_of_the_first_versions(tmp_path: Path) -> None:
    config = change(config_of("centered_instance"), "data_config/preprocessing/crop_size", ...)
    change(config, "data_config/preprocessing/is_rgb", False)
    assert read(tmp_path, change(config, "data_config/preprocessing/crop_hw", [48, 48])).preprocessing.crop_size == 48
    with pytest.raises(UnsupportedModelError, match="crop_hw"):
        read(tmp_path, change(config, "data_config/preprocessing/crop_hw", [48, 64]))


def test_identities_are_another_container_of_the_same_poses(tmp_path: Path) -> None:
    config = config_of("multi_class_bottomup")
    base = read(tmp_path, config)
    place = f"{HEADS}/multi_class_bottomup/class_maps/class_output"
    assert read(tmp_path, change(config, place, "identity")) == base


# Files that exist


def test_every_model_that_is_there_is_read(corpus: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = [path.parent for root in (corpus, models) for path in sorted(root.rglob("training_config.*"))]
    assert len(found) > 15
    with caplog.at_level(logging.WARNING):
        for path in found:
            read_spec(path)
    assert not caplog.records


def test_crops_of_boxes_are_refused(tmp_path: Path, cases: Path, corpus: Path) -> None:
    shutil.copy(corpus / "models" / "minimal_instance_centered_instance" / "best.ckpt", tmp_path)
    shutil.copy(cases / "crop_mode_bbox.training_config.yaml", tmp_path / "training_config.yaml")
    for ignoring in (False, True):
        with pytest.raises(UnsupportedModelError, match="crop_mode = 'bbox' is not supported"):
            read_spec(tmp_path, ignoring)


# SLEAP up to 1.4


def read_legacy(folder: Path, head: dict[str, Any] | None = None, **data: Any) -> ModelSpec:
    heads = {"centered_instance": {"part_names": NODES, "output_stride": 2, **(head or {})}}
    unet = {"max_stride": 8, "stem_stride": None, **data.pop("unet", {})}
    content = {"data": data, "model": {"backbone": {"unet": unet}, "heads": heads}}
    (folder / "training_config.json").write_text(json.dumps(content))
    with h5py.File(folder / "best_model.h5", "w") as file:
        file["model_weights/stack0_enc0_conv0/stack0_enc0_conv0/kernel:0"] = np.zeros((3, 3, 1, 8), np.float32)
    return read_spec(folder, ignore_unknown_settings=bool(data.get("ignore")))


@pytest.mark.parametrize(
    "where", ["preprocessing", "instance_cropping", "unet", "head"], ids=lambda where: f"legacy {where}"
)
def test_unknown_settings_of_legacy_models(tmp_path: Path, where: str) -> None:
    assert read_legacy(tmp_path, **{where: {"wavelet_mode": None}}) == read_legacy(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"wavelet_mode.*--ignore-unknown-settings"):
        read_legacy(tmp_path, **{where: {"wavelet_mode": 3}})


def test_legacy_settings_that_change_the_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="imagenet_mode = 'caffe' is not supported"):
        read_legacy(tmp_path, preprocessing={"imagenet_mode": "caffe"})


def test_legacy_frames_are_fitted_only_if_asked_for(tmp_path: Path) -> None:
    sizes = {"target_height": 64, "target_width": 96}
    fitted = read_legacy(tmp_path, preprocessing={**sizes, "resize_and_pad_to_target": True}).preprocessing
    as_they_are = read_legacy(tmp_path, preprocessing={**sizes, "resize_and_pad_to_target": False}).preprocessing
    assert (fitted.max_height, fitted.max_width) == (64, 96)
    assert (as_they_are.max_height, as_they_are.max_width) == (None, None)


def test_legacy_crops_are_centred_as_sleap_did(tmp_path: Path) -> None:
    """SLEAP 1.4.1, `InstanceCentroidFinder`: on `center_on_part`, else on the middle of the bounding box."""
    spec = read_legacy(tmp_path, instance_cropping={"center_on_part": NODES[1]})
    assert (spec.anchor_part, spec.centroid_fallback) == (NODES[1], "bbox_center")
    spec = read_legacy(tmp_path)
    assert (spec.anchor_part, spec.centroid_method) == (None, "bbox_center")


# Exports of sleap-nn


def copy_export(folder: Path, name: str = "bottomup") -> Path:
    shutil.copytree(REPOSITORY / "tests" / "foreign" / "exports" / name, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "value"),
    [("normalization", "imagenet"), ("input_dtype", "float32"), ("burn_in", True), ("wavelet_mode", 3)],
)
def test_settings_in_the_metadata_of_an_export(tmp_path: Path, name: str, value: Any) -> None:
    export = copy_export(tmp_path)
    base = read_spec(export)
    path = export / "export_metadata.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, name: value}))
    with pytest.raises(ModelError, match=name):
        read_spec(export)
    if name == "wavelet_mode":
        assert read_spec(export, ignore_unknown_settings=True) == base


# The way to go on


@pytest.fixture
def model(tmp_path: Path, models: Path) -> Path:
    """A model with a setting that nobody knows."""
    shutil.copytree(models / "single_instance", tmp_path / "model")
    path = tmp_path / "model" / "training_config.yaml"
    path.write_text(path.read_text().replace("  preprocessing:\n", "  preprocessing:\n    wavelet_mode: 3\n"))
    return tmp_path / "model"


def test_going_on_from_python(model: Path, videos: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="wavelet_mode"):
        Predictor.from_model_paths(model, backend="torch")
    with (
        Predictor.from_model_paths(model, backend="torch", ignore_unknown_settings=True) as predictor,
        open_source(videos / "one_fly.mp4", range(1)) as source,
    ):
        assert len(list(predictor.stream(source))) == 1


COMMANDS = {
    "info": ["info", "{model}"],
    "predict": ["predict", "{video}", "-m", "{model}", "-o", "{out}.slp", "-n", "1", "-r", "torch"],
    "export": ["export", "{model}", "-o", "{out}", "--no-validate"],
    "live": ["live", "{video}", "-m", "{model}", "-n", "1", "-r", "torch"],
    "benchmark": ["benchmark", "{model}", "{video}", "-r", "torch", "-n", "1", "--repeats", "1", "-b", "1"],
}


def test_going_on_with_an_export(model: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="wavelet_mode"):
        Source.read(model, {})
    assert Source.read(model, {"ignore_unknown_settings": True}).kind == "single_instance"


@pytest.mark.parametrize("command", COMMANDS)
def test_going_on_from_the_command_line(model: Path, videos: Path, tmp_path: Path, command: str) -> None:
    names = {"model": model, "video": videos / "one_fly.mp4", "out": tmp_path / "out"}
    words = [word.format(**names) for word in COMMANDS[command]]
    refused = CliRunner().invoke(app, words, env={"COLUMNS": "500"})
    assert "wavelet_mode" in f"{refused.exception} {refused.output}"
    assert refused.exit_code != 0
    if command not in ("benchmark", "export"):  # take half a minute
        accepted = CliRunner().invoke(app, [*words, "--ignore-unknown-settings"], env={"COLUMNS": "500"})
        assert accepted.exit_code == 0, accepted.output


# Centres of known instances

POINTS = np.array([[99.11, 88.09], [81.23, 80.5], [104.4, 107.38], [98.2, 101.88], [96.31, 108.05]], np.float32)
HIDDEN = np.array([[80.85, 83.73], [np.nan, np.nan], [98.46, 91.51], [109.92, 109.43], [100.57, 99.51]], np.float32)
CENTRES: dict[tuple[str | None, str | None, str | None], tuple[list[float], list[float]]] = {
    (None, None, None): ([95.85, 97.18], [97.45, 96.045]),
    (None, None, "bbox_center"): ([95.85, 97.18], [97.45, 96.045]),
    (None, "center_of_mass", None): ([95.85, 97.18], [97.45, 96.045]),
    (None, "bbox_center", None): ([92.815, 94.275], [95.385, 96.58]),
    (None, "geometric_median", None): ([98.2, 101.88], [100.57, 99.51]),
    ("thorax", None, None): ([81.23, 80.5], [97.45, 96.045]),
    ("thorax", "anchor", None): ([81.23, 80.5], [97.45, 96.045]),
    ("thorax", "anchor", "bbox_center"): ([81.23, 80.5], [95.385, 96.58]),
    ("thorax", None, "bbox_center"): ([81.23, 80.5], [95.385, 96.58]),
    ("thorax", None, "geometric_median"): ([81.23, 80.5], [100.57, 99.51]),
}
"""Centres that sleap-nn 0.3.5 takes, by anchor_part, centroid_method and centroid_fallback. Seen from the outside: a
network whose maps are the same everywhere gives points at a fixed place of the crop."""


def centred(models: Path, folder: Path, anchor: str | None, method: str | None, fallback: str | None) -> Path:
    shutil.copytree(models / "centered_instance", folder)
    path = folder / "training_config.yaml"
    said = {"anchor_part": anchor, "centroid_method": method, "centroid_fallback": fallback}
    text = path.read_text().replace("anchor_part: thorax\n", "X\n", 1)
    assert "X\n" in text
    indent = text.split("X\n")[0].rpartition("\n")[2]
    path.write_text(text.replace("X\n", f"\n{indent}".join(f"{k}: {v or 'null'}" for k, v in said.items()) + "\n", 1))
    return folder


@pytest.mark.parametrize("said", CENTRES, ids=str)
def test_centres_of_known_instances(
    tmp_path: Path, models: Path, said: tuple[str | None, str | None, str | None]
) -> None:
    from sleap_infer.config.options import InferenceOptions
    from sleap_infer.model.settings import resolve
    from sleap_infer.predictors.known_centroids import known_centroids

    spec = read_spec(centred(models, tmp_path / "model", *said))
    stage = resolve([spec], InferenceOptions()).stages[0]
    anchor = None if stage.anchor_part is None else spec.skeleton.nodes.index(stage.anchor_part)
    found = known_centroids(np.stack([POINTS, HIDDEN]), anchor, stage.centroid_method)
    np.testing.assert_allclose(found, CENTRES[said], atol=0.005)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (("thorax", "bbox_center", None), ModelConfigError),
        ((None, "anchor", None), ModelConfigError),
        ((None, "medoid", None), UnsupportedModelError),
        (("thorax", None, "anchor"), UnsupportedModelError),
    ],
    ids=str,
)
def test_centres_that_sleap_nn_refuses_too(
    tmp_path: Path, models: Path, said: tuple[str | None, str | None, str | None], error: type[ModelError]
) -> None:
    with pytest.raises(error, match=r"centroid_(method|fallback)"):
        read_spec(centred(models, tmp_path / "model", *said))


def test_crops_around_the_middle_of_boxes(tmp_path: Path, models: Path, cases: Path) -> None:
    """With `centroid_method: bbox_center`, crops of known instances lie around the middle of their bounding boxes."""
    shutil.copytree(models / "centered_instance", tmp_path / "model")
    shutil.copy(cases / "centroid_method.training_config.yaml", tmp_path / "model" / "training_config.yaml")
    with (
        Predictor.from_model_paths(tmp_path / "model", backend="torch") as predictor,
        open_source(cases / "known_two_flies.slp") as source,
    ):
        known_points = source.parts[0].known
        assert known_points is not None
        n_frames = 0
        for outputs in predictor.stream(source):
            points = known_points[outputs.frame_idx]
            middle = (np.nanmin(points, axis=1) + np.nanmax(points, axis=1)) / 2
            np.testing.assert_allclose(outputs.pred_centroids, middle, atol=1e-3)
            n_frames += 1
    assert n_frames
