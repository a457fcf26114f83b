"""Files that are not what they should be: a frame keeps its place, or an error says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from sleap_infer.errors import EmptySourceError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames import open_source
from sleap_infer.frames.readers import av as video_file
from sleap_infer.frames.readers import seeking


def damage(path: Path, damaged: Path, packets: range) -> Path:
    """Copy a video, with noise in some packets."""
    with av.open(str(path)) as container:
        where = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in where[packets.start : packets.stop]:
        data[start + 6 : start + size] = np.random.default_rng(size).bytes(size - 6)
    damaged.write_bytes(data)
    return damaged


def truncate(path: Path, part: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


@pytest.fixture(scope="module")
def whole(b_frames, read):
    return [image for _, image in read(open_source(b_frames))]


@pytest.mark.parametrize("packets", [range(103, 108), range(100, 101), range(60, 80)], ids=["middle", "key", "group"])
def test_damage_leaves_every_other_frame_at_its_place(tmp_path, b_frames, whole, read, same, packets, monkeypatch):
    path = damage(b_frames, tmp_path / "damaged.mp4", packets)
    found = read(open_source(path))
    failures = [ref.frame_idx for ref, image in found if image is None]
    first, following = packets.start // 20 * 20, -(-packets.stop // 20) * 20
    assert [ref.frame_idx for ref, _ in found] == list(range(200))
    assert len(failures) >= len(packets)
    assert first - 1 <= failures[0] <= failures[-1] < following
    assert "cannot be decoded" in found[failures[0]][0].failure
    before = min(failures[0], packets.start - 4)
    same([image for _, image in found[:before]], whole[:before])
    same([image for _, image in found[following:]], whole[following:])

    monkeypatch.setattr(video_file, "SEEK_AHEAD", 10)
    monkeypatch.setattr(seeking, "MARGINS", (4, 16))
    wanted = [20, 95, failures[0], failures[-1], following, 150, 199]
    again = read(open_source(path, wanted))
    assert [ref for ref, _ in again] == [found[n][0] for n in sorted(set(wanted))]
    assert all(np.array_equal(image, found[ref.frame_idx][1]) for ref, image in again if image is not None)


def test_damaged_pictures_of_their_own_are_the_only_ones_missing(tmp_path, encode, read):
    path = encode(tmp_path / "video.avi", 40, "mjpeg", pix_fmt="yuvj420p")
    found = read(open_source(damage(path, tmp_path / "damaged.avi", range(10, 13))))
    assert [ref.frame_idx for ref, image in found if image is None] == [10, 11, 12]
    assert len(found) == 40


def test_without_times_the_count_is_right_again_at_the_next_keyframe(tmp_path, encode, read, same):
    path = encode(tmp_path / "video.avi", 80)
    expected = [image for _, image in read(open_source(path))]
    found = read(open_source(damage(path, tmp_path / "damaged.avi", range(25, 28))))
    assert len(found) == 80
    assert sum(image is None for _, image in found) == 3
    same([image for _, image in found[:20] + found[40:]], expected[:20] + expected[40:])


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [("video.mp4", "libx264", {"movflags": "faststart"}), ("video.avi", "mpeg4", {})],
)
def test_what_the_header_claims_and_the_file_lacks_are_failures(tmp_path, encode, read, name, codec, container):
    source = open_source(truncate(encode(tmp_path / name, 100, codec, container=container)))
    found = read(source)
    n_there = sum(image is not None for _, image in found)
    assert source.n_frames == len(found) == 100
    assert 0 < n_there < 100
    assert all(image is not None for _, image in found[:n_there])
    assert "it ends after" in found[-1][0].failure
    assert "of 100 frames" in found[-1][0].failure


def test_a_fragmented_file_is_read_as_far_as_it_goes(tmp_path, encode, read, same):
    path = encode(tmp_path / "video.mp4", 100, container={"movflags": "frag_keyframe+empty_moov"})
    expected = [image for _, image in read(open_source(path))]
    found = read(open_source(truncate(path)))
    assert 0 < len(found) < 100
    n_there = sum(image is not None for _, image in found)
    same([image for _, image in found[: n_there - 1]], expected[: n_there - 1])


def test_a_file_cut_before_its_index_says_how_to_repair(tmp_path, encode):
    with pytest.raises(SourceFormatError, match=r"cannot be opened.*incomplete.*ffmpeg -i"):
        open_source(truncate(encode(tmp_path / "video.mp4", 30)))


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.avi"])
def test_a_video_without_frames_is_empty(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        container.start_encoding()
    with pytest.raises(EmptySourceError, match="without a single frame"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"dear diary", bytes(5000)], ids=["nothing", "text", "zeros"])
@pytest.mark.parametrize("name", ["video.mp4", "video.avi"])
def test_what_is_not_a_video_is_said_to_be_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceFormatError, match="cannot be opened as a video"):
        open_source(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceFormatError, match=r"no video stream.*ffmpeg"):
        open_source(path)


def test_an_unknown_compression_is_named_as_such(tmp_path, encode):
    path = encode(tmp_path / "video.mkv", 5)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(SourceFormatError, match=r"compressed in a way.*ffmpeg"):
        open_source(path)


def test_a_missing_file_has_a_hint(b_frames):
    with pytest.raises(SourceNotFoundError, match=r"No source at .*b_frame\.mp4.*Did you mean 'b_frames\.mp4'"):
        open_source(b_frames.with_name("b_frame.mp4"))
    with pytest.raises(SourceNotFoundError, match="there is no folder"):
        open_source(b_frames.parent / "nowhere" / "video.mp4")


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "path of the source is empty"), ("x" * 5000, "name too long"), ("x" * 5000 + "*", "Nothing matches")],
    ids=["empty", "too long", "too long a glob"],
)
def test_what_cannot_be_a_path_is_not_found(path, says):
    with pytest.raises(SourceNotFoundError, match=f"(?i){says}"):
        open_source(path)


def test_damage_does_not_write_to_the_terminal(tmp_path, b_frames):
    path = damage(b_frames, tmp_path / "damaged.mp4", range(60, 120))
    code = "import sys; from sleap_infer.frames import open_source; list(open_source(sys.argv[1]).batches(8))"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, check=True, env={**os.environ, "PYTHONWARNINGS": ""}
    )
    assert (done.stdout, done.stderr) == (b"", b"")
