"""Every option that a warning about frames names changes something, for that model and those frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sleap_infer.config.options import option_fields
from sleap_infer.jobs.run.drift import unlike_training

SHAPES = [(height, width, channels) for height in (40, 384, 2000) for width in (40, 384, 3000) for channels in (1, 3)]
FITS = [(None, None), (384, 384), (1024, None), (None, 100)]
CROPS = [None, 160, 4000]


def options_in(text: str) -> list[str]:
    return [name.replace("-", "_") for name in re.findall(r"--([a-z-]+)", text)]


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("crop_size", CROPS)
@pytest.mark.parametrize("fit", FITS)
def test_following_a_warning_ends_it(fit: Any, crop_size: int | None, n_channels: int) -> None:
    """Frames left at their own size, and crops no larger than they are, are nothing unusual."""
    for shape in SHAPES:
        warnings = list(unlike_training(shape, n_channels, fit, crop_size))
        named = {option for text in warnings for option in options_in(text)}
        assert named <= option_fields().keys()
        own_fit = shape[:2] if {"max_height", "max_width"} <= named else fit
        own_crop = min(shape[:2]) if "crop_size" in named else crop_size
        left = list(unlike_training(shape, n_channels, own_fit, own_crop))
        assert not [text for text in left if options_in(text)]


@pytest.mark.parametrize(
    "fixed", [("max_height",), ("max_width", "crop_size"), ("max_height", "max_width", "crop_size")]
)
def test_what_is_fixed_in_a_graph_is_no_hint(fixed: tuple[str, ...]) -> None:
    for shape in SHAPES:
        for text in unlike_training(shape, 1, (384, 384), 4000, fixed):
            if set(options_in(text)) & set(fixed):
                assert "export the model again" in text


@pytest.mark.parametrize("kind", ["centroid", "bottomup", "single_instance"])
def test_options_of_warnings_are_taken_and_change_the_settings(kind: str, models: Path) -> None:
    from sleap_infer.predictors.factory import read_plan

    before = read_plan(models / kind, {}).settings
    for name in ("max_height", "max_width"):
        after = read_plan(models / kind, {name: 100}).settings
        assert getattr(after.frames, name) == 100
        assert after != before
