"""Frames that a GPU decodes: the same as the CPU's, index for index; with FFmpeg in the place of the GPU's decoder.

The stand-in gets what a GPU is fed, the packets alone, without what the container knows; it gives what a GPU gives,
NV12 tensors with times. All else is the code that runs on a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_damaged_videos import damage, truncate

from sleap_infer import Predictor
from sleap_infer.errors import FrameReadError
from sleap_infer.frames import open_source
from sleap_infer.frames.nvdec import decoder as nvdec
from sleap_infer.frames.nvdec import session as nvidia
from sleap_infer.frames.nvdec.decoder import NvdecReader, check_fit, decode_on_device
from sleap_infer.frames.nvdec.surfaces import CannotDecode, SurfaceContainer
from sleap_infer.frames.readers import av as video_file
from sleap_infer.frames.readers import seeking
from sleap_infer.frames.readers.av import VideoFileReader, to_image
from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops.yuv import LUMA_WEIGHTS, nv12_to_rgb, yuv_matrix
from sleap_infer.poses.preprocess import fit_size, preprocess
from sleap_infer.system.runtimes import install_command

VIDEOS = ("one_fly", "two_flies", "two_flies_large", "two_flies_rgb")
FILES = {
    "h264.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.ts": ("libx264", {}),
    "full_range.mp4": ("libx264", {"pix_fmt": "yuvj420p"}),
    "fragmented.mp4": ("libx264", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "hevc.mp4": ("libx265", {"options": {"x265-params": "keyint=20:bframes=3:log-level=none"}}),
    "hevc.mkv": ("libx265", {"options": {"x265-params": "keyint=20:bframes=3:log-level=none"}}),
    "vp9.webm": (
        "libvpx-vp9",
        {"options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20", "deadline": "realtime"}},
    ),
    "av1.mp4": ("libsvtav1", {"options": {"g": "20", "preset": "12"}}),
}
EXACT = platform.machine() in ("x86_64", "AMD64")
"""Where swscale computes in the whole numbers of `ops.yuv`; elsewhere it may differ by one."""


def nv12(frame: av.VideoFrame) -> torch.Tensor:
    luma, u, v = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    chroma = np.stack([u, v], axis=2).reshape(len(u), -1)
    return torch.from_numpy(np.concatenate([luma, chroma]))


class StandIn:
    """A decoder that works on packets with start codes, as a GPU's does."""

    n_open = n_opened = 0
    stops_after = 10**9

    def __init__(self, codec: str, size: tuple[int, int], device: str) -> None:
        self._left = StandIn.stops_after
        self._context = av.CodecContext.create({"av1": "libdav1d"}.get(codec, codec), "r")
        StandIn.n_open += 1
        StandIn.n_opened += 1

    def decode(self, data: bytes, time: int) -> list[tuple[int, torch.Tensor]]:
        packet = None
        if data:
            # in memory of its own: a thread of dav1d that gave back Python's would wait for whoever closes it
            packet = av.Packet(len(data))
            packet.update(data)
            packet.pts = time
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            frames = []
        self._left -= 1
        if self._left < 0:
            raise CannotDecode("the GPU's decoder stopped (out of memory)")
        return [(frame.pts, nv12(frame)) for frame in frames if not frame.is_corrupt]

    def close(self) -> None:
        StandIn.n_open -= 1


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StandIn]]:
    """Decodes by FFmpeg what a GPU would."""
    monkeypatch.setattr(nvdec, "NvidiaDecoder", StandIn)
    monkeypatch.setattr(nvdec, "load_package", lambda: None)
    monkeypatch.setattr(StandIn, "n_open", 0)
    monkeypatch.setattr(StandIn, "n_opened", 0)
    monkeypatch.setattr(StandIn, "stops_after", 10**9)
    yield StandIn
    assert StandIn.n_open == 0


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeks where a long video would be needed for that."""
    monkeypatch.setattr(video_file, "SEEK_AHEAD", 10)
    monkeypatch.setattr(seeking, "MARGINS", (4, 16))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The warnings so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("sleap_infer")]


def read_both(path: Path, frame_inds: list[int] | None = None, **more: Any) -> tuple[list[Any], list[Any]]:
    """What the GPU's reader gives, as arrays, and the CPU's."""
    found = list(NvdecReader(path, "cuda:0", **more).read(frame_inds))
    assert all(isinstance(image, (torch.Tensor, FrameReadError)) for _, image in found)
    arrays = [(n, image if isinstance(image, FrameReadError) else image.numpy()) for n, image in found]
    return arrays, list(VideoFileReader(path, **more).read(frame_inds))


def same(found: list[Any], expected: list[Any], atol: int = 0 if EXACT else 2) -> None:
    """Requires equal indices, equal pictures, and errors in the same places."""
    assert [n for n, _ in found] == [n for n, _ in expected]
    for (n, one), (_, other) in zip(found, expected, strict=True):
        assert isinstance(one, FrameReadError) == isinstance(other, FrameReadError), n
        if not isinstance(one, FrameReadError):
            assert one.shape == other.shape
            assert np.abs(one.astype(int) - other).max() <= atol, n


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colour_space", LUMA_WEIGHTS)
def test_colours_are_those_of_swscale(colour_space: int, full_range: bool) -> None:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(190, 128, "yuv420p")
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
    frame.colorspace, frame.color_range = colour_space, 2 if full_range else 1
    expected = to_image(frame, grayscale=False)
    found = nv12_to_rgb(nv12(frame), yuv_matrix(colour_space, full_range)).numpy()
    assert np.abs(found.astype(int) - expected).max() <= (0 if EXACT else 2)
    red = nv12_to_rgb(nv12(frame), yuv_matrix(colour_space, full_range), red_only=True).numpy()
    assert np.array_equal(red[..., 0], found[..., 0])


@given(
    shape=st.tuples(st.integers(1, 3), st.sampled_from([1, 3]), st.integers(1, 70), st.integers(1, 70)),
    limits=st.tuples(*2 * [st.none() | st.integers(1, 90)]),
    scale=st.sampled_from([1.0, 0.5, 0.25, 0.7, 1.3, 2.0]),
    stride=st.sampled_from([1, 8, 32]),
    channels=st.sampled_from(["as they are", "rgb", "gray"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_preprocessing_on_the_device_gives_the_same_bits(
    shape: Any, limits: Any, scale: float, stride: int, channels: str, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    chosen = ImageSettings(
        ensure_rgb=channels == "rgb",
        ensure_grayscale=channels == "gray",
        max_height=limits[0],
        max_width=limits[1],
        input_scaling=scale,
        pad_to_stride=stride,
    )
    expected, geometry = preprocess(images, chosen)
    found, found_geometry = preprocess(torch.from_numpy(images), chosen)
    assert found.dtype == torch.uint8
    assert (found_geometry.image_size, found_geometry.size_factor) == (geometry.image_size, geometry.size_factor)
    assert np.array_equal(found.numpy(), expected)
    assert np.array_equal(fit_size(torch.from_numpy(images), chosen)[0].numpy(), fit_size(images, chosen)[0])


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_of_our_videos(name: str, videos: Path, stand_in: Any) -> None:
    same(*read_both(videos / f"{name}.mp4"))
    same(*read_both(videos / f"{name}.mp4", [0, 3, 7]))


def test_frames_of_a_real_video(corpus: Path, stand_in: Any) -> None:
    path = corpus / "videos" / "centered_pair_small.mp4"
    same(*read_both(path, [*range(0, 400, 7), 749, 750, 751, 1099]))


@pytest.mark.parametrize("name", FILES)
def test_frames_of_every_container(name: str, tmp_path: Path, encode: Any, stand_in: Any, near: None) -> None:
    codec, extra = FILES[name]
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = encode(tmp_path / name, 70, codec, **extra)
    same(*read_both(path))
    for wanted in ([66], [3, 5, 40, 41, 69]):
        same(*read_both(path, wanted))


def test_frames_at_irregular_times(tmp_path: Path, draw: Any, stand_in: Any, near: None) -> None:
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"g": "20", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(60):
            frame = av.VideoFrame.from_ndarray(draw(n), format="rgb24").reformat(format="yuv420p")
            frame.pts = n * n + 7 * n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found, expected = read_both(path)
    assert len(found) == 60
    same(found, expected)
    same(*read_both(path, [2, 30, 31, 59]))


@pytest.mark.parametrize("grayscale", [None, True, False])
def test_gray_is_decided_as_on_the_cpu(grayscale: bool | None, tmp_path: Path, encode: Any, stand_in: Any) -> None:
    same(*read_both(encode(tmp_path / "gray.mp4", 5, gray=True), grayscale=grayscale))
    same(*read_both(encode(tmp_path / "colour.mp4", 5), grayscale=grayscale))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_is_turned_as_its_file_says(degrees: int, tmp_path: Path, encode: Any, stand_in: Any) -> None:
    same(*read_both(encode(tmp_path / "video.mp4", 3, rotation=degrees)))


def test_frames_that_an_edit_list_hides_are_not_there(tmp_path: Path, encode: Any, stand_in: Any) -> None:
    path, cut = encode(tmp_path / "video.mp4", 70), tmp_path / "cut.mp4"
    with av.open(str(path)) as old, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - 30 * 512, packet.dts - 30 * 512, stream
                new.mux(packet)
    found, expected = read_both(cut)
    assert len(found) == 40
    same(found, expected)


@pytest.mark.parametrize("packets", [range(103, 108), range(100, 101), range(60, 80)], ids=["middle", "key", "group"])
def test_damage_shifts_no_frame(packets: range, tmp_path: Path, b_frames: Path, stand_in: Any, near: None) -> None:
    path = damage(b_frames, tmp_path / "damaged.mp4", packets)
    found, expected = read_both(path)
    whole = list(VideoFileReader(b_frames).read(None))
    first, following = packets.start // 20 * 20 - 4, -(-packets.stop // 20) * 20
    assert [n for n, _ in found] == list(range(200))
    assert any(isinstance(image, FrameReadError) for _, image in found)
    same(found[:first] + found[following:], whole[:first] + whole[following:])
    same(found[:first] + found[following:], expected[:first] + expected[following:])
    wanted = sorted([20, 95, following, 150, 199])
    again, _ = read_both(path, wanted)
    same([place for place in again if place[0] != 95], [whole[n] for n in wanted if n != 95])


def test_frames_that_the_decoder_leaves_out_keep_their_places(
    b_frames: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with av.open(str(b_frames)) as container:
        times = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
    decode = StandIn.decode

    def gaps(decoder: StandIn, data: bytes, time: int) -> list[Any]:
        return [found for found in decode(decoder, data, time) if found[0] not in (times[50], times[51], times[199])]

    monkeypatch.setattr(StandIn, "decode", gaps)
    found, expected = read_both(b_frames)
    assert [n for n, image in found if isinstance(image, FrameReadError)] == [50, 51, 199]
    assert "frame 50" in str(found[50][1])
    same(
        [place for place in found if place[0] not in (50, 51, 199)],
        [expected[n] for n in range(199) if n not in (50, 51)],
    )


def test_joined_recordings_whose_times_start_anew_keep_their_order(
    tmp_path: Path, encode: Any, stand_in: Any, near: None
) -> None:
    parts = [encode(tmp_path / f"{n_frames}.ts", n_frames) for n_frames in (40, 30)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    found, expected = read_both(joined)
    assert len(found) == 70
    same(found, expected)
    same(*read_both(joined, [38, 41, 66]))


def test_what_the_header_claims_and_the_file_lacks_are_failures(tmp_path: Path, encode: Any, stand_in: Any) -> None:
    path = truncate(encode(tmp_path / "video.mp4", 100, container={"movflags": "faststart"}))
    found, expected = read_both(path)
    assert len(found) == 100
    assert "it ends after" in str(found[-1][1])
    n_there = sum(not isinstance(image, FrameReadError) for _, image in expected) - 1
    same(found[:n_there], expected[:n_there])


def test_where_the_gpu_stops_the_cpu_goes_on(b_frames: Path, stand_in: Any, lines: Any) -> None:
    stand_in.stops_after = 40
    found = list(NvdecReader(b_frames, "cuda:0").read(None))
    expected = list(VideoFileReader(b_frames).read(None))
    n_on_device = sum(isinstance(image, torch.Tensor) for _, image in found)
    assert 20 < n_on_device < 40
    same([(n, np.asarray(image)) for n, image in found], expected)
    assert lines() == [
        f"decoder='nvdec': the CPU decodes {b_frames} from frame {n_on_device} on: the GPU's decoder stopped "
        "(out of memory)"
    ]
    some = [3, 30, 100, 199]
    found = list(NvdecReader(b_frames, "cuda:0").read(some))
    same([(n, np.asarray(image)) for n, image in found], [expected[n] for n in some])


def test_leaving_early_closes_the_decoder(b_frames: Path, stand_in: Any) -> None:
    for take in (lambda reader: reader.read(None), lambda reader: reader.read([0, 5])):
        frames = take(NvdecReader(b_frames, "cuda:0"))
        next(frames)
        assert stand_in.n_open == 1
        frames.close()
        assert stand_in.n_open == 0
    source = decode_on_device(open_source(b_frames), "cuda:0")
    batches = source.batches(4)
    next(batches)
    batches.close()
    del batches
    assert stand_in.n_open == 0


def test_batches_are_tensors_and_end_where_the_cpu_goes_on(b_frames: Path, stand_in: Any) -> None:
    stand_in.stops_after = 40
    with decode_on_device(open_source(b_frames), "cuda:0") as source:
        assert source.n_frames == 200
        batches = list(source.batches(16))
    assert [ref.frame_idx for batch in batches for ref in batch.frames] == list(range(200))
    kinds = [type(batch.images) for batch in batches]
    assert kinds[0] is torch.Tensor
    assert kinds[-1] is np.ndarray
    assert kinds == sorted(kinds, key=lambda kind: kind is np.ndarray)
    assert tuple(batches[0].images.shape) == (16, 3, 48, 64)
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


WHY_NOT = {
    "mpeg4.mp4": ("mpeg4", {}, r"compressed as mpeg4, and the GPU decodes h264, hevc, vp9, av1"),
    "444.mp4": ("libx264", {"pix_fmt": "yuv444p"}, "pixels are yuv444p"),
    "ten_bits.mkv": ("ffv1", {"pix_fmt": "bgr0"}, "compressed as ffv1"),
    "b_frames.avi": ("libx264", {}, "does not say when its frames are shown"),
    "interlaced.mp4": ("libx264", {"options": {"x264-params": "tff=1:keyint=20"}}, "interlaced"),
}


@pytest.mark.parametrize("name", WHY_NOT)
def test_what_the_gpu_does_not_decode_is_said_once(
    name: str, tmp_path: Path, encode: Any, stand_in: Any, lines: Any
) -> None:
    codec, extra, why = WHY_NOT[name]
    path = encode(tmp_path / name, 30, codec, **extra)
    with decode_on_device(open_source(path), "cuda:0") as source:
        found = [batch.images for batch in source.batches(8)]
    assert all(isinstance(images, np.ndarray) for images in found)
    same(list(enumerate(np.concatenate(found))), list(enumerate(_all(path))))
    assert len(lines()) == 1
    assert str(path) in lines()[0]
    assert why in lines()[0]
    assert stand_in.n_opened == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 63}, "63 x 48 pixels have an odd side"),
        ({"colorspace": 8}, "not converted"),
        ({"format": None}, "none"),
    ],
    ids=["odd", "colours", "damaged"],
)
def test_frames_that_would_not_be_converted_are_refused(change: dict[str, Any], says: str, b_frames: Path) -> None:
    form = {"format": SimpleNamespace(name="yuv420p"), "width": 64, "height": 48, "colorspace": 1, **change}
    with av.open(str(b_frames)) as container, pytest.raises(CannotDecode, match=says):
        check_fit(container, SimpleNamespace(**form, interlaced_frame=False) if form["format"] else None)


def _all(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return np.concatenate([np.asarray(batch.images) for batch in source.batches(8)])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda pixels: pixels + 4, "differs from the CPU's by"),
        (lambda pixels: pixels[:, 2:].contiguous(), "the GPU's frames are"),
    ],
)
def test_another_first_frame_than_the_cpus_is_noticed(
    wrong: Any, says: str, b_frames: Path, stand_in: Any, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = StandIn.decode
    monkeypatch.setattr(StandIn, "decode", lambda *given: [(time, wrong(pixels)) for time, pixels in decode(*given)])
    found = list(NvdecReader(b_frames, "cuda:0").read([0, 1]))
    same(found, list(VideoFileReader(b_frames).read([0, 1])))
    assert [says in line for line in lines()] == [True]
    monkeypatch.setattr(StandIn, "decode", lambda *given: decode(*given)[1:])
    list(NvdecReader(b_frames, "cuda:0").read([0]))
    assert "first" in lines()[-1]
    monkeypatch.setattr(StandIn, "decode", lambda *given: [])
    list(NvdecReader(b_frames, "cuda:0").read([0]))
    assert "decodes none of its frames" in lines()[-1]


def test_a_packet_without_a_time_is_left_to_the_cpu() -> None:
    packet = SimpleNamespace(size=3, pts=None)
    container = object.__new__(SurfaceContainer)
    with pytest.raises(CannotDecode, match="does not say when"):
        container._prepare(packet)


@pytest.fixture
def network(models: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens predictors whose runners have the queue of a GPU, on the CPU."""
    spec = importlib.util.spec_from_file_location(
        "pretend_cuda", Path(__file__).parents[1] / "runners" / "pretend_cuda.py"
    )
    assert spec is not None
    assert spec.loader is not None
    pretend_cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pretend_cuda)
    pretend_cuda.pretend(monkeypatch)
    from sleap_infer.runners.torch.cuda_queue import CudaQueue

    def make(kinds: list[str], on_streams: bool = True, **options: Any) -> Predictor:
        predictor = Predictor.from_model_paths([models / kind for kind in kinds], device="cpu", batch_size=3, **options)
        for runner in predictor.runners if on_streams else ():
            runner._queue = CudaQueue(torch.device("cpu"), exactly=True)
        return predictor

    return make


@pytest.mark.parametrize(
    ("kinds", "video", "options"),
    [
        (["single_instance"], "one_fly", {}),
        (["bottomup"], "two_flies_rgb", {"ensure_grayscale": True, "input_scaling": 0.5}),
        (["centroid", "centered_instance"], "two_flies", {"crop_batch_size": 2}),
        (["centroid", "centered_instance"], "two_flies_large", {"max_height": 192, "max_width": 192}),
    ],
    ids=["single", "bottomup", "topdown", "topdown fitted"],
)
def test_poses_are_those_of_frames_from_the_cpu(
    kinds: list[str], video: str, options: Any, videos: Path, network: Any, stand_in: Any, lines: Any
) -> None:
    path = videos / f"{video}.mp4"
    with network(kinds, on_streams=False, return_images=True, **options) as plain:
        expected = plain.predict(path, as_labels=False, frames=range(8))
    with network(kinds, return_images=True, decoder="nvdec", **options) as predictor:
        found = predictor.predict(path, as_labels=False, frames=range(8))
        labels = predictor.predict(path, frames=range(8))
    assert lines() == []
    assert stand_in.n_opened >= 2
    assert len(labels) == len(found) == 8
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.pred_keypoints, other.pred_keypoints, atol=1e-4)
        assert isinstance(one.original_image, np.ndarray)
        assert np.array_equal(one.original_image, other.original_image)
        assert np.array_equal(one.processed_image, other.processed_image)
        assert one.frame_idx == other.frame_idx


def test_a_network_on_the_cpu_has_frames_of_the_cpu(videos: Path, network: Any, stand_in: Any, lines: Any) -> None:
    with network(["single_instance"], on_streams=False, decoder="nvdec") as predictor:
        found = predictor.predict(videos / "one_fly.mp4", as_labels=False, frames=[0, 1])
    assert len(found) == 2
    assert len(lines()) == 1
    assert "frames cannot stay on cpu" in lines()[0]
    assert "device='cuda'" in lines()[0]
    assert stand_in.n_opened == 0


def test_arrays_and_images_are_read_as_they_are(videos: Path, stand_in: Any, lines: Any) -> None:
    array = np.zeros((2, 48, 64), np.uint8)
    source = decode_on_device(open_source([videos / "one_fly.mp4", array]), "cuda:0")
    assert [type(part.reader).__name__ for part in source.parts] == ["NvdecReader", "ArrayReader"]
    assert len(lines()) == 1
    assert "1 of its 2 videos are not in video files" in lines()[0]


def test_without_the_package_a_line_says_how_to_install_it(videos: Path, lines: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    source = open_source(videos / "one_fly.mp4")
    assert decode_on_device(source, "cuda:0") is source
    assert len(lines()) == 1
    assert install_command("nvdec") in lines()[0]


def test_without_the_driver_a_line_says_what_is_missing(
    videos: Path, lines: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    message = "Failed to load NVENC library: libnvidia-encode.so.1\\n\\n=== TROUBLESHOOTING STEPS ==="
    (tmp_path / "PyNvVideoCodec.py").write_text(f'raise RuntimeError("{message}")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "PyNvVideoCodec", raising=False)
    decode_on_device(open_source(videos / "one_fly.mp4"), "cuda:0")
    assert len(lines()) == 1
    assert "libnvidia-encode.so.1)" in lines()[0]
    assert "TROUBLESHOOTING" not in lines()[0]
    assert "sleap-infer doctor" in lines()[0]


class Package(ModuleType):
    """PyNvVideoCodec as far as it is used, with one picture per packet, in memory that it uses again and again."""

    class PyNvVCException(Exception): ...

    class PyNvVCExceptionUnsupported(Exception): ...

    cudaVideoCodec = SimpleNamespace(H264="H264")

    class PacketData:
        bsl = bsl_data = pts = 0

    def __init__(self) -> None:
        super().__init__("PyNvVideoCodec")
        self.capabilities = {"supported": 1, "width_min": 48, "width_max": 4096, "height_min": 16, "height_max": 4096}
        self.memory = torch.zeros(6, 4, dtype=torch.uint8)
        self.fed: list[Any] = []
        self.error: Exception | None = None

    def GetDecoderCaps(self, gpuid: int, codec: str) -> dict[str, int]:
        return self.capabilities

    def CreateDecoder(self, gpuid: int, codec: str, usedevicememory: bool) -> Any:
        assert (gpuid, codec, usedevicememory) == (0, "H264", True)
        return SimpleNamespace(Decode=self.decode)

    def decode(self, packet: Any) -> list[Any]:
        if self.error is not None:
            raise self.error
        import ctypes

        self.fed.append((ctypes.string_at(packet.bsl_data, packet.bsl) if packet.bsl else b"", packet.pts))
        self.memory += 1
        frame = SimpleNamespace(getPTS=lambda: packet.pts)
        frame.__dlpack__, frame.__dlpack_device__ = self.memory.__dlpack__, self.memory.__dlpack_device__
        return [frame] if packet.bsl else []


@pytest.fixture
def package(network: Any, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Stands for PyNvVideoCodec, and CUDA's streams."""
    package = Package()
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", package)
    nvidia._capabilities.cache_clear()
    yield package
    nvidia._capabilities.cache_clear()


def test_pictures_are_copied_out_of_the_decoders_memory(package: Package) -> None:
    decoder = nvidia.NvidiaDecoder("h264", (48, 64), "cuda:0")
    pictures = [picture for time in (5, 3) for picture in decoder.decode(b"data", time)]
    assert decoder.decode(b"", 0) == []
    assert [time for time, _ in pictures] == [5, 3]
    assert [int(pixels[0, 0]) for _, pixels in pictures] == [1, 2]
    assert package.fed == [(b"data", 5), (b"data", 3), (b"", 0)]
    decoder.close()


@pytest.mark.parametrize(
    ("size", "change", "says"),
    [
        ((8, 64), {}, "height of 8 pixels, and the GPU decodes 16 to 4096"),
        ((48, 5000), {}, "width of 5000 pixels, and the GPU decodes 48 to 4096"),
        ((48, 64), {"supported": 0}, "does not decode h264"),
    ],
)
def test_what_the_gpu_cannot_is_asked_first(size: Any, change: Any, says: str, package: Package) -> None:
    package.capabilities |= change
    with pytest.raises(CannotDecode, match=says):
        nvidia.NvidiaDecoder("h264", size, "cuda:0")


def test_errors_of_the_decoder_are_reasons(package: Package) -> None:
    decoder = nvidia.NvidiaDecoder("h264", (48, 64), "cuda:0")
    for error in (RuntimeError("CUDA out of memory"), package.PyNvVCException("HW reset\nat line 7")):
        package.error = error
        with pytest.raises(CannotDecode, match=r"stopped \((CUDA out of memory|HW reset)\)"):
            decoder.decode(b"data", 0)


@pytest.fixture
def gpu(lines: Any) -> Iterator[str]:
    """A GPU that decodes videos; at the end, nothing was left to the CPU."""
    try:
        nvidia.load_package()
    except CannotDecode as reason:
        pytest.skip(str(reason))
    yield "cuda:0"
    assert lines() == []


def require_frames_of_the_cpu(path: Path, wanted: list[int] | None, gpu: str) -> None:
    found = list(NvdecReader(path, gpu).read(wanted))
    assert all(isinstance(image, FrameReadError) or image.is_cuda for _, image in found)
    arrays = [(n, image if isinstance(image, FrameReadError) else image.cpu().numpy()) for n, image in found]
    same(arrays, list(VideoFileReader(path).read(wanted)), atol=2)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("name", VIDEOS)
def test_a_gpu_gives_the_frames_of_the_cpu(name: str, videos: Path, gpu: str) -> None:
    for wanted in (None, [0, 3, 7]):
        require_frames_of_the_cpu(videos / f"{name}.mp4", wanted, gpu)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(("hevc", "vp9", "av1"))])
def test_a_gpu_finds_frames_as_the_cpu(name: str, tmp_path: Path, encode: Any, near: None, gpu: str) -> None:
    codec, extra = FILES[name]  # of the others, a GPU decodes larger frames only
    path = encode(tmp_path / name, 70, codec, **extra)
    for wanted in (None, [66], [3, 5, 40, 41, 69]):
        require_frames_of_the_cpu(path, wanted, gpu)


@pytest.mark.needs_cuda
def test_a_gpu_gives_a_real_video(corpus: Path, gpu: str) -> None:
    require_frames_of_the_cpu(corpus / "videos" / "centered_pair_small.mp4", None, gpu)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("backend", ["torch", "torch_compile"])
def test_poses_of_frames_that_stay_on_the_gpu(backend: str, models: Path, videos: Path, gpu: str) -> None:
    paths, video = [models / "centroid", models / "centered_instance"], videos / "two_flies.mp4"
    with Predictor.from_model_paths(paths, device=gpu) as plain:
        expected = plain.predict(video, as_labels=False)
    with Predictor.from_model_paths(paths, backend=backend, device=gpu, decoder="nvdec") as predictor:
        found = predictor.predict(video, as_labels=False)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.pred_keypoints, other.pred_keypoints, atol=0.05)
