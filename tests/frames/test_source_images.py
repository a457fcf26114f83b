"""Frames in image files, and the files that folders and globs stand for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames import open_source
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES


@pytest.fixture
def folder(tmp_path, draw):
    """img1.png to img12.png, in colour."""
    for number in range(1, 13):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), draw(number)[..., ::-1])
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_is_one_video_in_natural_order(folder, draw, read, same):
    source = open_source(folder)
    assert source.n_frames == 12
    found = read(source)
    assert [ref.frame_idx for ref, _ in found] == list(range(12))
    same([image for _, image in found], [draw(number) for number in range(1, 13)])
    assert [name.split("/")[-1] for name in source.videos()[0].filename[:3]] == ["img1.png", "img2.png", "img3.png"]


def test_hidden_files_of_a_folder_are_no_frames(folder):
    (folder / "._img1.png").write_bytes(b"what some systems leave behind")
    assert open_source(folder).n_frames == open_source(f"{folder}/*.png").n_frames == 12


def test_frames_of_a_folder_are_selected_by_index(folder, draw, read, same):
    found = read(open_source(str(folder), [10, 3]))
    same([image for _, image in found], [draw(4), draw(11)])
    with pytest.raises(FrameSelectionError, match=r"Frame 12 .* frames 0 to 11"):
        open_source(folder, [12])


def test_one_image_is_a_video_of_one_frame(folder, draw, read, same):
    same([image for _, image in read(open_source(folder / "img7.png"))], [draw(7)])


def test_a_glob_of_images_is_one_video(folder, draw, read, same):
    source = open_source(f"{folder}/img1*.png")
    assert len(source.parts) == 1
    same([image for _, image in read(source)], [draw(number) for number in (1, 10, 11, 12)])


def test_a_glob_of_videos_is_as_many_videos(videos, read):
    source = open_source(f"{videos}/two_flies*.mp4", [0])
    assert [video.filename.split("/")[-1] for video in source.videos().values()] == [
        "two_flies.mp4",
        "two_flies_large.mp4",
        "two_flies_rgb.mp4",
    ]
    assert [(ref.video_idx, ref.frame_idx) for ref, _ in read(source)] == [(0, 0), (1, 0), (2, 0)]


def test_a_name_that_looks_like_a_glob_is_a_name_first(tmp_path, draw, read, same):
    path = tmp_path / "image[1].png"
    cv2.imwrite(str(path), draw(3)[..., ::-1])
    same([image for _, image in read(open_source(path))], [draw(3)])


def test_what_globs_and_folders_lack_is_said(tmp_path, videos):
    with pytest.raises(SourceNotFoundError, match="Nothing matches"):
        open_source(f"{tmp_path}/*.mp4")
    with pytest.raises(SourceFormatError, match=r"no image and no video, but e\.g\. '.*\.slp'"):
        open_source(f"{videos}/*.slp")
    with pytest.raises(EmptySourceError, match="found: nothing"):
        open_source(tmp_path)
    with pytest.raises(EmptySourceError, match=r"one_fly\.mp4.*give a glob: .*/\*\.mp4"):
        open_source(videos)


def test_an_ending_that_is_not_read_is_an_error_that_lists_those_that_are(folder):
    with pytest.raises(SourceFormatError, match=r"not read \(\.txt\)\. Videos: \.mp4.*images: \.png"):
        open_source(folder / "notes.txt")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_format_is_read(tmp_path, draw, read, suffix):
    cv2.imwrite(str(tmp_path / f"image{suffix}"), draw(5)[..., ::-1])
    ((_, image),) = read(open_source(tmp_path / f"image{suffix}"))
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - draw(5)).mean() < 8


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        (np.full((8, 9), 5, np.uint8), (8, 9, 1)),
        (np.full((8, 9, 3), 5, np.uint8), (8, 9, 1)),
        (np.uint8([[[1, 2, 3]]]).repeat(8, 0), (8, 1, 3)),
        (np.uint8([[[1, 2, 3, 4]]]).repeat(8, 0), (8, 1, 3)),
    ],
    ids=["gray", "gray in three channels", "colour", "colour and alpha"],
)
def test_gray_gives_one_channel_and_alpha_is_left_out(tmp_path, read, pixels, shape):
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    ((_, image),) = read(open_source(tmp_path / "image.png"))
    assert image.shape == shape
    assert image[0, 0].tolist() == ([5] if shape[2] == 1 else [3, 2, 1])


def test_files_that_cannot_be_read_are_failures_at_their_place(folder, draw, read, same):
    cv2.imwrite(str(folder / "img2.png"), np.zeros((48, 64), np.uint16))
    (folder / "img4.png").write_bytes((folder / "img4.png").read_bytes()[:60])
    (folder / "img6.png").write_bytes(b"")
    source = open_source(folder)
    (folder / "img12.png").unlink()
    found = read(source)
    failures = {ref.frame_idx: ref.failure for ref, _ in found if ref.failure}
    assert list(failures) == [1, 3, 5, 11]
    assert "uint16 pixels. Convert it to 8 bits" in failures[1]
    assert "damaged or empty" in failures[3]
    assert "damaged or empty" in failures[5]
    assert "No such file" in failures[11]
    same([image for _, image in found if image is not None], [draw(n) for n in (1, 3, 5, 7, 8, 9, 10, 11)])


def test_sizes_do_not_mix_in_a_batch(folder, draw):
    cv2.imwrite(str(folder / "img3.png"), draw(3, 20, 30)[..., ::-1])
    with open_source(folder) as source:
        batches = list(source.batches(8))
    assert [batch.images.shape for batch in batches] == [(2, 3, 48, 64), (1, 3, 20, 30), (5, 3, 48, 64), (4, 3, 48, 64)]


def test_a_stack_of_pages_is_a_video_and_in_a_folder_a_failure(tmp_path, read):
    pages = [np.full((8, 9), n, np.uint8) for n in range(5)]
    cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    cv2.imwrite(str(tmp_path / "b.tif"), pages[4])
    stack = open_source(tmp_path / "a.tif")
    assert stack.n_frames == 5
    assert [int(image.max()) for _, image in read(stack)] == [0, 1, 2, 3, 4]
    assert [int(image.max()) for _, image in read(open_source(tmp_path / "a.tif", [1, 3]))] == [1, 3]
    assert [int(image.max()) for _, image in read(open_source(stack.videos()[0]))] == [0, 1, 2, 3, 4]
    sio.Labels(videos=list(stack.videos().values())).save(str(tmp_path / "labels.slp"), verbose=False)
    assert sio.load_slp(tmp_path / "labels.slp", open_videos=False).videos[0].filename.endswith("a.tif")
    (first, _), (second, image) = read(open_source(tmp_path))
    assert "5 pages" in first.failure
    assert second.failure is None
    assert image.shape == (8, 9, 1)


@pytest.mark.parametrize(("grayscale", "channels"), [(True, 1), (False, 3), (None, 3)])
def test_a_described_video_of_images_keeps_its_channels(folder, draw, read, grayscale, channels):
    video = sio.load_video([str(folder / f"img{n}.png") for n in (1, 2)], grayscale=grayscale)
    found = read(open_source(video))
    assert [image.shape for _, image in found] == [(48, 64, channels)] * 2
    assert np.array_equal(found[1][1], draw(2)[..., :channels])
