"""Compiled PyTorch: the network as machine code for its input size."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import numpy as np

from sleap_infer.choices import Precision
from sleap_infer.config.options import ReturnOptions
from sleap_infer.errors import BackendNotInstalledError, OptionError
from sleap_infer.model import ModelSpec, build_network, find_model_files
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.reports import reports
from sleap_infer.runners.base import Images, Opening
from sleap_infer.runners.batching import padded_size
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.streams import Streams
from sleap_infer.runners.torch.compiled_code import check_code_directory, in_code_directory, seal_code
from sleap_infer.runners.torch.runner import InferenceRunnerTorch, find_device, read_streams, require_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COMPILERS = ("g++", "clang++", "c++")

MOST_SIZES = 1024
"""Maximum number of models and image sizes that a process may compile for."""


@attrs.frozen
class CompileOptions:
    """The `backend_options` of torch_compile.

    Attributes:
        mode: of `torch.compile`; on CUDA, `"max-autotune-no-cudagraphs"` takes minutes and may be faster.
        cuda_graph: whether a batch is one launch on the GPU instead of hundreds.
        at_once: images of a full batch; by default the predictor's batch size.
        streams: how a CPU's cores are divided, as in `InferenceRunnerTorch`.
    """

    mode: str = attrs.field(
        default="default", validator=attrs.validators.in_(("default", "max-autotune-no-cudagraphs"))
    )
    cuda_graph: bool = attrs.field(default=True, converter=bool)
    at_once: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    streams: Streams = attrs.field(factory=Streams, validator=attrs.validators.instance_of(Streams))

    @classmethod
    def read(cls, opening: Opening) -> Self:
        """Read the options of an opening.

        Raises:
            OptionError: an unknown one, or a wrong value.
        """
        streams, given = read_streams(opening)
        try:
            options = cls(**{"at_once": opening.at_once, **given})
            return attrs.evolve(options, streams=attrs.evolve(streams, at_once=options.at_once))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"backend_options of torch_compile are mode ('default' or 'max-autotune-no-cudagraphs'), cuda_graph "
                "(true or false), at_once (a number of images), and on a CPU streams and num_threads, found "
                f"{given}."
            ) from error


class InferenceRunnerTorchCompile(InferenceRunnerTorch):
    """Runs the network through `torch.compile`: on CPUs with weights folded in, on CUDA as one launch per batch.

    The first batch of each image size takes up to a minute; compiled code is cached on disk
    (`$TORCHINDUCTOR_CACHE_DIR`). A batch with fewer images is padded to a compiled size. Peaks are found by the same
    code as in eager mode.

    Args:
        module: as in `InferenceRunnerTorch`, like all that follow.
        spec: the model's facts.
        settings: its resolved settings.
        device: where to run.
        returned: the large arrays that outputs carry.
        precision: of the network.
        options: how to compile.
    """

    backend: ClassVar[str | None] = "torch_compile"
    facts: ClassVar[BackendFacts] = FACTS["torch_compile"]
    _call_costs: ClassVar[int] = 1
    _alone_on_all_cores: ClassVar[bool] = False
    """False: another number of threads would need another compilation."""

    def __init__(
        self,
        module: torch.nn.Module,
        spec: ModelSpec,
        settings: StageSettings,
        device: str = "auto",
        returned: ReturnOptions | None = None,
        precision: Precision = "fp32",
        options: CompileOptions | None = None,
    ) -> None:
        self._options = options or CompileOptions()
        self._batch_sizes: dict[tuple[int | str, ...], set[int]] = {}
        self._compiling = threading.Lock()
        self._replays: Any = None
        self._reports = reports()
        super().__init__(module, spec, settings, device, returned, precision, self._options.streams)
        if self._queue is not None:
            from sleap_infer.runners.torch.cuda_graphs import Replays

            self._replays = Replays(self.module, self._options.cuda_graph, self._options.at_once)

    @classmethod
    def _require(cls, device: str) -> None:
        super()._require(device)
        if find_device(device).type == "cpu":
            require_compiler()

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        require_torch()
        options = CompileOptions.read(opening)
        network = build_network(opening.spec, find_model_files(opening.path))
        precision = opening.precision or "fp32"
        return cls(network, opening.spec, opening.settings, opening.device, opening.returned, precision, options)

    def _prepare(self, module: torch.nn.Module) -> torch.nn.Module:
        if self._device.type == "cpu":
            require_compiler()
        check_code_directory()
        import torch

        settings = {"freezing": True} if self._device.type == "cpu" else {}
        with in_code_directory():  # PyTorch sets the variable when its compiler is imported
            if self._options.mode != "default":
                settings |= torch._inductor.list_mode_options(self._options.mode)
            module.compile(dynamic=False, fullgraph=True, options=settings)
        return module

    def _compute(self, images: Images) -> Candidates:
        kind = (*images.shape[1:], images.dtype.str)
        with self._compiling:  # in one stream, while the others wait for the result
            sizes = self._batch_sizes.setdefault(kind, set())
            size = padded_size(len(images), sizes, self._images_at_once(images))
            if size not in sizes:
                start, (height, width) = time.perf_counter(), images.shape[2:]
                allow_many_sizes()
                self._reports.progress(f"compiling for {size} images of {height} x {width}, once: up to a minute")
                with in_code_directory():
                    found = self._compute_in(images, size)
                sizes.add(size)
                seal_code()
                self._reports.progress(f"compiled in {time.perf_counter() - start:.1f} s")
                return found
        return self._compute_in(images, size)

    def _compute_in(self, images: Images, size: int) -> Candidates:
        """Return the candidates of images in a padded batch."""
        n_images, channels, height, width = images.shape
        # Always copied: other strides would need another compilation.
        batch = np.zeros((size, height, width, channels), images.dtype).transpose(0, 3, 1, 2)
        batch[:n_images] = images
        return {name: value[:n_images] for name, value in super()._compute(batch).items()}

    def _find(self, images: Tensor, capacity: int) -> Mapping[str, Tensor]:
        allow_many_sizes()
        with in_code_directory():
            found: Mapping[str, Tensor] = self._replays(images, capacity)
        return found


def allow_many_sizes() -> None:
    """Raise PyTorch's limit of compilations, which counts all models and sizes of this thread together."""
    import torch

    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        if getattr(torch._dynamo.config, limit) < MOST_SIZES:
            setattr(torch._dynamo.config, limit, MOST_SIZES)


def require_compiler() -> None:
    """Check that there is a C++ compiler, which PyTorch needs for the CPU.

    Raises:
        BackendNotInstalledError: there is none.
    """
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in (named, *COMPILERS) if name):
        raise BackendNotInstalledError(
            f"torch_compile needs a C++ compiler on the CPU, and none of {', '.join(COMPILERS)} is on the PATH. "
            "Install one (Debian, Ubuntu: sudo apt install g++; macOS: xcode-select --install), or use backend='torch'."
        )
