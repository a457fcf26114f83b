"""Frames in HDF5 files: which shapes, types and datasets are read, and what is refused with a clear message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import EmptySourceError, OptionError, SleapInferError, SourceFormatError
from sleap_infer.frames import open_source


@pytest.fixture
def frames() -> np.ndarray:
    """(N, H, W, C), all sides unlike."""
    return np.random.default_rng(0).integers(0, 256, (5, 24, 40, 3), np.uint8)


def write(folder: Path, name: str = "video.h5", **datasets: Any) -> Path:
    with h5py.File(folder / name, "w") as file:
        for key, values in datasets.items():
            file.create_dataset(key.replace("__", "/"), data=values)
    return folder / name


def pictures(read: Any, source: Any, **options: Any) -> np.ndarray:
    found = read(open_source(source, **options))
    assert [ref.failure for ref, _ in found] == [None] * len(found)
    return np.stack([image for _, image in found])


FORMS = {
    "(N, H, W, 1)": (lambda a: a[..., :1], lambda a: a[..., :1]),
    "(N, H, W, 3)": (lambda a: a, lambda a: a),
    "(N, H, W, 4)": (lambda a: np.concatenate([a, a[..., :1]], 3), lambda a: a),
    "(N, 1, H, W)": (lambda a: a[..., :1].transpose(0, 3, 1, 2), lambda a: a[..., :1]),
    "(N, 3, H, W)": (lambda a: a.transpose(0, 3, 1, 2), lambda a: a),
    "(N, 4, H, W)": (lambda a: np.concatenate([a, a[..., :1]], 3).transpose(0, 3, 1, 2), lambda a: a),
    "(N, H, W)": (lambda a: a[..., 0], lambda a: a[..., :1]),
    "(H, W, 3)": (lambda a: a[0], lambda a: a[:1]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("named", [False, True])
def test_every_shape_that_holds_images_is_read(form, named, frames, tmp_path, read):
    store, expected = FORMS[form]
    others = {"other": frames} if named else {"times": np.arange(5.0), "points": np.zeros((5, 13, 2))}
    path = write(tmp_path, images=store(frames), **others)
    found = pictures(read, path, dataset="images") if named else pictures(read, path)
    assert np.array_equal(found, expected(frames))


@pytest.mark.parametrize(
    "shape", [(5, 24, 40, 2), (5, 5, 24, 40), (5, 24, 40, 5), (24,), (5, 24), (5, 0, 40), (2, 5, 24, 40, 3)]
)
@pytest.mark.parametrize("dataset", [None, "images"])
def test_shapes_that_hold_no_images_are_refused(shape, dataset, tmp_path):
    path = write(tmp_path, images=np.zeros(shape, np.uint8))
    with pytest.raises(SourceFormatError, match=r"(?s)images.*\(.*Expected|frames of a video.*images \("):
        open_source(path, dataset=dataset)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int8, bool, np.complex64])
def test_numbers_that_are_no_pixels_are_refused_when_opened(dtype, frames, tmp_path):
    path = write(tmp_path, images=frames.astype(dtype))
    with pytest.raises(SourceFormatError, match=np.dtype(dtype).name):
        open_source(path)
    with pytest.raises(SourceFormatError, match="convert it to 8 bits"):
        open_source(path, dataset="images")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("top", [1, 255])
def test_floats_have_one_scale_for_the_whole_file(dtype, top, frames, tmp_path, read):
    """A dark frame of a video from 0 to 255 is dark, though its values are below 1."""
    frames[0] = 0
    frames[1] = np.random.default_rng(1).integers(0, 2, frames[1].shape)
    frames[2] = 255
    path = write(tmp_path, images=frames.astype(dtype) * (top / 255))
    found = pictures(read, path)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * 255, frames, atol=0.2 if dtype == np.float16 else 1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("top", [1.004, 1.02, 1.9])
def test_floats_a_little_above_one_are_not_black(dtype, top, frames, tmp_path, read):
    """Images from 0 to 1 that a filter has made brighter are not read as 0 to 255, which shows nothing at all."""
    images = (frames / 255).astype(dtype)
    images[len(images) // 2] *= dtype(top) / images[len(images) // 2].max()
    found = read(open_source(write(tmp_path, images=images)))
    assert len(found) == len(frames)
    assert all("Clip the values" in ref.failure for ref, _ in found)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 300.0])
def test_floats_that_are_no_pixels_fail_alone(value, frames, tmp_path, read):
    images = frames / 255
    images[3, 1, 1, 1] = value
    found = read(open_source(write(tmp_path, images=images)))
    assert [ref.frame_idx for ref, _ in found if ref.failure] == [3]
    assert "floats" in found[3][0].failure or "NaN" in found[3][0].failure


@pytest.mark.parametrize("shape", [(5, 3, 40, 1), (5, 1, 40, 3), (5, 3, 3, 3), (5, 1, 4000, 1)])
def test_shapes_that_can_be_read_in_two_ways_are_asked_for(shape, tmp_path, read):
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = write(tmp_path, images=values)
    with pytest.raises(SourceFormatError, match="--channels-first or --channels-last"):
        open_source(path)
    assert np.array_equal(pictures(read, open_source(path, channels_first=False).in_colour())[..., :1], values[..., :1])
    first = pictures(read, open_source(path, channels_first=True).in_colour())
    assert np.array_equal(first[..., :1], values.transpose(0, 2, 3, 1)[..., :1])


def test_several_datasets_are_listed_and_one_is_named(frames, tmp_path, read):
    path = write(tmp_path, a=frames, group__b=frames[:3, ..., 0])
    with pytest.raises(
        SourceFormatError, match=r"2 datasets.*a \(5, 24, 40, 3\) uint8, group/b \(3, 24, 40\).*--dataset"
    ):
        open_source(path)
    assert len(pictures(read, path, dataset="group/b")) == 3
    assert len(pictures(read, path, dataset="a")) == 5
    with pytest.raises(OptionError, match=r"no such dataset. There are: a, group/b"):
        open_source(path, dataset="c")
    with pytest.raises(OptionError, match=r"is a group. It holds: b"):
        open_source(path, dataset="group")


def test_options_without_effect_are_errors(frames, tmp_path, videos):
    path = write(tmp_path, images=frames[..., 0])
    for source in (videos / "one_fly.mp4", frames, sio.load_video(videos / "one_fly.mp4")):
        with pytest.raises(OptionError, match=r"dataset='a' has no effect"):
            open_source(source, dataset="a")
    for value in (True, False):
        with pytest.raises(OptionError, match=r"channels_first=.* has no effect"):
            open_source(videos / "one_fly.mp4", channels_first=value)
        with pytest.raises(OptionError, match="have no effect on images"):
            open_source(path, channels_first=value)
    with pytest.raises(OptionError, match="channels_first=True"):
        open_source(frames, channels_first=True)


def test_arrays_take_the_option_too(read):
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 40, 1), np.uint8)
    assert pictures(read, values, channels_first=True).shape == (5, 40, 1, 3)
    assert pictures(read, values, channels_first=False).shape == (5, 3, 40, 1)


def analysis(file: h5py.File) -> None:
    file["tracks"] = np.zeros((3, 2, 13, 100))
    file["track_occupancy"] = np.zeros((100, 3), np.uint8)
    file["node_names"] = np.array([b"a"] * 13)


def keras(file: h5py.File) -> None:
    file.attrs["keras_version"] = "2.7"
    file["model_weights/conv/conv/kernel:0"] = np.zeros((3, 3, 1, 16), np.float32)
    file["model_weights/conv2/conv/kernel:0"] = np.zeros((32, 32, 3, 64), np.float32)


def labels(file: h5py.File) -> None:
    for name in ("metadata", "frames", "instances", "points"):
        file.create_group(name)
    file["images"] = np.zeros((2, 32, 32, 1), np.uint8)


def pandas(file: h5py.File) -> None:
    file.create_group("df_with_missing").attrs["pandas_type"] = "frame_table"


@pytest.mark.parametrize(
    ("fill", "says"),
    [(analysis, "analysis file"), (keras, "Keras model"), (labels, "Rename it to .slp"), (pandas, "pandas")],
)
def test_other_files_of_the_field_are_recognised(fill, says, tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        fill(file)
    with pytest.raises(SourceFormatError, match=says):
        open_source(tmp_path / "file.h5")


def test_an_empty_dataset_is_empty(tmp_path):
    with pytest.raises(EmptySourceError, match="not a single frame"):
        open_source(write(tmp_path, images=np.zeros((0, 24, 40, 1), np.uint8)))


def link(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink(write(path.parent, "secret.h5", images=frames), "images")


def link_of_group(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["group"] = h5py.ExternalLink(write(path.parent, "secret.h5", images=frames), "/")
        file["images"] = h5py.SoftLink("/group/images")


def link_behind_a_link(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["group/images"] = h5py.ExternalLink(write(path.parent, "secret.h5", images=frames), "images")
        file["soft"] = h5py.SoftLink("group")
        file["images"] = h5py.SoftLink("soft/images")


def raw_storage(path: Path, frames: np.ndarray) -> None:
    (path.parent / "secret.raw").write_bytes(frames.tobytes())
    with h5py.File(path, "w") as file:
        external = [(str(path.parent / "secret.raw"), 0, frames.nbytes)]
        file.create_dataset("images", frames.shape, frames.dtype, external=external)


def virtual(path: Path, frames: np.ndarray) -> None:
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    layout[:] = h5py.VirtualSource(write(path.parent, "secret.h5", images=frames), "images", frames.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("images", layout)


OUTSIDE = [link, link_of_group, link_behind_a_link, raw_storage, virtual]


@pytest.mark.parametrize("refer", OUTSIDE)
@pytest.mark.parametrize("dataset", [None, "images"])
def test_nothing_outside_of_the_file_is_read(refer, dataset, frames, tmp_path):
    refer(tmp_path / "video.h5", frames)
    with pytest.raises(SourceFormatError, match=r"not followed|not read"):
        open_source(tmp_path / "video.h5", dataset=dataset)


@pytest.mark.parametrize("refer", OUTSIDE)
def test_nothing_outside_of_a_label_file_is_read(refer, frames, tmp_path):
    refer(tmp_path / "labels.slp", frames)
    with pytest.raises(SourceFormatError, match=r"not followed|not read"):
        open_source(tmp_path / "labels.slp")


def test_links_in_a_circle_lead_nowhere(tmp_path):
    with h5py.File(tmp_path / "video.h5", "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
    with pytest.raises(SleapInferError, match="no such dataset"):
        open_source(tmp_path / "video.h5", dataset="a")


def test_links_inside_of_the_file_are_followed(frames, tmp_path, read):
    path = write(tmp_path, a__images=frames)
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/a")
    assert np.array_equal(pictures(read, path, dataset="soft/images"), frames)
    assert np.array_equal(pictures(read, path), frames)


@pytest.mark.parametrize(
    ("shape", "chunks", "says"),
    [
        ((10, 30000, 30000, 1), (1, 1000, 1000, 1), "30000 x 30000 pixels"),
        ((100000, 2000, 2000, 1), (400, 2000, 2000, 1), "chunks of one frame"),
        ((10**9, 64, 64, 1), (1, 64, 64, 1), "no value was ever written"),
    ],
)
def test_small_files_that_claim_much_are_refused(shape, chunks, says, tmp_path):
    with h5py.File(tmp_path / "video.h5", "w") as file:
        dataset = file.create_dataset("images", shape, np.uint8, chunks=chunks, compression="gzip")
        if "written" not in says:
            dataset.id.write_direct_chunk((0, 0, 0, 0), b"x")
    assert (tmp_path / "video.h5").stat().st_size < 100_000
    with pytest.raises(SourceFormatError, match=says):
        open_source(tmp_path / "video.h5")


@pytest.mark.parametrize("name", ["points", "instances", "frames"])
def test_labels_that_claim_much_are_refused(name, tmp_path):
    path = tmp_path / "labels.slp"
    sio.Labels(videos=[], skeletons=[sio.Skeleton(["a"])]).save(str(path), verbose=False)
    with h5py.File(path, "a") as file:
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(name, (10**10,), dtype, chunks=(1000,))
    with pytest.raises(SourceFormatError, match=rf"claims .* GB of {name}"):
        open_source(path)


def test_frames_that_were_never_written_are_no_black_frames(frames, tmp_path, read):
    with h5py.File(tmp_path / "video.h5", "w") as file:
        file.create_dataset("images", (9, *frames.shape[1:]), np.uint8, chunks=(1, *frames.shape[1:]))[:5] = frames
    found = read(open_source(tmp_path / "video.h5"))
    assert [ref.frame_idx for ref, _ in found if ref.failure and "never written" in ref.failure] == [5, 6, 7, 8]


def test_the_description_brings_the_same_frames_back(frames, tmp_path, read):
    """Labels with poses of any form of file can be predicted again."""
    for form, (store, expected) in FORMS.items():
        path = write(tmp_path, images=store(frames))
        video = open_source(path).videos()[0]
        sio.Labels(videos=[video]).save(str(tmp_path / "labels.slp"), verbose=False)
        source = open_source(tmp_path / "labels.slp", "all")
        assert np.array_equal(pictures(read, source), expected(frames)), form


def test_a_file_may_be_described_as_sleap_does(frames, tmp_path, read):
    """SLEAP's channels_first is (N, C, W, H)."""
    path = write(tmp_path, images=frames.transpose(0, 3, 2, 1))
    video = sio.load_video(path, dataset="images", input_format="channels_first")
    assert np.array_equal(pictures(read, video), frames)


def test_the_cases(cases, read):
    first, last = (pictures(read, cases / f"channels_{which}.h5") for which in ("first", "last"))
    assert first.shape == (6, 384, 384, 1)
    assert np.array_equal(first, last)


def test_what_is_no_hdf5_file_or_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "video.h5").write_bytes(b"nonsense" * 100)
    with pytest.raises(SleapInferError, match="cannot be read as a video: it is no HDF5 file"):
        open_source(tmp_path / "video.h5")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(SleapInferError, match=r"Permission denied. Check your rights"):
        open_source(tmp_path / "video.h5")
