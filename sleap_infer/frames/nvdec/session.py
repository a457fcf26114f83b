"""The video decoder of NVIDIA's GPUs, by PyNvVideoCodec, which is imported when it is used."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sleap_infer.frames.nvdec.surfaces import CannotDecode
from sleap_infer.system.runtimes import install_command

if TYPE_CHECKING:
    from torch import Tensor

CODECS = {"h264": "H264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1"}
"""Codecs that are decoded, and PyNvVideoCodec's name for it."""


class NvidiaDecoder:
    """Decodes one video on one GPU.

    The decoder writes into the same memory again with each packet, so pictures are copied out of it. It works on CUDA's
    default stream, and so does PyTorch in the threads that read and preprocess: nothing there overtakes anything.

    Args:
        codec: one of `CODECS`.
        size: (height, width) of the frames.
        device: such as `"cuda:0"`.

    Raises:
        CannotDecode: the package, the driver or the GPU does not.
    """

    def __init__(self, codec: str, size: tuple[int, int], device: str) -> None:
        import torch

        self._package = load_package()
        self._device = torch.device(device)
        check_capabilities(codec, size, self._device.index or 0)
        name = getattr(self._package.cudaVideoCodec, CODECS[codec])
        try:
            with torch.cuda.device(self._device):
                self._decoder = self._package.CreateDecoder(
                    gpuid=self._device.index or 0, codec=name, usedevicememory=True
                )
        except errors_of(self._package) as error:
            raise CannotDecode(f"the GPU's decoder cannot be opened ({in_short(error)})") from error

    def decode(self, data: bytes, time: int) -> list[tuple[int, Tensor]]:
        """Feed one packet; see `SurfaceDecoder`."""
        import torch
        from torch.utils.dlpack import from_dlpack

        packet = self._package.PacketData()
        memory = np.frombuffer(data, np.uint8) if data else None  # stays until the packet is decoded
        if memory is not None:
            packet.bsl_data, packet.bsl, packet.pts = memory.ctypes.data, len(data), time
        try:
            with torch.cuda.device(self._device):
                found = self._decoder.Decode(packet)
                return [(int(frame.getPTS()), from_dlpack(frame).clone()) for frame in found]
        except errors_of(self._package) as error:
            raise CannotDecode(f"the GPU's decoder stopped ({in_short(error)})") from error

    def close(self) -> None:
        """Give the decoder's memory back, when nothing is copied out of it any more."""
        import torch

        torch.cuda.current_stream(self._device).synchronize()
        self._decoder = None


def load_package() -> Any:
    """PyNvVideoCodec.

    Raises:
        CannotDecode: it is not installed, or does not find the driver.
    """
    try:
        import PyNvVideoCodec
    except (ImportError, OSError, RuntimeError) as error:
        if getattr(error, "name", None) == "PyNvVideoCodec":
            raise CannotDecode(
                f"PyNvVideoCodec is not installed. Install it with: {install_command('nvdec')}"
            ) from error
        raise CannotDecode(
            f"PyNvVideoCodec does not find the video part of NVIDIA's driver ({in_short(error)}). A container needs "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video; to find out more, run: sleap-infer doctor"
        ) from error
    return PyNvVideoCodec


def errors_of(package: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions of PyNvVideoCodec and PyTorch."""
    return (RuntimeError, ValueError, TypeError, package.PyNvVCException, package.PyNvVCExceptionUnsupported)


def check_capabilities(codec: str, size: tuple[int, int], gpu: int) -> None:
    """Ask before decoding: what a GPU does not decode is otherwise found deep inside of the driver.

    Raises:
        CannotDecode: it does not decode this.
    """
    can = _capabilities(codec, gpu)
    if not can.get("supported", 1):
        raise CannotDecode(f"the GPU does not decode {codec}")
    for side, name in zip(size, ("height", "width"), strict=True):
        least, most = can.get(f"{name}_min", 0), can.get(f"{name}_max", side)
        if not least <= side <= most:
            raise CannotDecode(f"its frames have a {name} of {side} pixels, and the GPU decodes {least} to {most}")


@lru_cache(maxsize=32)
def _capabilities(codec: str, gpu: int) -> dict[str, int]:
    package = load_package()
    try:
        found: dict[str, int] = package.GetDecoderCaps(gpuid=gpu, codec=getattr(package.cudaVideoCodec, CODECS[codec]))
    except errors_of(package) as error:
        raise CannotDecode(f"the GPU does not say what it decodes ({in_short(error)})") from error
    return found


def in_short(error: Exception) -> str:
    """Return the first line of an error's message; some are a page long.

    >>> in_short(RuntimeError("no library" + 2 * chr(10) + "TROUBLESHOOTING"))
    'no library'
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
