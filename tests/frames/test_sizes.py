"""Sizes of frames: tiny ones are read, and a few kilobytes that claim a huge one are refused by their header."""

from __future__ import annotations

import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sleap_infer.frames import open_source
from sleap_infer.frames.pixels.headers import too_large_image, too_large_pages


def png(side: int) -> bytes:
    """A PNG that claims a side, and holds no more than a line."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(side + 1)))
        + chunk(b"IEND", b"")
    )


def bmp(side: int) -> bytes:
    pixels = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 0, 0, 0, 0, 256, 0) + bytes(1024)
    return b"BM" + struct.pack("<IHHI", 14 + len(pixels), 0, 0, 14 + len(pixels)) + pixels


def tiff(side: int, n_pages: int = 1) -> bytes:
    content = b"II*\0" + struct.pack("<I", 8)
    for number in range(n_pages):
        tags = [
            (256, 4, side),
            (257, 4, side),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 4, side),
        ]
        tags.append((279, 4, 16))
        entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        following = len(content) + 2 + len(entries) + 4
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following if number + 1 < n_pages else 0)
    return content


def jpeg(side: int) -> bytes:
    small = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    place = small.index(b"\xff\xc0") + 5
    return small[:place] + struct.pack(">HH", side, side) + small[place + 4 :]


@pytest.mark.parametrize(("name", "make"), [("png", png), ("bmp", bmp), ("tif", tiff), ("jpg", jpeg)])
def test_huge_claims_are_refused_before_anything_is_decoded(name, make, tmp_path, read):
    (tmp_path / f"0.{name}").write_bytes(make(30000))
    assert (tmp_path / f"0.{name}").stat().st_size < 100_000
    cv2.imwrite(str(tmp_path / f"1.{name}"), np.full((20, 30), 100, np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (huge, nothing), (_, image) = read(open_source(tmp_path))
    assert nothing is None
    assert "30000 x 30000 pixels" in huge.failure
    assert image.shape == (20, 30, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_the_largest_frames_are_read():
    assert too_large_image(png(16384)) is None
    assert "16385 x 16385" in too_large_image(np.frombuffer(png(16385), np.uint8))
    assert too_large_image(b"") is None
    assert too_large_image(png(30000)[:20]) is None  # damage is for the decoder to find


def test_pages_are_looked_at(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(20000, n_pages=2))
    assert "page 0" in too_large_pages(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"nonsense")
    assert too_large_pages(tmp_path / "b.tif") is None


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 4000), (4000, 1)])
def test_small_and_thin_images_are_read(size, tmp_path, read):
    cv2.imwrite(str(tmp_path / "0.png"), np.full(size, 100, np.uint8))
    ((ref, image),) = read(open_source(tmp_path))
    assert ref.failure is None
    assert image.shape == (*size, 1)


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("Insufficient memory")])
def test_an_image_for_which_memory_is_too_short_fails_alone(error, tmp_path, read, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    cv2.imwrite(str(tmp_path / "0.png"), np.full((4, 4), 100, np.uint8))
    monkeypatch.setattr(cv2, "imdecode", fail)
    ((ref, _),) = read(open_source(tmp_path))
    assert "cannot be decoded" in ref.failure


def test_a_playlist_named_like_a_video_reads_nothing_else(tmp_path: Path):
    """Neither from the network nor as if the name were an address."""
    from sleap_infer.errors import SourceFormatError

    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.mp4").write_text(playlist)
    with pytest.raises(SourceFormatError):
        open_source(tmp_path / "a.mp4")
