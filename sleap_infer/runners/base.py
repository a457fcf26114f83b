"""The base of all backends: images to poses. A backend implements only how the network is run.

To add a backend, write a class with `backend`, `facts`, `_open`, `_predict` and, where something must be released,
`_close`, and enter it in `runners.registry`, or declare it as an entry point of another package (CONTRIBUTING.md). A
backend that works asynchronously, such as a GPU, implements `_start` instead, and `_predict` waits for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias, Unpack, final

import attrs
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from sleap_infer.choices import Aim, Precision
from sleap_infer.config.option_types import OptionValues
from sleap_infer.config.options import DEFAULT_BATCH_SIZE, ReturnOptions
from sleap_infer.errors import BackendError, ImageError
from sleap_infer.frames.arrays import as_batches
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.settings import StageSettings, read_options, resolve
from sleap_infer.poses.candidates import Candidates, join
from sleap_infer.poses.geometry import Geometry
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.postprocess import postprocess
from sleap_infer.poses.preprocess import preprocess, take_crops
from sleap_infer.runners.facts import BackendFacts, require_one_device
from sleap_infer.runners.profile import Stopwatch

Images: TypeAlias = NDArray[Any]
"""(B, C, H, W), uint8, or float32 in [0, 1]."""

Pending: TypeAlias = Callable[[], Candidates]
"""Waits for the candidates of a started batch. Called once, from any thread."""


@frozen
class Opening:
    """All that a backend needs to open a model.

    Attributes:
        path: of the model, as given.
        spec: its facts.
        settings: resolved.
        returned: the large arrays that outputs carry.
        device: where the network runs; `"auto"`: the fastest available.
        precision: of the network; `None`: fp32, or the precision of the export.
        backend_options: passed to the runtime; see the runner's class.
        at_once: maximum number of images per call.
        aim: optimise CPU threading for throughput or latency.
    """

    path: Path
    spec: ModelSpec
    settings: StageSettings
    returned: ReturnOptions
    device: str = "auto"
    precision: Precision | None = None
    backend_options: Mapping[str, Any] = field(factory=dict)
    at_once: int = DEFAULT_BATCH_SIZE
    aim: Aim = "throughput"


class BaseInferenceRunner(ABC):
    """One network, from images to poses.

    `predict` is `preprocess_image`, the network, and `postprocess_results`. A runner is a context manager, which
    releases its memory on exit.

    Args:
        spec: the model's facts.
        settings: its resolved settings.
        returned: the large arrays that outputs carry.
    """

    backend: ClassVar[str | None] = None
    """Name in the registry; `None` for runners that are not opened by name."""

    facts: ClassVar[BackendFacts] = BackendFacts(label="a backend")
    """Facts for `auto`, `doctor`, `info`, `benchmark` and the command line."""

    def __init__(self, spec: ModelSpec, settings: StageSettings, returned: ReturnOptions | None = None) -> None:
        self.spec = spec
        self.settings = settings
        self.returned = returned or ReturnOptions()
        self.stopwatch = Stopwatch()

    @classmethod
    @final
    def from_model_path(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision | None = None,
        backend_options: Mapping[str, Any] | None = None,
        **options: Unpack[OptionValues],
    ) -> Self:
        """Open one model.

        Args:
            path: a model directory, or its configuration or checkpoint file.
            device: where the network runs, e.g. `"cpu"`, `"cuda:1"`; `"auto"`: the fastest available.
            precision: of the network; by default fp32, or the precision of the export.
            backend_options: passed to the runtime; see the runner's class.
            **options: options in `sleap_infer.config.options` that apply to this kind of model.

        Raises:
            ModelError: the model cannot be read.
            OptionError: an unknown option, a wrong value, or an option without effect on this model.
            BackendError: the backend or the device is not available.
        """
        spec = read_spec(path, options.get("ignore_unknown_settings") is True)
        resolved = resolve([spec], read_options([spec], spec.row.pipeline, options))
        stage, returned = resolved.stages[0], resolved.returned
        return cls.open(Opening(Path(path), spec, stage, returned, device, precision, backend_options or {}))

    @classmethod
    @final
    def require(cls, device: str = "auto") -> None:
        """Check that the backend and the device are available.

        Raises:
            BackendError: one of them is not.
        """
        require_one_device(device)
        cls._require(device)

    @classmethod
    @final
    def open(cls, opening: Opening) -> Self:
        """Open a model whose settings are resolved.

        Raises:
            BackendError: the backend or the device is not available.
            OptionError: this backend does not have the precision.
        """
        require_one_device(opening.device)
        if opening.spec.exported is None:
            cls.facts.check_precision(opening.precision)
        return cls._open(opening)

    @final
    def predict(self, imgs: Any) -> list[Outputs]:
        """Return the poses of images in memory.

        Args:
            imgs: an array or tensor, a list of them, or a dict with `"image"`; uint8, or float; (H, W), (H, W, C),
                (B, H, W), (B, H, W, C) or (B, C, H, W), C being 1 or 3. For models that run on crops
                (centered instance, multi-class top-down) these are the crops.

        Returns:
            One `Outputs` per image, in order; points in pixels of the image.

        Raises:
            ImageError: `imgs` is not an image or a batch of images.
        """
        outputs = []
        for images in as_batches(imgs):
            inputs, geometry = self._preprocess(images)
            found = self.postprocess_results(self.infer(inputs), geometry)
            outputs += [self._keep_images(out, images[n], inputs[n]) for n, out in enumerate(found)]
        return [attrs.evolve(out, frame_idx=number) for number, out in enumerate(outputs)]

    @final
    def preprocess_image(self, imgs: Any) -> tuple[Images, Geometry]:
        """Preprocess images of one size for the network.

        Args:
            imgs: as in `predict`.

        Returns:
            The network's input (B, C, H, W), and its geometry in the image.

        Raises:
            ImageError: these are not images, or not all of one size and type.
        """
        batches = as_batches(imgs)
        if len(batches) != 1:
            raise ImageError(
                f"Images of {len(batches)} different sizes or types: {', '.join(str(b.shape[1:]) for b in batches)} "
                "as (C, H, W). Preprocess each size separately, or call predict, which does so."
            )
        return self._preprocess(batches[0])

    @final
    def infer(self, inputs: Images) -> Candidates:
        """Run the network.

        Args:
            inputs: (B, C, H, W) from `preprocess_image`.

        Returns:
            The arrays of `sleap_infer.config.kinds` for this kind of model, and maps if requested.
        """
        return self._check(self._predict(inputs))

    @final
    def start(self, inputs: Images) -> Pending:
        """Start the network; if the backend is asynchronous (`runs_beside`), return before it is done.

        Args:
            inputs: as in `infer`; not to be changed until the candidates are returned.

        Returns:
            A function that waits for the candidates. Batches run in the order in which they are started.
        """
        return self._timed(lambda: self._start(inputs))

    @final
    def start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        """Start the network on square crops of frames.

        Args:
            frames: (B, C, H, W) fitted frames.
            which: (I,) the frame of each crop, I from 1 up.
            first: (I, 2) its first pixel as (x, y), which may lie outside.
            at_once: maximum number of crops per call.

        Returns:
            As in `start`, for all crops in order.
        """
        return self._timed(lambda: self._start_crops(frames, which, first, at_once))

    @final
    def postprocess_results(self, candidates: Candidates, geometry: Geometry) -> list[Outputs]:
        """Convert candidates to one `Outputs` per image, with points in pixels of the image."""
        return postprocess(candidates, geometry, self.spec, self.settings)

    @final
    def close(self) -> None:
        """Release the memory of the backend. A closed runner cannot predict; closing twice does nothing."""
        self._close()

    @final
    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the runner."""
        self.close()

    def count_with(self, stopwatch: Stopwatch) -> None:
        """Count the time of every stage with a stopwatch from now on."""
        self.stopwatch = stopwatch

    @property
    def device(self) -> str:
        """Return the device of the network."""
        return "cpu"

    @property
    def precision(self) -> str:
        """Return the precision of the network."""
        return self.spec.exported.precision if self.spec.exported else "fp32"

    @property
    def runs_beside(self) -> bool:
        """Return whether `start` is asynchronous."""
        return False

    @property
    def takes_device_images(self) -> bool:
        """Return whether `start` and `start_crops` accept tensors on `device`."""
        return False

    @property
    def n_streams(self) -> int:
        """Return the number of images, or batches, that run at the same time."""
        return 1

    @property
    def n_batches(self) -> int:
        """Return the number of batches in flight that keep the runner busy."""
        return 1

    @classmethod
    def summary(cls) -> str:
        """Return the runtime's version and devices for `sleap-infer info`; raise `BackendError` if it cannot run."""
        cls.require()
        return f"{cls.facts.label} on {', '.join(cls.facts.devices)}"

    @classmethod
    def _require(cls, device: str) -> None:
        """Check that the backend and the device are available."""
        cls.facts.check_device(device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        """Create a runner from a model's files."""
        raise BackendError(f"A {cls.__name__} is not made from a model's files. Make one by its constructor.")

    @abstractmethod
    def _predict(self, images: Images) -> Candidates:
        """Run the network on a batch."""

    def _start(self, images: Images) -> Pending:
        """Start the network on a batch."""
        found = self._predict(images)
        return lambda: found

    def _start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        """Start the network on crops."""
        assert self.settings.crop_size is not None
        with self.stopwatch.timing("preprocess"):
            crops = take_crops(frames, which, first, self.settings.crop_size, self.settings.images)
        pending = [self._start(crops[begin : begin + at_once]) for begin in range(0, len(crops), at_once)]
        return lambda: join([wait() for wait in pending])

    def _close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Release what the backend holds."""

    def _timed(self, start: Callable[[], Pending]) -> Pending:
        """Start, and check the candidates. For an asynchronous device, count the time that the host spends on it."""
        if not self.runs_beside or self.n_streams > 1:
            pending = start()
            return lambda: self._check(pending())
        with self.stopwatch.timing("transfer"):
            pending = start()

        def wait() -> Candidates:
            with self.stopwatch.timing("network"):
                return self._check(pending())

        return wait

    def _check(self, found: Candidates) -> Candidates:
        missing = [name for name in self.spec.row.arrays if name not in found]
        if missing:
            raise TypeError(f"{type(self).__name__}._predict gave no {', '.join(missing)} for a {self.spec.kind} model")
        return found

    def _preprocess(self, images: Images) -> tuple[Images, Geometry]:
        return preprocess(images, self.settings.images)

    def _keep_images(self, outputs: Outputs, image: Images, processed: Images) -> Outputs:
        """Add the image, and on request the network's input, to outputs; neither is copied."""
        return attrs.evolve(
            outputs, original_image=image, processed_image=processed if self.returned.return_images else None
        )
