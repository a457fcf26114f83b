"""Every option changes something, or is an error: alone, beside other options, and for the models at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest

from sleap_infer import Predictor
from sleap_infer.config.kinds import KINDS
from sleap_infer.config.options import (
    CENTROID_MODEL,
    FUSED_GRAPH,
    InferenceOptions,
    applies_to,
    option_fields,
    option_groups,
)
from sleap_infer.errors import OptionError
from sleap_infer.model.settings import read_options, resolve
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, TrainedPreprocessing, UNetSpec

OPTIONS = option_fields()
IDLE = {name: item.metadata["idle"] for name, item in OPTIONS.items() if item.metadata.get("idle")}
BESIDE_ANOTHER = {name: idle for name, idle in IDLE.items() if isinstance(idle, tuple)}
READING = {"ignore_unknown_settings"}
"""Has its effect when models are read."""


def spec(kind: str) -> ModelSpec:
    return ModelSpec(
        kind=kind,
        skeleton=SkeletonSpec(("a", "b"), (("a", "b"),)),
        backbone=UNetSpec(),
        heads=(),
        preprocessing=TrainedPreprocessing(crop_size=64),
        path=Path(kind),
        classes=("x", "y"),
    )


def models_of(pipeline: str) -> list[ModelSpec]:
    stages = KINDS[pipeline].stages if pipeline in KINDS else ()
    return [
        spec(kind) for kind in (stages or (["centroid", "centered_instance"] if pipeline == "topdown" else [pipeline]))
    ]


def other_value(name: str) -> Any:
    """A value that is allowed and not the default."""
    item = OPTIONS[name]
    hints = {key: hint for group in option_groups().values() for key, hint in get_type_hints(group).items()}
    values = [
        True,
        False,
        7,
        0.5,
        "b",
        *(value for part in (hints[name], *get_args(hints[name])) for value in get_args(part)),
    ]
    for value in values:
        if value == item.default and type(value) is type(item.default):
            continue
        try:
            InferenceOptions.from_names({name: value})
        except OptionError:
            continue
        return value
    raise AssertionError(name)


def test_the_options_that_others_make_idle() -> None:
    assert IDLE == {
        "integral_patch_size": ("refinement", "none"),
        "overlap_method": ("max_overlap", None),
        "max_edge_length_ratio": ("dist_penalty_weight", 0),
        "crop_batch_size": FUSED_GRAPH,
        "anchor_part": CENTROID_MODEL,
    }


@pytest.mark.parametrize("name", BESIDE_ANOTHER)
def test_an_option_is_an_error_where_another_takes_its_effect_away(name: str) -> None:
    other, value = BESIDE_ANOTHER[name]
    pipeline = applies_to(OPTIONS[name])[0]
    models = models_of(pipeline)
    taken = {} if value == OPTIONS[other].default else {other: value}
    with pytest.raises(OptionError, match=f"'{name}' has no effect with {other}={value!r}"):
        read_options(models, pipeline, {name: other_value(name), **taken})
    with pytest.raises(OptionError, match="Leave it out"):
        read_options(models, pipeline, {name: OPTIONS[name].default, **taken})
    assert read_options(models, pipeline, taken) is not None
    gives_effect = {other: other_value(other)} if not taken else {}
    assert read_options(models, pipeline, {name: other_value(name), **gives_effect}) is not None


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - READING))
def test_every_option_changes_the_settings(name: str) -> None:
    pipeline = applies_to(OPTIONS[name])[0]
    models = models_of(pipeline)
    beside = {}
    if name in BESIDE_ANOTHER and BESIDE_ANOTHER[name][1] == OPTIONS[BESIDE_ANOTHER[name][0]].default:
        beside = {BESIDE_ANOTHER[name][0]: other_value(BESIDE_ANOTHER[name][0])}
    plain = resolve(models, read_options(models, pipeline, beside))
    changed = resolve(models, read_options(models, pipeline, {**beside, name: other_value(name)}))
    assert changed != plain


@pytest.mark.parametrize("second", ["centered_instance", "multi_class_topdown"])
def test_an_anchor_has_no_effect_with_a_centroid_model(second: str) -> None:
    models, pipeline = [spec("centroid"), spec(second)], "topdown" if second == "centered_instance" else second
    with pytest.raises(OptionError, match=r"'anchor_part' has no effect"):
        read_options(models, pipeline, {"anchor_part": "b"})
    assert read_options([spec(second)], second, {"anchor_part": "b"}).preprocess.anchor_part == "b"


@pytest.mark.parametrize("kind", [row.name for row in KINDS.values() if row.is_fused])
def test_crops_of_a_fused_graph_have_no_batch_size(kind: str) -> None:
    fused = spec(kind)
    pipeline = fused.row.pipeline or kind
    with pytest.raises(OptionError, match="'crop_batch_size' has no effect with both models in one graph"):
        read_options([fused], pipeline, {"crop_batch_size": 2})
    if "anchor_part" in [name for name in OPTIONS if pipeline in applies_to(OPTIONS[name])]:
        with pytest.raises(OptionError, match="'anchor_part' has no effect"):
            read_options([fused], pipeline, {"anchor_part": "a"})


def test_predictors_check_it(models: Path) -> None:
    with pytest.raises(OptionError, match="'integral_patch_size' has no effect with refinement='none'"):
        Predictor.from_model_paths(models / "bottomup", device="cpu", refinement="none", integral_patch_size=7)


def test_all_options_with_an_effect_go_together() -> None:
    given = {name: other_value(name) for name in OPTIONS if "bottomup" in applies_to(OPTIONS[name])}
    given |= {"refinement": "integral", "ensure_rgb": False}
    found = read_options([spec("bottomup")], "bottomup", given)
    assert attrs.asdict(found.filters)["overlap_method"] == given["overlap_method"]
