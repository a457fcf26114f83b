"""PyTorch, eager: the reference that every other backend is compared with."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from sleap_infer.candidates import Candidates
from sleap_infer.choices import Backend
from sleap_infer.errors import BackendNotInstalledError, DeviceError
from sleap_infer.model import ModelSpec, build_network, find_model_files
from sleap_infer.options import ReturnOptions
from sleap_infer.runners.base import BaseInferenceRunner, Images, Opening, kept_maps, refuse_backend_options
from sleap_infer.settings import StageSettings

if TYPE_CHECKING:
    import torch


class InferenceRunnerTorch(BaseInferenceRunner):
    """Runs the network with PyTorch on `cpu`, `cuda`, `cuda:N` or `mps`, in 32-bit floats.

    Args:
        module: the bare network: (B, C, H, W) float in [0, 1] to a dict of raw maps by head name.
        spec: the model's facts.
        settings: its resolved settings.
        device: where to run; `"auto"` takes the first of cuda, mps, cpu that is there.
        returned: the heavy things that outputs carry.
    """

    backend: ClassVar[Backend | None] = "torch"

    def __init__(
        self,
        module: torch.nn.Module,
        spec: ModelSpec,
        settings: StageSettings,
        device: str = "auto",
        returned: ReturnOptions | None = None,
    ) -> None:
        super().__init__(spec, settings, returned)
        require_torch()
        import torch

        from sleap_infer.runners.pose_network import PoseNetwork

        self._device = find_device(device)
        module = module.eval().to(self._device)
        if self._device.type != "mps":
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = PoseNetwork(self._prepare(module), spec, settings, keep=kept_maps(self.returned))

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        refuse_backend_options(cls.backend or "torch", opening.backend_options)
        require_torch()
        network = build_network(opening.spec, find_model_files(opening.path))
        return cls(network, opening.spec, opening.settings, opening.device, opening.returned)

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(self._device)

    def _prepare(self, module: torch.nn.Module) -> torch.nn.Module:
        """Make the network ready on its device."""
        return module

    def _predict(self, images: Images) -> Candidates:
        import torch

        with torch.inference_mode(), full_precision(self._device):
            found = self.module(to_tensor(images).to(self._device, non_blocking=True))
            return {name: value.cpu().numpy() for name, value in found.items()}

    def _close(self) -> None:
        self.module = self.module.to("cpu")
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def require_torch() -> None:
    """Check that PyTorch is installed.

    Raises:
        BackendNotInstalledError: it is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendNotInstalledError(
            "PyTorch is not installed. Install it with: pip install 'sleap-infer[torch]'; to export models, "
            "pip install 'sleap-infer[torch,export]'"
        ) from error


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in true 32-bit floats: by default CUDA rounds their inputs to 10 bits (TF32), which moves points."""
    if device.type != "cuda":
        return nullcontext()
    from torch.backends import cudnn

    exact: AbstractContextManager[None] = cudnn.flags(enabled=True, allow_tf32=False)
    return exact


def find_device(name: str) -> torch.device:
    """The device of a name.

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
            "device(s) on this machine. Use device='cpu', or 'auto' for the best that is there."
        )
    return device


def to_tensor(images: Images) -> torch.Tensor:
    """A tensor over the memory of an array; frames may be read-only, and are only read."""
    import torch

    if not images.flags.writeable:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(images)
    return torch.from_numpy(np.ascontiguousarray(images) if min(images.strides) < 0 else images)
