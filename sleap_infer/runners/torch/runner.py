"""PyTorch, eager: the reference for all other backends."""

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

    Find: TypeAlias = Callable[[int, Sequence[Tensor]], Mapping[str, Tensor]]
    """Maps a capacity (peaks per map) and arrays on the device to candidates."""

LEAST_CAPACITY = 8
"""Initial capacity of a GPU, in peaks per map."""


class InferenceRunnerTorch(StreamedRunner):
    """Runs the network with PyTorch on `cpu`, `cuda`, `cuda:N` or `mps`.

    On CUDA, uploading, computing and downloading of batches overlap (`cuda_queue`), crops are cut on the GPU, and only
    candidates are downloaded. The capacity for peaks is that of the largest batch so far; a batch with more peaks runs
    again.

    On a CPU, `backend_options={"streams": 1}` makes all cores work on one image, and `num_threads` sets the number of
    cores per image; if only that is given, there is one stream. A single frame gets all cores. The last bits depend on
    the number of images per call, so frames always run in the same number.

    Args:
        module: the network: (B, C, H, W) float in [0, 1] to raw maps by head name.
        spec: the model's facts.
        settings: its resolved settings.
        device: where to run; `"auto"`: the first available of cuda, mps, cpu.
        returned: the large arrays that outputs carry.
        precision: of the network: `"fp32"`, `"bf16"`, or on GPUs `"fp16"`.
        streams: how CPU cores are divided; by default one stream with PyTorch's number of threads.
    """

    backend: ClassVar[str | None] = "torch"
    facts: ClassVar[BackendFacts] = FACTS["torch"]
    _call_costs: ClassVar[int] = 2
    _alone_on_all_cores: ClassVar[bool] = True
    """Whether a single frame gets all cores."""

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
        self._capacity = LEAST_CAPACITY
        self._queue: Any = None
        if self._device.type == "cuda":
            from sleap_infer.runners.torch.cuda_queue import CudaQueue

            self._queue = CudaQueue(self._device, exactly=precision == "fp32")

    @classmethod
    def summary(cls) -> str:
        """Return PyTorch's version and the device of `"auto"`."""
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
        """Return the device of the network."""
        return str(self._device)

    @property
    def precision(self) -> str:
        """Return the precision of the network."""
        return self._precision

    @property
    def runs_beside(self) -> bool:
        """Return whether it runs on CUDA, or in several streams."""
        return self._queue is not None or super().runs_beside

    @property
    def takes_device_images(self) -> bool:
        """Return whether it runs on CUDA."""
        return self._queue is not None

    def _prepare(self, module: torch.nn.Module) -> torch.nn.Module:
        """Prepare the network on its device."""
        return module

    def _work(self, images: Images) -> Candidates:
        self._limit_threads()
        n_images = len(images)
        if self._device.type == "cpu" and self._on_frames:
            images = padded(images, self._images_at_once(images))
        return {name: values[:n_images] for name, values in self._compute(images).items()}

    def _limit_threads(self) -> None:
        from sleap_infer.runners.torch.threads import limit_threads

        if self.streams.n_threads:
            limit_threads(self.streams.n_threads)

    def _compute(self, images: Images) -> Candidates:
        """Return the candidates of images in one call."""
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
            return self._launch(lambda capacity, inputs: self._find(inputs[0], capacity), images)
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
        return self._launch(partial(self._find_at_crops, at_once), frames, which, first)

    def _find(self, images: Tensor, capacity: int) -> Mapping[str, Tensor]:
        """Return the candidates of images on the device, in memory of their own."""
        found: Mapping[str, Tensor] = self.module(images, capacity=capacity)
        return found

    def _find_at_crops(self, at_once: int, capacity: int, inputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Cut, scale and pad crops on the device, and return their candidates."""
        import torch

        from sleap_infer.poses.preprocess import take_crops

        frames, which, first = inputs
        images, side = self.settings.images, self.settings.crop_size
        assert side is not None
        parts = []
        for begin in range(0, len(which), at_once):
            now = slice(begin, begin + at_once)
            parts.append(self._find(take_crops(frames, which[now], first[now], side, images), capacity))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _launch(self, find: Find, *arrays: NDArray[Any]) -> Pending:
        """Start on the device; run again with a larger capacity if it was too small."""
        limit = self.settings.peaks.max_peaks_per_node
        capacity = min(self._capacity, limit or self._capacity)
        flight = self._queue.start(partial(find, capacity), *arrays)

        def take() -> Candidates:
            found: Candidates = flight.take()
            counts = found.pop("n_candidates", None)
            needed = 0 if counts is None else int(counts.max(initial=0))
            if min(needed, limit or needed) <= capacity:
                return found
            self._capacity = max(self._capacity, -(-needed // LEAST_CAPACITY) * LEAST_CAPACITY)
            return self._launch(find, *arrays)()

        return take

    def _close(self) -> None:
        self.module = self.module.to("cpu")
        if self._queue is not None:
            self._queue.close()
        if self._device.type == "cpu":
            return_freed_memory()


def padded(images: Images, n_images: int) -> Images:
    """Pad a batch to at least `n_images` with empty images.

    >>> padded(np.ones((3, 1, 2, 2)), 4)[:, 0, 0, 0]
    array([1., 1., 1., 0.])
    """
    missing = n_images - len(images)
    return images if missing <= 0 else np.concatenate([images, np.zeros_like(images[:1]).repeat(missing, axis=0)])


def read_streams(opening: Opening) -> tuple[Streams, dict[str, Any]]:
    """Return the division of CPU cores, and the other options. One stream has PyTorch's number of threads.

    Raises:
        OptionError: a value is not a whole number.
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
    """Refuse precisions that PyTorch does not have, or that are much slower than fp32.

    Raises:
        OptionError: for these.
    """
    if precision == "int8":
        raise OptionError(
            "precision='int8' needs an export: sleap-infer export --precision int8. PyTorch runs trained models "
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
