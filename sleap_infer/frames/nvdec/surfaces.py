"""Packets of a video for another decoder than FFmpeg's, with the interface of PyAV.

FFmpeg still opens the file and gives its packets, with the time of each. So `frames.readers.packets` and
`frames.readers.seeking` find the index of a frame in the same way, whatever decodes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, Self

from attrs import frozen
from av.bitstream import BitStreamFilterContext

if TYPE_CHECKING:
    from torch import Tensor

START_CODES = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
"""Filters that turn packets of MP4 and Matroska, which have lengths, into a stream with start codes."""


class CannotDecode(Exception):
    """Why a file, or the rest of it, is not decoded on the device."""


class SurfaceDecoder(Protocol):
    """Decodes one video on a device."""

    def decode(self, data: bytes, time: int) -> list[tuple[int, Tensor]]:
        """Feed one packet; an empty one is the end.

        Args:
            data: of the packet, with start codes.
            time: which its picture comes back with.

        Returns:
            The pictures that are complete, in the order in which they are shown: the time of each, and its pixels in
            NV12 (3 / 2 * H, W), uint8, in memory of its own.

        Raises:
            CannotDecode: it cannot go on.
        """

    def close(self) -> None:
        """Give the memory back."""


@frozen(eq=False)
class Surface:
    """A decoded picture on a device, with what is asked of a `av.VideoFrame`.

    Attributes:
        pts: its time.
        key_frame: whether it refers to no other.
        pixels: (3 / 2 * H, W) uint8, NV12.
        is_corrupt: never known of these.
    """

    pts: int
    key_frame: bool
    pixels: Tensor
    is_corrupt: bool = False


class SurfaceContainer:
    """An open container whose packets give surfaces; a context manager, like the container of PyAV that it holds.

    Args:
        container: just opened; closed along with this one.
        open_decoder: called with the name of the codec, when the first packet is decoded.
    """

    def __init__(self, container: Any, open_decoder: Callable[[str], SurfaceDecoder]) -> None:
        self._container = container
        self._stream = container.streams.video[0]
        self._codec: str = codec_of(self._stream)
        name = START_CODES.get(self._codec)
        self._filter = None if name is None else BitStreamFilterContext(name, self._stream)
        self._open_decoder = open_decoder
        self._decoder: SurfaceDecoder | None = None
        self._fed: dict[int, tuple[bool, bool]] = {}

    def __getattr__(self, name: str) -> Any:
        """All else is as PyAV has it."""
        return getattr(self._container, name)

    def __enter__(self) -> Self:
        """Enter the lifetime of the container."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the container and the decoder."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
        self._container.close()

    def demux(self, stream: Any) -> Iterator[SurfacePacket]:
        """Packets of the video stream."""
        return (SurfacePacket(packet, self.decode) for packet in self._container.demux(stream))

    def decode(self, packet: Any) -> list[Surface]:
        """Return the images that are complete when a packet is added, without hidden or discarded ones."""
        if self._decoder is None:
            self._decoder = self._open_decoder(self._codec)
        found = [picture for data, time in self._prepare(packet) for picture in self._decoder.decode(data, time)]
        surfaces = []
        for time, pixels in found:
            is_key, is_hidden = self._fed.pop(time, (False, True))
            if not is_hidden:
                surfaces.append(Surface(time, is_key, pixels))
        return surfaces

    def _prepare(self, packet: Any) -> list[tuple[bytes, int]]:
        """Return the data of a packet for the decoder."""
        if not packet.size:
            return [(b"", 0)]
        time = packet.pts
        if time is None:
            raise CannotDecode("a packet does not say when its frame is shown")
        self._fed[time] = packet.is_keyframe, packet.is_discard
        packets = [packet] if self._filter is None else self._filter.filter(packet)
        return [(bytes(part), time) for part in packets]


@frozen
class SurfacePacket:
    """A packet of PyAV that gives surfaces."""

    _packet: Any
    _decode: Callable[[Any], list[Surface]]

    def __getattr__(self, name: str) -> Any:
        """All else is as PyAV has it."""
        return getattr(self._packet, name)

    def __bytes__(self) -> bytes:
        """Return the data."""
        return bytes(self._packet)

    def decode(self) -> list[Surface]:
        """Pictures that are complete now."""
        return self._decode(self._packet)


def codec_of(stream: Any) -> str:
    """Return the codec of a stream, whichever of FFmpeg's decoders would read it."""
    return str(stream.codec_context.codec.canonical_name)
