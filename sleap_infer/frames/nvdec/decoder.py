"""Frames of a video file, decoded by a GPU: the same ones, index for index, as tensors that stay there.

FFmpeg reads the packets, so that indices are those of the CPU. The first frame of the GPU is compared with that of the
CPU. If the GPU cannot decode a video, the CPU does, and a warning gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.nvdec.session import CODECS, NvidiaDecoder, load_package
from sleap_infer.frames.nvdec.surfaces import CannotDecode, Surface, SurfaceContainer, SurfaceDecoder, codec_of
from sleap_infer.frames.reader import AnyImage
from sleap_infer.frames.readers.av import VideoFileReader, to_image
from sleap_infer.frames.readers.packets import has_times, in_order
from sleap_infer.frames.source import Source, VideoPart
from sleap_infer.reports import Fallback, Reports

if TYPE_CHECKING:
    from sleap_infer.ops.yuv import YuvMatrix

PIXELS = ("yuv420p", "yuvj420p")
"""Formats whose conversion to RGB is known to be that of the CPU; the second one has the full range of luma."""

FULL_RANGE = 2
"""Number of the full range of luma in FFmpeg."""

CONVERT = "To have it decoded there, convert it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4"

MAX_DIFFERENCE = 2
"""Gray levels by which the first frame may differ from the CPU's."""


def decode_on_device(source: Source, device: str, reports: Reports | None = None) -> Source:
    """Return the source with its video files decoded by a GPU; unchanged, with a warning, if that is not possible.

    Args:
        source: opened.
        device: such as `"cuda:0"`.
        reports: where fallbacks to the CPU go.
    """
    reports = reports or Reports()
    try:
        load_package()
    except CannotDecode as reason:
        warn(reports, source.name, reason)
        return source
    parts = tuple(_on_device(part, device, reports) for part in source.parts)
    n_others = sum(not isinstance(part.reader, NvdecReader) for part in parts)
    if n_others:
        warn(reports, source.name, f"{n_others} of its {len(parts)} videos are not in video files")
    return attrs.evolve(source, parts=parts)


def warn(reports: Reports, name: object, reason: object) -> None:
    """Report that the CPU decodes, although the GPU was asked for."""
    fallback = Fallback("decoder", "nvdec", "cpu", f"{name}: {reason}")
    reports.fall_back(fallback, f"decoder='nvdec': the CPU decodes {name}: {reason}")


def _on_device(part: VideoPart, device: str, reports: Reports) -> VideoPart:
    reader = part.reader
    if not isinstance(reader, VideoFileReader):
        return part
    return attrs.evolve(part, reader=NvdecReader(reader.path, device, reader.settle_channels(), reports))


class NvdecReader(VideoFileReader):
    """Reads a video file like `VideoFileReader`, on a GPU.

    Args:
        path: of the file.
        device: of the GPU, such as `"cuda:0"`.
        grayscale: as in `VideoFileReader`.
        reports: where fallbacks to the CPU go.
    """

    def __init__(self, path: Path, device: str, grayscale: bool | None = None, reports: Reports | None = None) -> None:
        super().__init__(path, grayscale)
        self._reports = reports or Reports()
        self.device = device
        self._size, self._quarter_turns = (0, 0), 0
        self._matrix: YuvMatrix | None = None

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read frames; see `Reader`. From where the GPU stops, if it does, the CPU goes on."""
        if frame_inds is None:
            return self.read_from(0)
        return self._while_it_can(super().read(frame_inds), frame_inds, -1)

    def read_from(self, begin: int) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read all frames from an index on. From where the GPU stops, if it does, the CPU goes on."""
        return self._while_it_can(super().read_from(begin), None, begin - 1)

    def _while_it_can(
        self, frames: Any, frame_inds: Sequence[int] | None, last: int
    ) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        try:
            if self._matrix is None:
                self._prepare()
            with closing(frames):
                for last, found in frames:
                    yield last, found
            return
        except CannotDecode as reason:
            since = f" from frame {last + 1} on" if last >= 0 else ""
            warn(self._reports, f"{self.path}{since}", reason)
        host = VideoFileReader(self.path, self.grayscale)
        rest = None if frame_inds is None else [frame_idx for frame_idx in frame_inds if frame_idx > last]
        on_host: Any = host.read_from(last + 1) if rest is None else host.read(rest) if rest else iter(())
        for frame_idx, found in on_host:
            self.time_s = host.time_s
            yield frame_idx, found

    def _prepare(self) -> None:
        """Look at the first frame, decide how frames are converted, and check that with this frame.

        Raises:
            CannotDecode: the GPU does not decode this file, or not as the CPU does.
        """
        from sleap_infer.ops.yuv import yuv_matrix

        first = self._first()
        with self._open() as container:
            check_fit(container, first)
        self.settle_channels()
        turns, rest = divmod(first.rotation, 90)
        self._size, self._quarter_turns = (first.height, first.width), 0 if rest else turns
        full_range = first.format.name == PIXELS[1] or int(first.color_range) == FULL_RANGE
        self._matrix = yuv_matrix(int(first.colorspace), full_range)
        try:
            self._compare(first)
        except CannotDecode:
            self._matrix = None
            raise

    def _compare(self, first: Any) -> None:
        with self._open_to_decode() as container:
            found = next((frame for _, frame in in_order(container) if frame is not None), None)
        if found is None:
            raise CannotDecode("the GPU decodes none of its frames")
        if found.pts != first.pts:
            raise CannotDecode("the frame that the GPU decodes first is not the CPU's first")
        expected, image = to_image(first, self.grayscale), self._to_image(found).cpu().numpy()
        if image.shape != expected.shape:
            raise CannotDecode(f"the GPU's frames are {image.shape}, and the CPU's {expected.shape}")
        difference = int(np.abs(image.astype(np.int16) - expected).max())
        if difference > MAX_DIFFERENCE:
            raise CannotDecode(f"the GPU's first frame differs from the CPU's by {difference} gray levels")

    def _on_host(self) -> VideoFileReader:
        return VideoFileReader(self.path)

    def _open_to_decode(self) -> SurfaceContainer:
        return SurfaceContainer(self._open(), self._open_decoder)

    def _open_decoder(self, codec: str) -> SurfaceDecoder:
        return NvidiaDecoder(codec, self._size, self.device)

    def _to_image(self, frame: Surface) -> Any:
        import torch

        from sleap_infer.ops.yuv import nv12_to_rgb

        assert self._matrix is not None
        image = nv12_to_rgb(frame.pixels, self._matrix, red_only=bool(self.grayscale))
        return torch.rot90(image, self._quarter_turns) if self._quarter_turns else image


def check_fit(container: Any, first: Any) -> None:
    """Check what is known of a file before a GPU sees it.

    Args:
        container: open.
        first: the first frame that the CPU decodes, if there is one.

    Raises:
        CannotDecode: it is not decoded on a GPU.
    """
    from sleap_infer.ops.yuv import LUMA_WEIGHTS

    codec = codec_of(container.streams.video[0])
    if codec not in CODECS:
        raise CannotDecode(f"it is compressed as {codec}, and the GPU decodes {', '.join(CODECS)}. {CONVERT}")
    if first is None:
        raise CannotDecode("none of its frames can be decoded")
    if first.format.name not in PIXELS:
        raise CannotDecode(f"its pixels are {first.format.name}, and the GPU's are {PIXELS[0]}. {CONVERT}")
    if first.interlaced_frame:
        raise CannotDecode("it is interlaced, and the GPU would mix its lines")
    if first.width % 2 or first.height % 2:
        raise CannotDecode(f"its frames of {first.width} x {first.height} pixels have an odd side")
    if int(first.colorspace) not in LUMA_WEIGHTS:
        raise CannotDecode(f"its colours are of a kind that is not converted ({first.colorspace})")
    if not has_times(container):
        raise CannotDecode("it does not say when its frames are shown, as AVI files with B-frames")
