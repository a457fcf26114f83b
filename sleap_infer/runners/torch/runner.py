"""PyTorch, eager: the reference that every other backend is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sleap_infer.choices import Precision
from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import BackendNotInstalledError, DeviceError, OptionError
from sleap_infer.model import ModelSpec, build_network, find_model_files
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates, requested_maps
from sleap_infer.runners.base import Images, Opening, Pending
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.streams import StreamedRunner, Streams
from sleap_infer.system.runtimes import install_command
from sleap_infer.tuning import return_freed_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Look: TypeAlias = Callable[[int, Sequence[Tensor]], Mapping[str, Tensor]]
    """Arrays on the device to candidates, with room for so many peaks per map."""

LEAST_ROOM = 8
"""Peaks per map that a GPU has room for at first."""


class InferenceRunnerTorch(StreamedRunner):
    """Runs the network with PyTorch on `cpu`, `cuda`, `cuda:N` or `mps`.

    On CUDA, batches are uploaded, worked on and taken back at the same time (`torch_cuda`), crops are cut there, and
    nothing but candidates comes back. How many peaks a batch has is not looked up in between: there is room for as many
    as any batch so far had, and a batch with more is run again.

    On a CPU, `backend_options={"streams": 1}` makes all cores work on one image, instead of each on its own, and
    `num_threads` says how many cores work on each; where only that is given, there is one stream. A frame that comes
    alone has all cores. Last bits depend on how many images go through the network together, so frames always do in
    the same number.

    Args:
        module: the bare network: (B, C, H, W) float in [0, 1] to a dict of raw maps by head name.
        spec: the model's facts.
        settings: its resolved settings.
        device: where to run; `"auto"` takes the first of cuda, mps, cpu that is there.
        returned: the heavy things that outputs carry.
        precision: of the network: `"fp32"`, `"bf16"`, or on GPUs `"fp16"`.
        streams: images on a CPU that are worked on at the same time; by default one, on as many cores as PyTorch takes.
    """

    backend: ClassVar[str | None] = "torch"
    facts: ClassVar[BackendFacts] = FACTS["torch"]
    _call_costs: ClassVar[int] = 2
    _alone_on_all_cores: ClassVar[bool] = True
    """Whether a frame that comes alone is not left to one stream."""

    def __init__(
        self,
        module: torch.nn.Module,
        spec: ModelSpec,
        settings: StageSettings,
        device: str = "auto",
        returned: ReturnOptions | None = None,
        precision: Precision = "fp32",
        streams: Streams | None = None,
    ) -> None:
        super().__init__(spec, settings, returned, streams)
        require_torch()
        import torch

        from sleap_infer.runners.torch.pose_network import PoseNetwork, ReducedNetwork

        self._device, self._precision = find_device(device), precision
        check_precision(precision, self._device)
        module = module.eval().to(self._device)
        if self._device.type != "mps":
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if precision != "fp32":
            module = ReducedNetwork(module, torch.float16 if precision == "fp16" else torch.bfloat16)
        self.module = PoseNetwork(self._prepare(module), spec, settings, keep=requested_maps(self.returned))
        self._room = LEAST_ROOM
        self._queue: Any = None
        if self._device.type == "cuda":
            from sleap_infer.runners.torch.cuda_queue import CudaQueue

            self._queue = CudaQueue(self._device, exactly=precision == "fp32")

    @classmethod
    def summary(cls) -> str:
        """Return PyTorch's version and the device that `"auto"` takes."""
        cls.require()
        import torch

        return f"PyTorch {torch.__version__} on {find_device('auto')}"

    @classmethod
    def _require(cls, device: str) -> None:
        require_torch()
        find_device(device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_torch()
        streams, unknown = read_streams(opening)
        if unknown:
            raise OptionError(
                f"backend_options of torch are streams and num_threads, both on a CPU; found {', '.join(unknown)}."
            )
        network = build_network(opening.spec, find_model_files(opening.path))
        precision = opening.precision or "fp32"
        return cls(network, opening.spec, opening.settings, opening.device, opening.returned, precision, streams)

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(self._device)

    @property
    def precision(self) -> str:
        """What the network computes in."""
        return self._precision

    @property
    def runs_beside(self) -> bool:
        """On CUDA, and where there are several streams."""
        return self._queue is not None or super().runs_beside

    @property
    def takes_device_images(self) -> bool:
        """On CUDA."""
        return self._queue is not None

    def _prepare(self, module: torch.nn.Module) -> torch.nn.Module:
        """Make the network ready on its device."""
        return module

    def _work(self, images: Images) -> Candidates:
        self._limit_threads()
        n_images = len(images)
        if self._device.type == "cpu" and self._on_frames:
            images = filled_up(images, self._images_at_once(images))
        return {name: values[:n_images] for name, values in self._compute(images).items()}

    def _limit_threads(self) -> None:
        from sleap_infer.runners.torch.threads import limit_threads

        if self.streams.n_threads:
            limit_threads(self.streams.n_threads)

    def _compute(self, images: Images) -> Candidates:
        """Candidates of images that go through the network together."""
        import torch

        from sleap_infer.runners.torch.tensors import to_tensor

        with torch.inference_mode():
            with self.stopwatch.timing("network"):
                maps = self.module.draw(to_tensor(images).to(self._device))
            with self.stopwatch.timing("candidates"):
                found = self.module.find(maps)
            return {name: value.cpu().numpy() for name, value in found.items()}

    @property
    def _on_frames(self) -> bool:
        return not self.spec.row.on_crops

    def _images_at_once(self, images: Images) -> int:
        if self._device.type != "cpu":
            return len(images)
        most = super()._images_at_once(images)
        return math.gcd(most, self.streams.at_once) if self._on_frames else most

    def _start(self, images: Images) -> Pending:
        if self._queue is not None:
            return self._launch(lambda room, inputs: self._look(inputs[0], room), images)
        takes_all_cores = self.n_streams == 1 or (self._alone_on_all_cores and self.streams.at_once > 1)
        if not (len(images) == 1 and self._on_frames and takes_all_cores):
            return super()._start(images)
        if self.n_streams == 1:
            self._limit_threads()
        found = self._compute(images)
        return lambda: found

    def _start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        if self._queue is None:
            return super()._start_crops(frames, which, first, at_once)
        return self._launch(partial(self._look_at_crops, at_once), frames, which, first)

    def _look(self, images: Tensor, room: int) -> Mapping[str, Tensor]:
        """Candidates of images on the device, as tensors of their own."""
        found: Mapping[str, Tensor] = self.module(images, room=room)
        return found

    def _look_at_crops(self, at_once: int, room: int, inputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Candidates of crops that are cut, scaled and padded on the device."""
        import torch

        from sleap_infer.poses.preprocess import take_crops

        frames, which, first = inputs
        images, side = self.settings.images, self.settings.crop_size
        assert side is not None
        parts = []
        for begin in range(0, len(which), at_once):
            now = slice(begin, begin + at_once)
            parts.append(self._look(take_crops(frames, which[now], first[now], side, images), room))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _launch(self, look: Look, *arrays: NDArray[Any]) -> Pending:
        """Begin on the device; once more, with more room, where that turns out too small."""
        limit = self.settings.peaks.max_peaks_per_node
        room = min(self._room, limit or self._room)
        flight = self._queue.start(partial(look, room), *arrays)

        def take() -> Candidates:
            found: Candidates = flight.take()
            counts = found.pop("n_candidates", None)
            needed = 0 if counts is None else int(counts.max(initial=0))
            if min(needed, limit or needed) <= room:
                return found
            self._room = max(self._room, -(-needed // LEAST_ROOM) * LEAST_ROOM)
            return self._launch(look, *arrays)()

        return take

    def _close(self) -> None:
        self.module = self.module.to("cpu")
        if self._queue is not None:
            self._queue.close()
        if self._device.type == "cpu":
            return_freed_memory()


def filled_up(images: Images, n_images: int) -> Images:
    """Pad a batch to at least `n_images` with empty images.

    >>> filled_up(np.ones((3, 1, 2, 2)), 4)[:, 0, 0, 0]
    array([1., 1., 1., 0.])
    """
    missing = n_images - len(images)
    return images if missing <= 0 else np.concatenate([images, np.zeros_like(images[:1]).repeat(missing, axis=0)])


def read_streams(opening: Opening) -> tuple[Streams, dict[str, Any]]:
    """How a CPU's cores are divided, and other options. One stream has as many threads as PyTorch takes by itself.

    Raises:
        OptionError: a number is none.
    """
    if find_device(opening.device).type != "cpu":
        return Streams(at_once=opening.at_once), dict(opening.backend_options)
    streams, rest = Streams.read(opening, "num_threads")
    if streams.n_streams == 1 and "num_threads" not in opening.backend_options:
        streams = Streams(at_once=opening.at_once)
    return streams, rest


def require_torch() -> None:
    """Check that PyTorch is installed.

    Raises:
        BackendNotInstalledError: it is not installed, or broken.
    """
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        raise BackendNotInstalledError(
            f"PyTorch cannot be imported ({error}). Install it with: {install_command('torch')}; to export "
            f"models, {install_command('torch,export')}. If it is installed, run: sleap-infer doctor"
        ) from error


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse what PyTorch does not compute in, or not at a speed that makes sense.

    Raises:
        OptionError: it does not.
    """
    if precision == "int8":
        raise OptionError(
            "precision='int8' is made by exporting: sleap-infer export --precision int8. PyTorch runs trained models "
            "in fp32, bf16 and, on GPUs, fp16."
        )
    if precision == "fp16" and device.type == "cpu":
        raise OptionError(
            "precision='fp16' is a hundred times slower with PyTorch on most CPUs. Use 'bf16' or 'fp32', or "
            "backend='openvino', which computes in fp16 where the CPU has arithmetic for it."
        )


def find_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        DeviceError: there is no such device, or it is not on this machine.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}. Use auto, cpu, cuda, cuda:N or mps.") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in count:
        raise DeviceError(f"Device {name!r} is not used here. Use auto, cpu, cuda, cuda:N or mps.")
    if (device.index or 0) >= count[device.type]:
        raise DeviceError(
            f"Device {name!r} is not there: PyTorch {torch.__version__} sees {count[device.type]} {device.type} "
            "device(s) on this machine. Use device='cpu', or 'auto' for the best that is there; to find out why, run: "
            "sleap-infer doctor"
        )
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
