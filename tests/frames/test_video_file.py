"""Frames of whole video files: the right picture at each index, however it is asked for."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import sleap_io as sio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleap_infer.errors import FrameSelectionError
from sleap_infer.frames import open_source
from sleap_infer.frames.readers import av as video_file
from sleap_infer.frames.readers import seeking

LOSSLESS = {"options": {"qp": "0", "g": "20", "bf": "3", "preset": "veryfast"}}
CONTAINERS = {
    "h264.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.ts": ("libx264", {}),
    "b_frames.avi": ("libx264", {}),  # AVI does not say when a frame is shown
    "fragmented.mp4": ("libx264", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "mjpeg.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}),
    "ten_bits.mov": ("prores", {"pix_fmt": "yuv422p10le"}),
    "program.mpg": ("mpeg2video", {}),  # says it of some frames only
    "hidden.webm": ("libvpx", {"options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20", "b": "200k"}}),
}


def sequence(path: Path) -> list[np.ndarray]:
    """What OpenCV, and thereby sleap-io, reads from start to end, RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(found[1][..., ::-1])
    return frames


@pytest.fixture
def near(monkeypatch):
    """Seeks where a long video would be needed for that."""
    monkeypatch.setattr(video_file, "SEEK_AHEAD", 10)
    monkeypatch.setattr(seeking, "MARGINS", (4, 16))


@pytest.mark.parametrize("name", ["one_fly", "two_flies", "two_flies_large", "two_flies_rgb"])
def test_the_pixels_are_those_of_sleap_io(videos, read, same, name):
    expected = sio.load_video(videos / f"{name}.mp4")
    source = open_source(videos / f"{name}.mp4")
    found = read(source)
    assert source.n_frames == len(expected)
    assert [ref.frame_idx for ref, _ in found] == list(range(len(expected)))
    same([image for _, image in found], [expected[n] for n in range(len(expected))])


def test_the_pixels_of_a_real_video_are_those_of_sleap_io(corpus):
    path = corpus / "videos" / "centered_pair_small.mp4"
    expected = sio.load_video(path)
    with open_source(path) as source:
        assert source.n_frames == len(expected) == 1100
        for batch in source.batches(50):
            assert batch.images.shape == (50, 1, 384, 384)
            first = batch.frames[0].frame_idx
            assert [ref.frame_idx for ref in batch.frames] == list(range(first, first + 50))
            for n, image in zip(range(first, first + 50), batch.images, strict=True):
                assert np.array_equal(image.transpose(1, 2, 0), expected[n]), n


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_frames_of_opencv(tmp_path, encode, read, same, near, name):
    codec, extra = CONTAINERS[name]
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = encode(tmp_path / name, 70, codec, **extra)
    everything = read(open_source(path))
    same([image for _, image in everything], sequence(path))
    for wanted in ([66], [3, 5, 40, 41, 69]):
        found = read(open_source(path, wanted))
        assert [ref.frame_idx for ref, _ in found] == wanted
        same([image for _, image in found], [everything[n][1] for n in wanted])


def test_each_index_has_the_picture_that_was_written(tmp_path, encode, draw, read):
    path = encode(tmp_path / "video.mp4", 50, **LOSSLESS)
    for ref, image in read(open_source(path)):
        error = [np.abs(image.astype(int) - draw(n)).mean() for n in range(50)]
        assert np.argmin(error) == ref.frame_idx


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.integers(0, 199), min_size=1, max_size=6, unique=True))
def test_asking_for_frames_gives_the_same_as_reading_all(b_frames, read, same, near, everything, wanted):
    found = read(open_source(b_frames, wanted))
    assert [ref.frame_idx for ref, _ in found] == sorted(wanted)
    same([image for _, image in found], [everything[n] for n in sorted(wanted)])


@pytest.fixture(scope="module")
def everything(b_frames, read):
    return [image for _, image in read(open_source(b_frames))]


@pytest.mark.parametrize(("name", "codec"), [("joined.ts", "libx264"), ("joined.mpg", "mpeg2video")])
def test_joined_recordings_whose_times_start_anew_keep_their_order(tmp_path, encode, read, same, near, name, codec):
    parts = [encode(tmp_path / f"{n_frames}{name}", n_frames, codec) for n_frames in (40, 30)]
    joined = tmp_path / name
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    expected = sequence(joined)
    assert len(expected) == 70
    found = read(open_source(joined))
    same([image for _, image in found], expected)
    wanted = [38, 41, 66]
    same([image for _, image in read(open_source(joined, wanted))], [expected[n] for n in wanted])


def test_interlaced_frames_are_whole_and_in_order(tmp_path, encode, draw, read):
    options = {"x264-params": "tff=1:keyint=20", "preset": "veryfast", "crf": "10"}
    path = encode(tmp_path / "video.mp4", 20, options=options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    for ref, image in read(open_source(path)):  # OpenCV 5.0 gives memory that was never written
        error = [np.abs(image.astype(int) - draw(n)).mean() for n in range(20)]
        assert np.argmin(error) == ref.frame_idx
        assert min(error) < 4


def test_far_frames_are_sought(b_frames, near, read, monkeypatch):
    n_decoded = 0
    in_order = seeking.in_order

    def counting(container):
        nonlocal n_decoded
        for found in in_order(container):
            n_decoded += 1
            yield found

    monkeypatch.setattr(seeking, "in_order", counting)
    read(open_source(b_frames, [150, 190]))
    assert 0 < n_decoded < 60


def test_gray_is_decided_by_the_first_frame_of_the_file(tmp_path, encode, draw, read, monkeypatch):
    def gray_at_first(frame_idx, **_):
        return draw(frame_idx, gray=frame_idx == 0)

    monkeypatch.setitem(encode.__globals__, "picture", gray_at_first)
    path = encode(tmp_path / "video.mkv", 5, "ffv1", pix_fmt="bgr0")
    assert {image.shape for _, image in read(open_source(path))} == {(48, 64, 1)}
    assert {image.shape for _, image in read(open_source(path, [3]))} == {(48, 64, 1)}


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_is_turned_as_its_file_says(tmp_path, encode, read, same, degrees):
    path = encode(tmp_path / "video.mp4", 3, rotation=degrees)
    found = [image for _, image in read(open_source(path))]
    same(found, [sio.load_video(path)[n] for n in range(3)])
    assert found[0].shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3))


def test_frames_that_an_edit_list_hides_are_not_there(tmp_path, encode, read, same):
    path, cut = encode(tmp_path / "video.mp4", 70), tmp_path / "cut.mp4"
    shift = 30 * 512
    with av.open(str(path)) as old, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                new.mux(packet)
    source = open_source(cut)
    found = read(source)
    assert source.n_frames == 40
    same([image for _, image in found], [image for _, image in read(open_source(path))][30:])


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([3, 200], "Frame 200 is asked for, but the video has frames 0 to 199"),
        ([-1], "Frame -1 is negative"),
        ([1.5], "expected integers"),
        (["1"], "expected integers"),
        (7, "expected integers"),
        ([], "selection is empty"),
        ("some", "expected indices, 'all' or None"),
        ([False, True], r"True or False.*np\.flatnonzero"),
    ],
)
def test_a_selection_that_cannot_be_is_an_error(b_frames, frames, says):
    with pytest.raises(FrameSelectionError, match=says):
        open_source(b_frames, frames)


def test_selections_may_be_any_whole_numbers_in_any_order(b_frames, read):
    for frames in ([5, 2, 5], range(2, 6, 3), np.array([2, 5]), {5, 2}, (n for n in (2, 5))):
        source = open_source(b_frames, frames)
        assert source.n_frames == 2
        assert [ref.frame_idx for ref, _ in read(source)] == [2, 5]


def test_frames_beyond_the_end_of_a_video_that_does_not_say_its_length_are_failures(tmp_path, encode, read, near):
    path = encode(tmp_path / "video.mkv", 30)
    source = open_source(path, [28, 100, 300])
    assert source.n_frames == 3
    assert [ref.failure and ref.failure.split(": ")[-1] for ref, _ in read(source)] == [
        None,
        "it ends after 30 frames.",
        "it ends after 30 frames.",
    ]


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("begin", [0, 1, 19, 20, 37, 59, 60, 80])
def test_all_from_an_index_on_are_the_last_of_all(name, begin, encode, tmp_path, near, same):
    codec, given = CONTAINERS[name]
    reader = video_file.VideoFileReader(encode(tmp_path / name, 60, codec, **given))
    expected = [(index, image) for index, image in reader.read(None) if index >= begin]
    found = list(reader.read_from(begin))
    assert [index for index, _ in found] == [index for index, _ in expected]
    same([image for _, image in found], [image for _, image in expected])


@pytest.mark.parametrize("begin", [299, 300, 731, 1099])
def test_all_from_an_index_on_in_a_real_video(begin, corpus, same):
    reader = video_file.VideoFileReader(corpus / "videos" / "centered_pair_small.mp4")
    found = dict(reader.read_from(begin))
    assert list(found) == list(range(begin, 1100))
    wanted = sorted({begin, (begin + 1100) // 2, 1099})
    same([found[index] for index in wanted], [image for _, image in reader.read(wanted)])
