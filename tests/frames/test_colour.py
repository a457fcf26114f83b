"""Colour or gray: one frame that cannot show it decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import pytest
import sleap_io as sio
from numpy.typing import NDArray

from sleap_infer.frames import open_source
from sleap_infer.frames.pixels.colour import N_LOOKS, settle, shows_gray, spread

N_FRAMES, HEIGHT, WIDTH = 12, 48, 64


def flat(*rgb: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), rgb, np.uint8)


def with_text() -> NDArray[np.uint8]:
    """White letters on black, as in front of many videos."""
    image = flat(0, 0, 0)
    image[20:24, 20:40] = 255
    image[24, 20:40] = 120
    return image


UNDECIDED = {
    "black": flat(0, 0, 0),
    "white": flat(255, 255, 255),
    "gray": flat(128, 128, 128),
    "green": flat(0, 135, 0),  # what decoders make of missing data; red and blue are equal in it
    "letters": with_text(),
}


def make_frames(first: NDArray[np.uint8], draw: Any) -> NDArray[np.uint8]:
    return np.stack([first, *(draw(frame_idx) for frame_idx in range(1, N_FRAMES))])


def as_video(path: Path, frames: NDArray[np.uint8]) -> Path:
    """Without loss of colour: FFV1 in RGB."""
    path = path / "video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


def as_folder(path: Path, frames: NDArray[np.uint8]) -> Path:
    folder = path / "images"
    folder.mkdir()
    for number, image in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return folder


def as_stack(path: Path, frames: NDArray[np.uint8]) -> Path:
    cv2.imwritemulti(str(path / "stack.tif"), [image[..., ::-1] for image in frames])
    return path / "stack.tif"


def as_hdf5(path: Path, frames: NDArray[np.uint8]) -> Path:
    with h5py.File(path / "video.h5", "w") as file:
        file["images"] = frames
    return path / "video.h5"


def as_described(path: Path, frames: NDArray[np.uint8]) -> sio.Video:
    """sleap-io has found out that it is gray, from the first frame."""
    video = sio.load_video(str(as_video(path, frames)))
    assert video.shape[3] in (1, 3)
    return video


def as_described_images(path: Path, frames: NDArray[np.uint8]) -> sio.Video:
    folder = as_folder(path, frames)
    video = sio.load_video([str(folder / f"{number}.png") for number in range(len(frames))])
    assert video.shape[3] in (1, 3)
    return video


def as_package(path: Path, frames: NDArray[np.uint8]) -> sio.Labels:
    """Frames that are embedded in labels."""
    video = sio.load_video(str(as_video(path, frames)), grayscale=False)
    skeleton = sio.Skeleton(["a"])
    instances = [sio.Instance.from_numpy(np.zeros((1, 2)), skeleton) for _ in frames]
    labelled = [
        sio.LabeledFrame(video=video, frame_idx=n, instances=[instance]) for n, instance in enumerate(instances)
    ]
    sio.Labels(labelled, [video], [skeleton]).save(str(path / "labels.pkg.slp"), embed="all")
    labels = sio.load_slp(str(path / "labels.pkg.slp"))
    labels.videos[0].grayscale = None
    return labels


SOURCES: dict[str, Callable[[Path, NDArray[np.uint8]], Any]] = {
    "video": as_video,
    "folder": as_folder,
    "stack": as_stack,
    "hdf5": as_hdf5,
    "sio.Video": as_described,
    "sio.Video of images": as_described_images,
    "embedded": as_package,
    "array": lambda _, frames: frames,
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("first", UNDECIDED)
def test_a_frame_that_shows_nothing_does_not_make_a_video_gray(kind, first, tmp_path, draw, read):
    frames = make_frames(UNDECIDED[first], draw)
    source = SOURCES[kind](tmp_path, frames)
    found = [image for _, image in read(open_source(source))]
    assert len(found) == N_FRAMES
    for image, expected in zip(found[1:], frames[1:], strict=True):
        assert np.array_equal(image, expected)
    assert np.array_equal(np.broadcast_to(found[0], frames[0].shape), frames[0])


@pytest.mark.parametrize("kind", SOURCES)
def test_models_with_three_channels_read_colour_whatever_comes_first(kind, tmp_path, draw, read):
    """Gray for most of the time, where no look falls on the frames in colour."""
    frames = np.stack([draw(number, gray=number not in (4, 5)) for number in range(40)])
    assert not {4, 5} & set(spread(40))
    source = open_source(SOURCES[kind](tmp_path, frames)).in_colour()
    found = [image for _, image in read(source)]
    for image, expected in zip(found, frames, strict=True):
        assert np.array_equal(np.broadcast_to(image, expected.shape), expected)


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "array"])
def test_gray_videos_give_one_channel(kind, tmp_path, draw, read):
    frames = np.stack([UNDECIDED["black"], *(draw(number, gray=True) for number in range(1, N_FRAMES))])
    found = [image for _, image in read(open_source(SOURCES[kind](tmp_path, frames)))]
    assert {image.shape[2] for image in found} == {1}
    assert all(np.array_equal(image[..., 0], expected[..., 0]) for image, expected in zip(found, frames, strict=True))


def test_the_first_frame_decides_where_it_can():
    gray = np.repeat(np.linspace(20, 200, 64, dtype=np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    colour = gray * np.uint8([1, 0, 1])
    black = np.zeros_like(gray)
    assert shows_gray(gray) is True
    assert shows_gray(colour) is False  # red and blue are equal, and green is not
    assert [shows_gray(image) for image in UNDECIDED.values()] == [None] * len(UNDECIDED)
    assert settle(iter([gray, colour])) is True
    assert settle(iter([colour, gray]), stated=True) is True  # somebody wants it gray
    assert settle(iter([black, gray, colour]), stated=True) is False  # sleap-io saw the first frame only
    assert settle(iter([black, gray])) is True
    assert settle(iter([black] * 5)) is True
    assert settle(iter([])) is False


def test_no_more_frames_are_looked_at_than_needed():
    n_read = []

    def looks(first):
        yield first
        for number in range(100):
            n_read.append(number)
            yield np.zeros_like(first)

    settle(looks(UNDECIDED["black"]))
    assert len(n_read) == N_LOOKS


def test_the_cases(cases, read):
    """Both videos hold the same frames from index 1 on, encoded apart."""
    plain, black = (
        [image for _, image in read(open_source(cases / name))]
        for name in ("colour_plain.mp4", "colour_with_black_first_frame.mp4")
    )
    assert {image.shape[2] for image in (*plain, *black)} == {3}
    differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(plain[1:], black[1:], strict=True)]
    assert max(differences) < 2


@pytest.mark.parametrize("described", [False, True])
def test_the_cases_give_the_same_poses(cases, models, described):
    """Apart from what the second encoding changed, a black first frame changes no pose of a model with 3 channels."""
    pytest.importorskip("torch")
    from sleap_infer import Predictor

    def poses(name: str) -> NDArray[np.float32]:
        source: Any = str(cases / name)
        if described:
            source = sio.load_video(source)
            assert source.shape is not None  # now sleap-io has decided on the first frame
        found = predictor.predict(source, as_labels=False, frames=range(1, 13))
        return np.stack([outputs.pred_keypoints for outputs in found])

    with Predictor.from_model_paths(models / "single_instance", backend="torch") as predictor:
        expected, found = poses("colour_plain.mp4"), poses("colour_with_black_first_frame.mp4")
    assert np.median(np.abs(found - expected)) < 0.1
    assert np.mean(np.abs(found - expected)) < 1


def test_a_played_file_gives_colour_to_models_that_need_it(tmp_path, draw):
    from sleap_infer.frames.live.source import open_live

    frames = np.stack([draw(number, gray=number not in (4, 5)) for number in range(40)])
    with open_live(as_video(tmp_path, frames)) as source:
        assert source.first.shape == (HEIGHT, WIDTH, 1)
        source.in_colour()
        assert source.first.shape == (HEIGHT, WIDTH, 3)
        shapes = {frame.image.shape for frame in source}
    assert shapes == {(HEIGHT, WIDTH, 3)}
