"""Live sources: the newest frame wins, nothing is lost uncounted, and pixels are those of a video file."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sleap_infer.errors import (
    EmptySourceError,
    FrameReadError,
    OptionError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
)
from sleap_infer.frames.live.camera import CameraFeed
from sleap_infer.frames.live.file import FilePlayer, Timeline
from sleap_infer.frames.live.source import LiveCounts, LiveFrame, LiveSource, open_feed, open_live
from sleap_infer.frames.live.stream import StreamFeed, without_secrets
from sleap_infer.frames.readers.av import VideoFileReader

RATE = 15
"""Frames per second of the videos that the package ships, which have 100."""
N_FRAMES = 100
BLACK = np.zeros((4, 6, 1), np.uint8)
SHORT, LONG = 0.3, 20.0


def until(is_so: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(4000):
        if is_so():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")


class ToldFeed:
    """Gives the frames that it is told to, when it is told to."""

    name, first = "told", BLACK

    def __init__(self, *script: Any, must_be_read: bool = False) -> None:
        self.must_be_read = must_be_read
        self.script = list(script)
        self.index = -1
        self.is_ready = threading.Semaphore(0)
        self.n_closed = 0

    def frames(self, stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        while True:
            while not self.is_ready.acquire(timeout=0.01):
                if stopped.is_set():
                    return
            if not self.script:
                return
            item = self.script.pop(0)
            self.index += 1
            if item == "broken":
                raise FrameReadError("it broke off")
            yield FrameReadError(f"frame {self.index}") if item == "damaged" else LiveFrame(BLACK, self.index, item)

    def tell(self, n_frames: int) -> None:
        for _ in range(n_frames):
            self.is_ready.release()

    def video(self, n_frames: int) -> Any:
        raise AssertionError

    def close(self) -> None:
        self.n_closed += 1


def test_newest_frame_wins() -> None:
    feed = ToldFeed(0.0, 0.1, 0.2, 0.3)
    with LiveSource(feed) as source:
        assert source.take(timeout=0) is None
        feed.tell(3)
        until(lambda: source.n_grabbed == 3)
        assert source.counts() == LiveCounts(grabbed=3, taken=0, dropped=2, waiting=1)
        frame = source.take()
        assert frame is not None
        assert (frame.index, frame.time) == (2, 0.2)
        assert source.take(timeout=0) is None
        assert not source.has_ended
        feed.tell(2)
        until(lambda: source.n_grabbed == 4)
        frame = source.take()
        assert frame is not None
        assert frame.index == 3
        assert source.take() is None
        assert source.has_ended
        assert source.counts() == LiveCounts(grabbed=4, taken=2, dropped=2)
    assert feed.n_closed == 1


def test_what_came_before_the_first_was_asked_for_is_forgotten() -> None:
    feed = ToldFeed(*range(5), must_be_read=True)
    with LiveSource(feed) as source:
        feed.tell(3)
        until(lambda: len(feed.script) == 2)
        assert source.counts() == LiveCounts()
        assert source.take(timeout=0) is None
        feed.tell(1)
        frame = source.take()
        assert frame is not None
        assert frame.index == 3
        assert source.n_grabbed == 1


def test_every_frame_is_counted_while_both_sides_race() -> None:
    n_frames = 400
    feed = ToldFeed(*range(n_frames))
    feed.tell(n_frames + 1)
    rng = np.random.default_rng(0)
    taken: list[int] = []
    with LiveSource(feed) as source:
        for frame in source:
            taken.append(frame.index)
            counts = source.counts()
            assert counts.grabbed == counts.taken + counts.dropped + counts.waiting
            time.sleep(rng.uniform(0, 0.001))
        counts = source.counts()
    assert taken == sorted(set(taken))
    assert taken[-1] == n_frames - 1, "the last one is never lost"
    assert counts == LiveCounts(n_frames, len(taken), n_frames - len(taken))


def test_a_source_that_breaks_off_gives_its_last_frame_and_then_says_why() -> None:
    feed = ToldFeed(0, "damaged", 2, "broken")
    feed.tell(4)
    with LiveSource(feed) as source:
        assert source.take() is not None
        until(lambda: feed.n_closed == 1)
        while (counts := source.counts()).waiting:
            assert source.take() is not None
        assert not source.has_ended
        with pytest.raises(FrameReadError, match="it broke off"):
            source.take()
        assert source.has_ended
        assert source.take() is None
    assert (counts.grabbed, counts.failed, source.last_failure) == (2, 1, "frame 1")


def test_closing() -> None:
    feed = ToldFeed(0, 1, 2)
    source = LiveSource(feed)
    assert source.take(timeout=0) is None
    feed.tell(1)
    until(lambda: source.n_grabbed == 1)
    source.close()
    source.close()
    assert source.counts() == LiveCounts(grabbed=1, dropped=1)
    assert source.has_ended
    assert source.take() is None
    assert feed.n_closed == 1
    unused = ToldFeed(0)
    with LiveSource(unused) as source:
        assert not source.has_ended
    assert unused.n_closed == 1
    assert source.take() is None


def test_closing_wakes_who_waits() -> None:
    source = LiveSource(ToldFeed())
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(source.take()))
    waiting.start()
    source.close()
    waiting.join(LONG)
    assert found == [None]


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._moved = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def move_to(self, now: float) -> None:
        with self._moved:
            self.now = now
            self._moved.notify_all()

    def wait(self, stopped: threading.Event, seconds: float) -> None:
        with self._moved:
            end = self.now + seconds
            while self.now < end and not stopped.is_set():
                self._moved.wait(0.01)


def images_of(path: Path) -> list[NDArray[Any]]:
    return [np.asarray(image) for _, image in VideoFileReader(path).read(None)]


def test_a_file_is_played_at_its_own_rate(videos: Path) -> None:
    expected = images_of(videos / "two_flies.mp4")
    clock = Hands()
    taken = []
    with LiveSource(FilePlayer(videos / "two_flies.mp4", clock, clock.wait), clock) as source:
        for now in (0.0, 1.01, 1.03, 3.01, 5.95):
            clock.move_to(now)
            frame = source.take(timeout=LONG if now != 1.03 else 0)
            if now == 1.03:
                assert frame is None, "the next one is shown at 1.067"
                continue
            n_shown = int(now * RATE) + 1
            while frame is not None and frame.index < n_shown - 1:  # the player's thread is on its way there
                frame = source.take(timeout=LONG)
            assert frame is not None
            assert (frame.index, frame.time) == (n_shown - 1, now)
            assert np.array_equal(frame.image, expected[frame.index])
            counts = source.counts()
            assert counts.grabbed == n_shown
            assert counts.grabbed == counts.taken + counts.dropped
            taken.append(frame.index)
        assert taken == [0, 15, 45, 89]
        clock.move_to(1000.0)
        until(lambda: source.n_grabbed == N_FRAMES)
        frame = source.take()
        assert frame is not None
        assert frame.index == N_FRAMES - 1
        assert source.take() is None
        assert source.has_ended
        counts = source.counts()
    assert counts.grabbed == counts.taken + counts.dropped == N_FRAMES
    assert counts.failed == 0


def test_a_player_that_is_closed_while_it_waits_ends(videos: Path) -> None:
    clock = Hands()
    source = LiveSource(FilePlayer(videos / "two_flies.mp4", clock, clock.wait), clock)
    assert source.take(timeout=LONG) is not None
    source.close()
    assert source.n_grabbed == 1


@pytest.mark.parametrize(
    "settings",
    [{}, {"gray": True}, {"rotation": 90}, {"codec": "mpeg4", "suffix": "avi"}],
    ids=["colour", "gray", "turned", "avi"],
)
def test_a_played_file_has_the_pixels_and_places_of_a_read_one(
    settings: dict[str, Any], encode: Callable[..., Path], tmp_path: Path, same: Callable[..., None]
) -> None:
    path = encode(tmp_path / f"video.{settings.pop('suffix', 'mp4')}", 30, **settings)
    player = FilePlayer(path, wait=lambda _stopped, _seconds: None)
    found = list(player.frames(threading.Event()))
    assert [frame.index for frame in found if isinstance(frame, LiveFrame)] == list(range(30))
    expected = images_of(path)
    same([frame.image for frame in found if isinstance(frame, LiveFrame)], expected)
    assert np.array_equal(player.first, expected[0])
    assert player.video(30).filename == str(path)
    player.close()


def test_frames_that_a_file_claims_but_has_not_are_counted(encode: Callable[..., Path], tmp_path: Path) -> None:
    path = encode(tmp_path / "video.avi", 40, "mpeg4")
    data = path.read_bytes()
    first, end = data.index(b"movi"), data.rindex(b"idx1")
    path.write_bytes(data[: (first + end) // 2])
    player = FilePlayer(path, wait=lambda _stopped, _seconds: None)
    with LiveSource(player) as source:
        for _ in source:
            pass
        counts = source.counts()
    assert 0 < counts.failed < 40
    assert counts.grabbed + counts.failed == 40
    assert source.last_failure is not None
    assert "video.avi" in source.last_failure


def test_a_file_of_which_nothing_can_be_decoded(
    encode: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "video.mp4", 3)
    damaged = [(n, FrameReadError("damaged")) for n in range(3)]
    monkeypatch.setattr(VideoFileReader, "read", lambda _self, _wanted: (pair for pair in damaged))
    with pytest.raises(EmptySourceError, match="no frame that can be decoded"):
        open_live(path)


def test_times_that_stand_still_go_on() -> None:
    timeline = Timeline(0.1)
    places = [timeline.place(index, shown) for index, shown in enumerate([5.0, 5.0, 5.5, 0.0, 0.25])]
    assert places == pytest.approx([0.0, 0.1, 0.6, 0.7, 0.95])


class Served:
    """Sends bytes to whoever connects, over plain TCP, and then does as it is told."""

    def __init__(self, data: bytes, then: str = "close") -> None:
        self._data, self._then = data, then
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> str:
        self._thread.start()
        return self.address

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._listening.close()
        self._thread.join(LONG)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            with connection:
                connection.sendall(self._data)
                if self._then == "stall":
                    self._done.wait(LONG)


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:  # type: ignore[override]
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def transport(encode: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream of 60 frames with B-frames."""
    return encode(tmp_path_factory.mktemp("streams") / "video.ts", 60)


def check_pixels(feed: StreamFeed, path: Path) -> None:
    expected = images_of(path)
    found = list(feed.frames(threading.Event()))
    feed.close()
    assert [frame.index for frame in found if isinstance(frame, LiveFrame)] == list(range(len(expected)))
    assert np.array_equal(feed.first, expected[0])
    for frame in found:
        assert isinstance(frame, LiveFrame)
        assert np.array_equal(frame.image, expected[frame.index])


def test_a_stream_over_tcp_has_the_pixels_of_the_file(transport: Path) -> None:
    with Served(transport.read_bytes()) as address:
        check_pixels(StreamFeed(address), transport)


def test_a_stream_over_http_has_the_pixels_of_the_file(transport: Path) -> None:
    with http_server(transport.parent) as address:
        check_pixels(StreamFeed(f"{address}/{transport.name}"), transport)


def test_a_gray_stream_has_one_channel(encode: Callable[..., Path], tmp_path: Path) -> None:
    path = encode(tmp_path / "gray.ts", 10, gray=True)
    with Served(path.read_bytes()) as address:
        feed = StreamFeed(address)
        assert feed.first.shape == (48, 64, 1)
        check_pixels(feed, path)


def test_a_stream_that_is_made_while_it_is_read() -> None:
    """Sent as an encoder on another machine would; frames are known by how bright they are."""
    is_read = threading.Event()

    class Line:
        def __init__(self, connection: socket.socket) -> None:
            self.write = connection.sendall

    def send(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError), av.open(Line(connection), "w", format="mpegts") as out:
            stream = out.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(1000):
                image = np.full((48, 64, 3), 40 + number % 200, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                if is_read.wait(0.005):
                    break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        sender = threading.Thread(target=send, args=[listening])
        sender.start()
        with open_live(f"tcp://127.0.0.1:{listening.getsockname()[1]}", LONG) as source:
            for _ in range(5):
                frame = source.take(LONG)
                assert frame is not None
                assert abs(int(np.median(frame.image)) - (40 + frame.index % 200)) <= 2
            counts = source.counts()
            assert counts.taken == 5
            assert counts.grabbed == counts.taken + counts.dropped + counts.waiting
            is_read.set()
        sender.join(LONG)
        assert not sender.is_alive()


def test_a_stream_that_falls_silent(transport: Path) -> None:
    data = transport.read_bytes()
    with Served(data[: len(data) * 2 // 3 // 188 * 188], then="stall") as address, open_live(address, SHORT) as source:
        with pytest.raises(FrameReadError, match=r"did not come: nothing came for 0\.3 s"):
            list(source)
        assert source.has_ended


def test_a_silent_stream_can_be_closed(transport: Path) -> None:
    with Served(transport.read_bytes(), then="stall") as address:
        source = open_live(address, SHORT)
        source.take(timeout=0)
        source.close()
        assert source.has_ended
        assert source.take() is None


def test_a_stream_of_damaged_frames_only(transport: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_damaged(_feed: StreamFeed, _packet: Any) -> Iterator[FrameReadError]:
        time.sleep(SHORT / 10)
        yield FrameReadError("damaged")

    monkeypatch.setattr(StreamFeed, "_frames_of", only_damaged)
    with (
        Served(transport.read_bytes()) as address,
        pytest.raises(SourceFormatError, match="no frame that can be decoded within"),
    ):
        open_live(address, SHORT)


@pytest.mark.parametrize(
    ("data", "then", "error", "message"),
    [
        (b"", "stall", SourceNotFoundError, r"did not answer within 0\.3 s"),
        (b"", "close", SourceError, "tcp://127"),
        (b"nothing but text. " * 5000, "close", SourceFormatError, "cannot be read as a stream"),
    ],
    ids=["silent", "hangs up", "text"],
)
def test_what_is_no_stream(data: bytes, then: str, error: type[Exception], message: str) -> None:
    with Served(data, then) as address, pytest.raises(error, match=message):
        open_live(address, SHORT)


def places_of(transport: Path) -> list[int]:
    """Where the packet of each frame begins, in stored order; every 20th is a keyframe."""
    with av.open(str(transport)) as container:
        return [packet.pos for packet in container.demux(container.streams.video[0]) if packet.size]


def test_a_stream_that_is_joined_late_begins_with_its_next_keyframe(transport: Path) -> None:
    expected = images_of(transport)
    places = places_of(transport)
    with Served(transport.read_bytes()[places[5] :]) as address:
        feed = StreamFeed(address)
        found = list(feed.frames(threading.Event()))
    feed.close()
    assert [frame.index for frame in found if isinstance(frame, LiveFrame)] == list(range(40))
    assert all(np.array_equal(frame.image, image) for frame, image in zip(found, expected[20:], strict=True))  # type: ignore[union-attr]


@pytest.mark.parametrize("part", [(5, 18), (0, 3)], ids=["without a keyframe", "far too short"])
def test_a_stream_that_ends_before_its_first_frame(part: tuple[int, int], transport: Path) -> None:
    places = places_of(transport)
    first, last = part
    with (
        Served(transport.read_bytes()[places[first] : places[last]]) as address,
        pytest.raises(EmptySourceError, match="answers, but gives no frame: it ended"),
    ):
        open_live(address)


def test_damaged_frames_of_a_stream_keep_their_places(transport: Path) -> None:
    expected = images_of(transport)
    places = places_of(transport)
    data = bytearray(transport.read_bytes())
    noise = np.random.default_rng(0).bytes(88)
    for begin in range(places[20], places[21], 188):
        data[begin + 100 : begin + 188] = noise
    with Served(bytes(data)) as address:
        feed = StreamFeed(address)
        found = list(feed.frames(threading.Event()))
    feed.close()
    assert len(found) == len(expected)
    assert [str(item)[:11] for item in found if isinstance(item, FrameReadError)] == ["frame 20 of"]
    for number, item in enumerate(found):
        if isinstance(item, LiveFrame):
            assert item.index == number
            assert np.array_equal(item.image, expected[number]) or 20 < number < 40, "until the next keyframe"


def test_what_has_no_video_and_what_is_not_there(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with http_server(tmp_path) as address:
        with pytest.raises(SourceFormatError, match="no video"):
            open_live(f"{address}/sound.wav")
        with pytest.raises(SourceNotFoundError, match="404"):
            open_live(f"{address}/nothing.ts")


def test_nobody_listens_and_no_such_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for scheme in ("tcp", "http", "rtsp"):
        with pytest.raises(SourceNotFoundError, match="refused"):
            open_live(f"{scheme}://127.0.0.1:{port}/video", SHORT)
    with pytest.raises(SourceNotFoundError, match="did not answer"):
        open_live(f"udp://127.0.0.1:{port}", SHORT)
    with pytest.raises(SourceFormatError, match="Protocol not found"):
        open_live("smoke://signals")


def test_passwords_are_not_told() -> None:
    assert without_secrets("http://me:word@camera/a.ts?token=secret") == "http://camera/a.ts"
    with pytest.raises(SourceError) as raised:
        open_live("rtsp://me:word@127.0.0.1:1/a?token=secret", SHORT)
    assert "word" not in str(raised.value)
    assert "secret" not in str(raised.value)


class PretendedCamera:
    """What `cv2.VideoCapture` is to us."""

    def __init__(self, frames: list[NDArray[np.uint8]], is_open: bool = True) -> None:
        self.frames, self.is_open, self.is_released = frames, is_open, False

    def isOpened(self) -> bool:
        return self.is_open

    def set(self, _name: int, _value: float) -> bool:
        return True

    def grab(self) -> bool:
        return bool(self.frames)

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, self.frames.pop(0)

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[[PretendedCamera], PretendedCamera]:
    def plug_in(camera: PretendedCamera) -> PretendedCamera:
        monkeypatch.setattr(cv2, "VideoCapture", lambda _which, _interface: camera)
        return camera

    return plug_in


def test_a_camera(plug: Callable[[PretendedCamera], PretendedCamera]) -> None:
    black, colour = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    colour[...] = 10, 20, 30
    camera = plug(PretendedCamera([black, colour, black]))
    feed = open_feed("0")
    assert isinstance(feed, CameraFeed)
    found: list[LiveFrame] = []
    with pytest.raises(FrameReadError, match="frame 3 of camera 0 did not come"):
        found.extend(feed.frames(threading.Event()))  # type: ignore[arg-type]
    assert [frame.index for frame in found] == [0, 1, 2]
    assert [frame.image.shape[2] for frame in found] == [1, 3, 3], "gray until there is colour"
    assert found[1].image[0, 0].tolist() == [30, 20, 10], "RGB, not BGR"
    assert feed.video(3).filename == "camera 0"
    assert feed.video(3).backend_metadata["shape"] == (3, 4, 6, 1)
    feed.close()
    assert camera.is_released


def test_a_camera_that_gives_gray_or_nothing(plug: Callable[[PretendedCamera], PretendedCamera]) -> None:
    plug(PretendedCamera([np.full((4, 6), 7, np.uint8)]))
    assert open_feed(0).first.tolist() == np.full((4, 6, 1), 7).tolist()
    camera = plug(PretendedCamera([]))
    with pytest.raises(EmptySourceError, match="gives no frame"):
        open_live("/dev/video0")
    assert camera.is_released


@pytest.mark.parametrize("name", ["97", 97, "/dev/video97"])
def test_a_camera_that_is_not_there(name: str | int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceNotFoundError, match=r"There is no camera .*97"):
        open_live(name)
    assert capfd.readouterr() == ("", ""), "OpenCV has nothing to add"


def test_what_is_not_played(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"Did you mean 'two_flies\.mp4'"):
        open_live(videos / "two_flie.mp4")
    with pytest.raises(SourceFormatError, match="sleap-infer predict"):
        open_live(videos / "two_flies.truth.slp")
    with pytest.raises(SourceFormatError, match="sleap-infer predict"):
        open_live(tmp_path)
    with pytest.raises(OptionError, match="timeout"):
        open_live(videos / "two_flies.mp4", timeout=0)
    with open_live(f"file://{videos / 'two_flies.mp4'}") as source:
        assert source.name == str(videos / "two_flies.mp4")
        assert source.first.shape == (192, 192, 1)


def test_frames_that_went_by_cannot_be_read_again(videos: Path) -> None:
    with open_live(videos / "two_flies.mp4") as source:
        described = source.described(2)
    assert described.n_frames == 2
    (batch,) = described.batches(4)
    assert [frame.failure for frame in batch.frames] == [
        f"frame {n} of {videos / 'two_flies.mp4'} was not saved." for n in (0, 1)
    ]
    described.close()
