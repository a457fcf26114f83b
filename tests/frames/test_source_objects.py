"""Sources that are objects: arrays, tensors, described videos, lists."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import EmptySourceError, FrameSelectionError, ImageError, SourceFormatError
from sleap_infer.frames import open_source
from sleap_infer.frames.arrays import as_batches, as_video


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        ((5, 7), (1, 1, 5, 7)),
        ((5, 7, 1), (1, 1, 5, 7)),
        ((5, 7, 3), (1, 3, 5, 7)),
        ((1, 5, 7), (1, 1, 5, 7)),
        ((4, 5, 7), (4, 1, 5, 7)),
        ((2, 5, 7, 1), (2, 1, 5, 7)),
        ((2, 5, 7, 3), (2, 3, 5, 7)),
        ((2, 1, 5, 7), (2, 1, 5, 7)),
        ((2, 3, 5, 7), (2, 3, 5, 7)),
    ],
)
def test_shapes_of_images(shape, batch):
    image = ramp(*shape)
    (found,) = as_batches(image)
    assert found.shape == batch
    assert found.dtype == np.uint8
    expected = image.transpose(2, 0, 1) if shape[-1] in (1, 3) and len(shape) == 3 else image
    expected = expected.transpose(0, 3, 1, 2) if shape[-1] in (1, 3) and len(shape) == 4 else expected
    assert np.array_equal(found, expected.reshape(batch))
    assert np.shares_memory(found, image)


@pytest.mark.parametrize(
    ("shape", "video"),
    [
        ((3, 5, 7), (3, 1, 5, 7)),
        ((1, 5, 7), (1, 1, 5, 7)),
        ((9, 5, 7), (9, 1, 5, 7)),
        ((9, 5, 7, 3), (9, 3, 5, 7)),
        ((9, 3, 5, 7), (9, 3, 5, 7)),
    ],
)
def test_shapes_of_a_video(shape, video):
    assert as_video(ramp(*shape)).shape == video


def test_an_array_is_a_video(read, same):
    frames = ramp(6, 8, 10, 3)
    source = open_source(frames)
    assert source.n_frames == 6
    assert source.videos()[0].shape == (6, 8, 10, 3)
    same([image for _, image in read(source)], list(frames))
    same([image for _, image in read(open_source(frames, [4, 1]))], [frames[1], frames[4]])
    with pytest.raises(FrameSelectionError, match=r"Frame 6 .* frames 0 to 5"):
        open_source(frames, [6])


def test_a_tensor_is_read_as_its_array_is(read, same):
    torch = pytest.importorskip("torch")
    frames = ramp(4, 1, 8, 10)
    same([image for _, image in read(open_source(torch.from_numpy(frames)))], list(frames.transpose(0, 2, 3, 1)))
    (batch,) = as_batches(torch.from_numpy(frames).float().requires_grad_() / 255)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch * 255, frames, rtol=1e-6)


def test_a_tensor_of_a_type_that_numpy_lacks_is_read(read):
    torch = pytest.importorskip("torch")
    (batch,) = as_batches(torch.full((2, 3, 5, 7), 0.5, dtype=torch.bfloat16))
    assert (batch.dtype, batch.shape, float(batch.max())) == (np.float32, (2, 3, 5, 7), 0.5)


def test_floats_are_brought_to_the_unit_range_together():
    dark, bright = np.full((5, 7), 0.5), np.full((5, 7), 200.0)
    (batch,) = as_batches([dark, bright])
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[:, 0, 0, 0], [0.5 / 255, 200 / 255], rtol=1e-6)
    assert as_batches(dark)[0].max() == np.float32(0.5)
    assert as_batches(np.ones((5, 7), np.float64))[0].max() == 1


def test_images_of_one_form_share_a_batch():
    images = [ramp(5, 7), ramp(5, 7), ramp(6, 7), ramp(5, 7), ramp(5, 7) / 255]
    assert [batch.shape[0] for batch in as_batches(images)] == [2, 1, 1, 1]
    assert [batch.shape for batch in as_batches({"image": ramp(5, 7)})] == [(1, 1, 5, 7)]


def test_reversed_arrays_are_read():
    image = ramp(5, 7, 3)
    assert np.array_equal(as_batches(image[:, ::-1])[0][0], image[:, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.zeros((5, 7, 4), np.uint8)[None], "alpha channel"),
        (np.zeros((5, 7, 4), np.uint8), r"alpha channel.*image\[\.\.\., :3\]"),
        (np.zeros((3, 5, 7), np.uint8), "three gray images or one image"),
        (np.full((5, 7), 1e300), "infinite"),
        (np.zeros((5, 7), np.complex64), "found complex64"),
        (np.array([["a"]]), "found <U1"),
        ([[1, 2], [3]], "found list"),
        (np.zeros((5, 7), np.uint16), "uint16.*Convert"),
        (np.zeros((5, 7), bool), "bool"),
        (np.full((5, 7), np.nan), "NaN"),
        (np.full((5, 7), np.inf), "infinite"),
        (np.zeros((0, 5, 7), np.uint8), "empty"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((1, 1, 5, 7, 3), np.uint8), r"shape \(1, 1, 5, 7, 3\)"),
        ([], "empty list"),
        ({"picture": 1}, "needs the key 'image', found"),
        (["image.png"], "found str"),
        (None, "found NoneType"),
    ],
)
def test_what_is_not_an_image_is_an_error(value, says):
    with pytest.raises(ImageError, match=says):
        as_batches(value)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((5, 7, 4), np.uint8),
        np.zeros((2, 5, 7, 4), np.uint8),
        np.zeros((2, 5, 7), np.int32),
        np.full((2, 5, 7), np.nan),
        np.zeros((0, 5, 7)),
    ],
)
def test_an_array_that_is_not_a_video_is_an_error(value):
    with pytest.raises(ImageError):
        open_source(value)


@pytest.mark.parametrize("grayscale", [None, True, False])
def test_a_described_video_keeps_its_channels(videos, read, same, grayscale):
    for name in ("two_flies", "two_flies_rgb"):
        video = sio.load_video(videos / f"{name}.mp4", grayscale=grayscale)
        expected = [video[n] for n in (0, 7)]
        source = open_source(video, [0, 7])
        assert source.videos() == {0: video}
        same([image for _, image in read(source)], expected)


def test_a_described_part_of_a_video_is_cropped(videos, read, same):
    video = sio.load_video(videos / "two_flies_rgb.mp4")
    cropped = video.crop((10, 20, 70, 60))
    expected = [video[n][20:60, 10:70] for n in (0, 7)]
    same([image for _, image in read(open_source(cropped, [0, 7]))], expected)


def test_described_datasets_are_read(tmp_path, read, same):
    h5py = pytest.importorskip("h5py")
    frames = ramp(4, 8, 10, 1)
    with h5py.File(tmp_path / "video.h5", "w") as file:
        file["box"] = frames
        file["deep"] = frames.astype(np.uint16)
    video = sio.load_video(tmp_path / "video.h5", dataset="box", input_format="channels_last")
    same([image for _, image in read(open_source(video))], list(frames))
    deep = sio.load_video(tmp_path / "video.h5", dataset="deep", input_format="channels_last")
    with pytest.raises(SourceFormatError, match=r"holds uint16 values.*convert it to 8 bits"):
        open_source(deep)


@pytest.mark.parametrize("suffix", [".h5", ".nwb", ".seq"])
def test_a_broken_container_is_said_to_be_one(tmp_path, suffix):
    (tmp_path / f"video{suffix}").write_bytes(b"nonsense" * 100)
    with pytest.raises(SourceFormatError, match="cannot be read as a video"):
        open_source(tmp_path / f"video{suffix}")


def test_a_list_is_as_many_videos(videos, read):
    described = sio.load_video(videos / "one_fly.mp4")
    source = open_source(
        [videos / "two_flies.mp4", str(videos / "two_flies_rgb.mp4"), described, ramp(5, 8, 10)], [1, 3]
    )
    assert source.name.endswith("two_flies.mp4 and 3 more")
    assert source.n_frames == 8
    assert [(ref.video_idx, ref.frame_idx) for ref, _ in read(source)] == [(v, n) for v in range(4) for n in (1, 3)]


def test_an_opened_source_is_given_back(videos):
    with open_source(videos / "one_fly.mp4") as source:
        assert open_source(source) is source
        with pytest.raises(FrameSelectionError, match="opened already"):
            open_source(source, [1])


@pytest.mark.parametrize("value", [None, 5, {"a": 1}, object(), b"video.mp4", [[1]], io.BytesIO(b"video")])
def test_what_is_not_a_source_is_an_error(value):
    with pytest.raises(SourceFormatError, match=r"is not a source of frames\. Give a path"):
        open_source(value)


def test_an_empty_list_is_empty():
    with pytest.raises(EmptySourceError, match="empty list"):
        open_source([])


@pytest.mark.parametrize("name", ["video.webm", "video.ts"])
def test_videos_that_sleap_io_does_not_open_are_described_nevertheless(tmp_path, encode, name):
    path = encode(tmp_path / name, 30, "libx264" if name.endswith(".ts") else "libvpx")
    video = open_source(path).videos()[0]
    sio.Labels(videos=[video]).save(str(tmp_path / "labels.slp"), verbose=False)
    assert sio.load_slp(tmp_path / "labels.slp").videos[0].filename.endswith(name)
