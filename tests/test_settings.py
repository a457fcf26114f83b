"""What the user said, what the models say, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sleap_infer.config.options import InferenceOptions
from sleap_infer.errors import ModelCombinationError, ModelConfigError, OptionError
from sleap_infer.model.settings import in_order, pipeline_kind, resolve
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, TrainedPreprocessing, UNetSpec


def spec(kind: str, **preprocessing: object) -> ModelSpec:
    return ModelSpec(
        kind=kind,
        skeleton=SkeletonSpec(("a", "b"), (("a", "b"),)),
        backbone=UNetSpec(max_stride=16 if kind == "centroid" else 8),
        heads=(),
        preprocessing=TrainedPreprocessing(**preprocessing),  # type: ignore[arg-type]
        path=Path(kind),
    )


CENTROID = spec("centroid", max_height=100, max_width=200, scale=0.5, ensure_grayscale=True)
CENTERED = spec("centered_instance", max_height=700, scale=0.25, crop_size=64, ensure_rgb=False)


def options(**given: object) -> InferenceOptions:
    return InferenceOptions.from_names(given)


def test_top_down_takes_frames_from_the_centroid_model_and_the_rest_from_each() -> None:
    settled = resolve([CENTROID, CENTERED], options())
    first, second = settled.stages
    assert settled.kind == "topdown"
    assert (first.images.max_height, first.images.max_width) == (100, 200)
    assert (first.images.input_scaling, second.images.input_scaling) == (0.5, 0.25)
    assert (first.images.pad_to_stride, second.images.pad_to_stride) == (16, 8)
    assert first.images.ensure_grayscale
    assert not second.images.ensure_grayscale
    assert second.images.max_height is None
    assert (first.crop_size, second.crop_size) == (None, 64)
    assert settled.frames.max_height == 100


def test_gaps_are_filled_from_the_second_model() -> None:
    settled = resolve([attrs.evolve(CENTROID, preprocessing=TrainedPreprocessing()), CENTERED], options())
    assert settled.frames.max_height == 700
    assert settled.stages[0].images.input_scaling == 1.0


def test_what_the_user_says_wins_also_when_it_is_no() -> None:
    settled = resolve(
        [CENTROID, CENTERED], options(ensure_grayscale=False, input_scaling=2.0, crop_size=32, max_width=9)
    )
    assert not settled.frames.ensure_grayscale
    assert [stage.images.input_scaling for stage in settled.stages] == [2.0, 2.0]
    assert settled.stages[1].crop_size == 32
    assert settled.frames.max_width == 9


@pytest.mark.parametrize(("given", "expected"), [(0.3, (0.3, 0.3)), ((0.3, 0.1), (0.3, 0.1)), ([1, 0], (1.0, 0.0))])
def test_each_stage_has_its_threshold(given: object, expected: tuple[float, float]) -> None:
    settled = resolve([CENTROID, CENTERED], options(peak_threshold=given))
    assert tuple(stage.peak_threshold for stage in settled.stages) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["bottomup"], "bottomup"),
        (["centroid"], "centroid"),
        (["centered_instance", "centroid"], "topdown"),
        (["centroid", "multi_class_topdown"], "multi_class_topdown"),
    ],
)
def test_models_make_a_pipeline(kinds: list[str], expected: str) -> None:
    assert pipeline_kind(in_order([spec(kind) for kind in kinds])) == expected


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([], "none"),
        (["centroid", "centroid"], "two models are of one kind, centroid"),
        (["bottomup", "centroid"], "do not make a pipeline"),
        (["centroid", "centered_instance", "bottomup"], "do not make a pipeline"),
    ],
)
def test_models_that_do_not_go_together(kinds: list[str], found: str) -> None:
    with pytest.raises(ModelCombinationError, match=f"(?i){found}"):
        pipeline_kind(in_order([spec(kind) for kind in kinds]))


def test_a_crop_size_is_needed() -> None:
    with pytest.raises(ModelConfigError, match="crop_size"):
        resolve([spec("centered_instance")], options())


@pytest.mark.parametrize("given", [{"ensure_rgb": True, "ensure_grayscale": True}])
def test_rgb_and_gray_exclude_each_other(given: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="exclude each other"):
        resolve([spec("bottomup")], options(**given))
    with pytest.raises(ModelConfigError, match="Turn one of them off"):
        resolve([spec("bottomup", ensure_rgb=True, ensure_grayscale=True)], options())


def test_the_anchor_is_a_node() -> None:
    with pytest.raises(OptionError, match="'c' is not a node of the skeleton: a, b"):
        resolve([CENTERED], options(anchor_part="c"))
    with pytest.raises(ModelConfigError, match="centered_instance: anchor_part 'd'"):
        resolve([attrs.evolve(CENTERED, anchor_part="d")], options())


@pytest.mark.parametrize(
    ("given", "kind", "found"),
    [
        ({"peak_treshold": 0.1}, None, "Did you mean 'peak_threshold'"),
        ({"n_points": 3}, "centroid", "no effect on a centroid model"),
        ({"peak_threshold": "high"}, None, "'peak_threshold' cannot be 'high'"),
        ({"peak_threshold": (1, 2, 3)}, None, "peak_threshold"),
        ({"refinement": "local"}, None, "'integral' or 'none'"),
        ({"max_instances": 0}, None, "max_instances"),
        ({"max_instances": 1.5}, None, "a whole number"),
        ({"max_instances": True}, None, "a whole number"),
        ({"input_scaling": -1}, None, "input_scaling"),
        ({"min_instance_peaks": 1.5}, None, "share from 0 to 1"),
        ({"return_confmaps": 1}, None, "True or False"),
    ],
)
def test_options_that_are_refused(given: dict[str, object], kind: str | None, found: str) -> None:
    with pytest.raises(OptionError, match=found):
        InferenceOptions.from_names(given, kind)  # type: ignore[arg-type]


def test_options_by_name_and_back() -> None:
    chosen = options(peak_threshold=0.5, min_visible_nodes=2, max_instances=None)
    assert chosen.peaks.peak_threshold == 0.5
    assert chosen.filters.min_visible_nodes == 2
    assert InferenceOptions.from_names(chosen.as_names()) == chosen
