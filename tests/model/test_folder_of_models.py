"""A folder that holds models, in the place of a model: the error lists them and gives the right options."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from tiny_model import tiny_config, write_config

from sleap_infer.errors import ModelNotFoundError
from sleap_infer.model import find_model_files, read_spec
from sleap_infer.predictors.factory import read_plan


def folder_of(place: Path, *kinds: str, below: str = "") -> Path:
    place.mkdir()
    for kind in kinds:
        (place / below / f"run {kind}").mkdir(parents=True)
        write_config(place / below / f"run {kind}", tiny_config(kind))
        (place / below / f"run {kind}" / "best.ckpt").touch()
    return place


@pytest.mark.parametrize("below", ["", "2026"])
@pytest.mark.parametrize(
    ("kinds", "meant"),
    [
        (("bottomup",), ("bottomup",)),
        (("centered_instance", "centroid"), ("centroid", "centered_instance")),
        (("multi_class_topdown", "centroid", "bottomup"), ("centroid", "multi_class_topdown")),
        (("single_instance", "bottomup"), ("bottomup",)),
    ],
    ids=str,
)
def test_the_models_in_a_folder_are_named(
    tmp_path: Path, kinds: tuple[str, ...], meant: tuple[str, ...], below: str
) -> None:
    folder = folder_of(tmp_path / "all models", *kinds, below=below)
    for read in (read_spec, find_model_files, lambda path: read_plan([path], {})):
        with pytest.raises(ModelNotFoundError, match="Did you mean: -m ") as caught:
            read(folder)
    message = str(caught.value)
    for kind in kinds:
        assert f"run {kind} ({kind})" in message
    words = shlex.split(message.partition("Did you mean: ")[2])
    assert words == [word for kind in meant for word in ("-m", str(folder / below / f"run {kind}"))]
    assert len(read_plan(words[1::2], {}).specs) == len(meant)


def test_a_model_that_cannot_be_read_is_listed_too(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "models", "bottomup", "centroid")
    (folder / "run bottomup" / "training_config.yaml").write_text("nothing")
    with pytest.raises(ModelNotFoundError, match=r"run bottomup \(cannot be read\).*-m .*run centroid'$"):
        read_spec(folder)


def test_many_models(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "models", "bottomup")
    for number in range(20):
        shutil.copytree(folder / "run bottomup", folder / f"run {number:02}")
    with pytest.raises(ModelNotFoundError, match=r"a folder of 21 models.* and 13 more"):
        read_spec(folder)


def test_a_folder_without_models(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"expected training_config\.yaml") as caught:
        read_spec(tmp_path)
    assert "Did you mean" not in str(caught.value)
