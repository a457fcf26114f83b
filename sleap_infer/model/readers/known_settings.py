"""Every setting of a configuration that is known, per format, and which of them may be passed over.

A setting is either read (`READ`), of the training only (`TRAINING`), or supported at some of its values only (`Only`).
All others are unknown: they could change the poses, so that a model with one of them is refused unless the user allows
it. Sources of the lists: the classes of the configurations that sleap-nn 0.0.1 to 0.3.5 and SLEAP 1.4.1 write.
"""

from __future__ import annotations

import difflib
import logging
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from sleap_infer.config.kinds import KINDS, model_kinds
from sleap_infer.errors import UnsupportedModelError
from sleap_infer.model.readers.section import Section

logger = logging.getLogger(__name__)

READ: Final = "read"
TRAINING: Final = "training"


@frozen
class Only:
    """A setting that is not implemented, but has no effect at these values."""

    values: tuple[Any, ...]


Rule: TypeAlias = "str | Only | Mapping[str, Rule]"
Rules: TypeAlias = Mapping[str, Rule]


def _all(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


PREPROCESSING: Rules = {
    **_all(READ, "ensure_rgb ensure_grayscale max_height max_width scale crop_size crop_hw tiling"),
    **_all(TRAINING, "min_crop_size crop_padding"),
    "is_rgb": Only((False,)),
    "crop_mode": Only(("fixed",)),
    "crop_bbox_aspect": Only(("square",)),
    "crop_bbox_padding": Only((0.1,)),
    "crop_bbox_min_size": Only(()),
    "burn_in": Only((False,)),
    "background_fill": Only(("black",)),
    "crop_centering": Only(("auto",)),
}

DATA: Rules = {
    **_all(READ, "preprocessing skeletons"),
    **_all(
        TRAINING,
        "train_labels_path val_labels_path validation_fraction use_same_data_for_val test_file_path provider "
        "user_instances_only data_pipeline_fw cache_img_path use_existing_imgs delete_cache_imgs_after_training "
        "parallel_caching cache_workers use_augmentations_train augmentation_config use_negative_frames "
        "negative_loss_weight identity split centroids_from_masks",
    ),
    "bbox_source": Only(("auto",)),
    "bbox_padding": Only((0.0,)),
}

MODEL: Rules = {
    **_all(READ, "backbone_config head_configs"),
    **_all(
        TRAINING,
        "init_weights pretrained_backbone_weights pretrained_head_weights pre_trained_weights total_params",
    ),
}

ROOT: Rules = {
    **_all(READ, "data_config model_config sleap_nn_version"),
    **_all(TRAINING, "trainer_config name description filename"),
}

_DECODER = _all(READ, "in_channels kernel_size filters_rate max_stride convs_per_block up_interpolate output_stride")

BACKBONES: Mapping[str, Rules] = {
    "unet": {**_DECODER, **_all(READ, "filters stem_stride middle_block stacks"), "block_contraction": Only((False,))},
    "convnext": {
        **_DECODER,
        **_all(READ, "model_type stem_patch_kernel stem_patch_stride"),
        "arch": _all(READ, "depths channels"),
        "pre_trained_weights": TRAINING,
    },
    "swint": {
        **_DECODER,
        **_all(READ, "model_type patch_size stem_patch_stride window_size"),
        "arch": _all(READ, "embed depths num_heads"),
        "pre_trained_weights": TRAINING,
    },
}

_OTHER_KINDS = (
    "bottomup_segmentation centered_instance_segmentation semantic_segmentation embedding bbox_centernet bbox_ssd"
)

CONFMAPS: Rules = {
    **_all(READ, "part_names anchor_part centroid_method centroid_fallback output_stride use_sigmoid_activation"),
    **_all(
        TRAINING,
        "sigma loss_weight centroid_source focal_loss_alpha focal_loss_beta focal_loss_pos_threshold",
    ),
}

_CLASSES: Rules = {"classes": READ, "class_output": Only(("track", "identity")), "loss_weight": TRAINING}

HEAD: Rules = {
    "confmaps": CONFMAPS,
    "pafs": {**_all(READ, "edges output_stride"), **_all(TRAINING, "sigma loss_weight")},
    "class_maps": {**_CLASSES, "output_stride": READ, "sigma": TRAINING},
    "class_vectors": {**_CLASSES, **_all(READ, "num_fc_layers num_fc_units global_pool"), "output_stride": TRAINING},
}
"""Sections of the heads of all kinds. `class_output` chooses the container of identities, not the poses."""

SLEAP_PREPROCESSING: Rules = {
    **_all(READ, "ensure_rgb ensure_grayscale input_scaling target_height target_width resize_and_pad_to_target"),
    "pad_to_stride": TRAINING,
    "imagenet_mode": Only(()),
}
"""`pad_to_stride` follows from the network's largest stride."""

SLEAP_CROPPING: Rules = {**_all(READ, "center_on_part crop_size"), "crop_size_detection_padding": TRAINING}

SLEAP_UNET: Rules = _all(
    READ, "stem_stride max_stride output_stride filters filters_rate middle_block up_interpolate stacks"
)

SLEAP_HEAD: Rules = {
    **HEAD,
    "confmaps": {
        **_all(READ, "part_names anchor_part output_stride offset_refinement"),
        **_all(TRAINING, "sigma loss_weight"),
    },
}


EXPORT_METADATA: Rules = {
    **_all(
        READ,
        "model_type sleap_nn_version checkpoint_path training_config_hash node_names edge_inds class_names input_scale "
        "input_channels output_stride crop_size max_height max_width max_instances max_peaks_per_node peak_threshold "
        "anchor_part centroid_method",
    ),
    **_all(
        TRAINING,
        "export_timestamp export_format model_name backbone backbone_source n_nodes n_edges n_classes max_batch_size "
        "precision training_config_embedded",
    ),
    "input_dtype": Only(("uint8",)),
    "normalization": Only(("0_to_1",)),
    **_all(Only(()), "embedding_dim normalize"),
    "burn_in": Only((False,)),
    "background_fill": Only(("black",)),
    "crop_centering": Only(("auto",)),
}
"""Of sleap-nn 0.1 to 0.3.5. Those marked as training describe the export and change nothing."""


def check_sleap_nn(root: Section, kind: str, backbone: str, ignore_unknown: bool) -> None:
    """Check the settings of a sleap-nn configuration.

    Args:
        root: the whole configuration.
        kind: of the model.
        backbone: of the model.
        ignore_unknown: whether unknown settings are only warned of.

    Raises:
        UnsupportedModelError: a setting is unknown, or has a value that is not supported.
    """
    data, model = root.section("data_config"), root.section("model_config")
    backbones, heads = model.section("backbone_config"), model.section("head_configs")
    strict = [
        *unknown_settings(data.section("preprocessing"), PREPROCESSING),
        *unknown_settings(backbones, _all(READ, "unet convnext swint pretrained backbone_type")),
        *unknown_settings(backbones.section(backbone), BACKBONES[backbone]),
        *unknown_settings(heads, {**dict.fromkeys(model_kinds(), READ), **_all(READ, _OTHER_KINDS)}),
        *unknown_settings(heads.section(kind), _of_kind(HEAD, kind)),
    ]
    report(strict, ignore_unknown)
    loose = [
        *unknown_settings(root, ROOT),
        *unknown_settings(data, DATA),
        *unknown_settings(model, MODEL),
    ]
    if loose:
        logger.warning("%s. Settings of training are expected there; they are ignored", "; ".join(loose))


def check_sleap(root: Section, kind: str, head: Section, ignore_unknown: bool) -> None:
    """Check the settings of a configuration of SLEAP up to 1.4.

    Args:
        root: the whole configuration.
        kind: of the model.
        head: the section of the head, as sleap-nn has it (with `confmaps`).
        ignore_unknown: whether unknown settings are only warned of.

    Raises:
        UnsupportedModelError: as in `check_sleap_nn`.
    """
    data, unet = root.section("data"), root.section("model").section("backbone").section("unet")
    found = [
        *unknown_settings(data.section("preprocessing"), SLEAP_PREPROCESSING),
        *unknown_settings(data.section("instance_cropping"), SLEAP_CROPPING),
        *unknown_settings(unet, SLEAP_UNET),
        *unknown_settings(head, _of_kind(SLEAP_HEAD, kind)),
    ]
    report(found, ignore_unknown)


def check_export(metadata: Section, ignore_unknown: bool) -> None:
    """Check the metadata of an export of sleap-nn.

    Raises:
        UnsupportedModelError: as in `check_sleap_nn`.
    """
    report([*unknown_settings(metadata, EXPORT_METADATA)], ignore_unknown)


def _of_kind(rules: Rules, kind: str) -> Rules:
    """Return the rules of the sections that the head of a kind of model has."""
    names = [head.section for head in KINDS[kind].heads]
    return {name: rule for name, rule in rules.items() if name in names}


def unknown_settings(section: Section, rules: Rules) -> Iterator[str]:
    """Yield the settings of a section that are given and not known, each with its position.

    Raises:
        UnsupportedModelError: a known setting has a value that is not supported.
    """
    for key in section:
        value, rule = section.raw(key), rules.get(key)
        if isinstance(rule, Mapping):
            yield from unknown_settings(section.section(key), rule)
        elif isinstance(rule, Only):
            _check_value(section, key, rule)
        elif rule is None and not _is_nothing(value):
            close = difflib.get_close_matches(key, rules, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            yield f"{section.where}: {key!r} = {reprlib.repr(value)} is not known{hint}"


def report(unknown: list[str], ignore_unknown: bool) -> None:
    """Refuse unknown settings, or warn of them.

    Raises:
        UnsupportedModelError: there are some, and they are not to be ignored.
    """
    if not unknown:
        return
    found = "; ".join(unknown)
    if not ignore_unknown:
        raise UnsupportedModelError(
            f"{found}. It may change the poses. Update sleap-infer, predict with the program that trained the model, "
            "or ignore such settings with --ignore-unknown-settings (in Python: ignore_unknown_settings=True)."
        )
    logger.warning("%s, and ignored as asked. The poses may differ from those of the program that trained it", found)


def _check_value(section: Section, key: str, rule: Only) -> None:
    value = section.raw(key)
    is_bool = isinstance(value, bool)
    if _is_nothing(value) or any(value == known and is_bool == isinstance(known, bool) for known in rule.values):
        return
    supported = " or ".join(map(repr, rule.values)) or "null"
    raise UnsupportedModelError(
        f"{section.where}: {key} = {reprlib.repr(value)} is not supported here (only {supported}): the poses would "
        "differ. Predict with the program that trained the model."
    )


def _is_nothing(value: object) -> bool:
    """Return whether a value is empty: null, or a list or mapping of empty values."""
    if isinstance(value, Mapping):
        return all(_is_nothing(item) for item in value.values())
    return value is None or (isinstance(value, (list, tuple)) and not value)
