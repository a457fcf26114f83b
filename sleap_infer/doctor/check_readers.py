"""Checks of readers: read frames of the package and compare them pixel by pixel."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sleap_infer.doctor.reference import Reference


def read_video(_device: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Read a video with PyAV."""
    from sleap_infer.frames.readers.av import VideoFileReader

    reference = Reference.read()
    reader = VideoFileReader(reference.video_path)
    return _compare(lambda: [image for _, image in reader.read(reference.frame_inds)], reference, progress)


def read_images(_device: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Read image files with OpenCV."""
    import cv2

    from sleap_infer.frames.readers.images import ImageFilesReader

    reference = Reference.read()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in reference.frame_inds]
        for path, image in zip(paths, reference.images, strict=True):
            cv2.imwrite(str(path), image)
        return _compare(lambda: [image for _, image in ImageFilesReader(paths).read(None)], reference, progress)


def read_on_gpu(device: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Read a video with the GPU's decoder. Frames that the CPU decoded instead are not tensors."""
    from sleap_infer.frames.nvdec.decoder import NvdecReader

    reference = Reference.read()
    reader = NvdecReader(reference.video_path, device)
    used: set[str] = set()

    def read() -> list[Any]:
        found: list[Any] = [image for _, image in reader.read(reference.frame_inds)]
        used.update(str(getattr(image, "device", "cpu")) for image in found)
        return [image.cpu().numpy() if hasattr(image, "cpu") else image for image in found]

    return {**_compare(read, reference, progress), "device": min(used)}


READ: Mapping[str, Callable[[str, Callable[[str], None]], dict[str, Any]]] = {
    "video": read_video,
    "images": read_images,
    "nvdec": read_on_gpu,
}


def _compare(read: Callable[[], Any], reference: Reference, progress: Callable[[str], None]) -> dict[str, Any]:
    """Read twice, and return the largest difference in grey levels."""
    progress("reading for the first time")
    read()
    progress("reading")
    start = time.perf_counter()
    images = read()
    seconds = time.perf_counter() - start
    for image in images:
        if isinstance(image, Exception):
            raise image
    apart = np.abs(np.stack(images)[..., :1].astype(int) - reference.images)
    return {"agreement": float(apart.max()), "ms": 1000 * seconds / len(images), "device": "cpu"}
