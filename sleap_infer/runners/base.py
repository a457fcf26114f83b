"""What every backend shares: frames in, poses out. A backend says only how the network itself is run.

To add a backend, write a class with `backend`, `facts`, `_open`, `_predict` and, where something must be released,
`_close`, and enter it in `runners.registry`, or declare it as an entry point of another package (CONTRIBUTING.md). A
backend that works beside the host, as GPUs do, implements `_start` instead, and `_predict` waits for it.
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
"""Waits for the candidates of a batch that was started. Called once, from any thread."""


@frozen
class Opening:
    """What a backend is opened with.

    Attributes:
        path: of the model, as it was given.
        spec: its facts.
        settings: resolved.
        returned: the heavy things that outputs carry.
        device: where the network runs; `"auto"` takes the fastest that is there.
        precision: that the network computes in; `None` is 32-bit floats, or what an export was made in.
        backend_options: for the runtime, in its own words.
        at_once: most images that are given to the network at once, as far as it is known.
        aim: what processor cores are divided for.
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
    """One network, from frames to poses.

    `predict` is `preprocess_image`, then the network, then `postprocess_results`; all three are the same for every
    backend. A runner is a context manager; leaving it gives its memory back.

    Args:
        spec: the model's facts.
        settings: its resolved settings.
        returned: the heavy things that outputs carry.
    """

    backend: ClassVar[str | None] = None
    """Name in the registry; `None` for runners that are not opened by name."""

    facts: ClassVar[BackendFacts] = BackendFacts(label="a backend")
    """What `auto`, `doctor`, `info`, `benchmark` and the command line have to know."""

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
            device: where the network runs, e.g. `"cpu"`, `"cuda:1"`; `"auto"` takes the fastest that is there.
            precision: that the network computes in; by default 32-bit floats, or what an export was made in.
            backend_options: handed through to the runtime, in its own words; see the runner's class.
            **options: any of the options in `sleap_infer.config.options` that apply to this kind of model.

        Raises:
            ModelError: the model cannot be read.
            OptionError: an unknown option, a wrong value, or an option without effect on this model.
            BackendError: the backend or the device is not there.
        """
        spec = read_spec(path, options.get("ignore_unknown_settings") is True)
        resolved = resolve([spec], read_options([spec], spec.row.pipeline, options))
        stage, returned = resolved.stages[0], resolved.returned
        return cls.open(Opening(Path(path), spec, stage, returned, device, precision, backend_options or {}))

    @classmethod
    @final
    def require(cls, device: str = "auto") -> None:
        """Check that the backend and the device are there, before anything is made for them.

        Raises:
            BackendError: one of them is not.
        """
        require_one_device(device)
        cls._require(device)

    @classmethod
    @final
    def open(cls, opening: Opening) -> Self:
        """Open a model whose settings are resolved; `from_model_path` does that as well.

        Raises:
            BackendError: the backend or the device is not there.
            OptionError: this backend does not have the precision.
        """
        require_one_device(opening.device)
        if opening.spec.exported is None:
            cls.facts.check_precision(opening.precision)
        return cls._open(opening)

    @final
    def predict(self, imgs: Any) -> list[Outputs]:
        """Poses of images that are in memory.

        Args:
            imgs: an array or tensor, a list of them, or a dict with `"image"`; uint8, or float; (H, W), (H, W, C),
                (B, H, W), (B, H, W, C) or (B, C, H, W), C being 1 or 3. For models that look at crops
                (centered instance, multi-class top-down) these are the crops.

        Returns:
            One `Outputs` per image, in order; points in pixels of that image.

        Raises:
            ImageError: this is not an image or a batch of images.
        """
        outputs = []
        for images in as_batches(imgs):
            inputs, geometry = self._preprocess(images)
            found = self.postprocess_results(self.infer(inputs), geometry)
            outputs += [self._keep_images(out, images[n], inputs[n]) for n, out in enumerate(found)]
        return [attrs.evolve(out, frame_idx=number) for number, out in enumerate(outputs)]

    @final
    def preprocess_image(self, imgs: Any) -> tuple[Images, Geometry]:
        """Bring images of one size into the form that the network expects.

        Args:
            imgs: as in `predict`.

        Returns:
            The network's input (B, C, H, W), and where its points lie in the image.

        Raises:
            ImageError: these are not images, or not all of one size and type.
        """
        batches = as_batches(imgs)
        if len(batches) != 1:
            raise ImageError(
                f"Images of {len(batches)} different sizes or types: {', '.join(str(b.shape[1:]) for b in batches)} "
                "as (C, H, W). Preprocess each size by itself, or call predict, which does so."
            )
        return self._preprocess(batches[0])

    @final
    def infer(self, inputs: Images) -> Candidates:
        """Run the network.

        Args:
            inputs: (B, C, H, W) as `preprocess_image` leaves them.

        Returns:
            The arrays of `sleap_infer.config.kinds` for this kind of model, with their maps if these are requested.
        """
        return self._check(self._predict(inputs))

    @final
    def start(self, inputs: Images) -> Pending:
        """Begin to run the network, and come back before it is done where the backend can (`runs_beside`).

        Args:
            inputs: as in `infer`; not to be changed before the candidates are there.

        Returns:
            What waits for the candidates. Batches are worked on in the order in which they are started.
        """
        return self._timed(lambda: self._start(inputs))

    @final
    def start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        """Begin to run the network on square crops of frames.

        Args:
            frames: (B, C, H, W) fitted frames.
            which: (I,) the frame of each crop, I from 1 up.
            first: (I, 2) its first pixel as (x, y), which may lie outside.
            at_once: most crops that go through the network at once.

        Returns:
            As in `start`, for all crops in order.
        """
        return self._timed(lambda: self._start_crops(frames, which, first, at_once))

    @final
    def postprocess_results(self, candidates: Candidates, geometry: Geometry) -> list[Outputs]:
        """Turn candidates into instances, in pixels of the image; one `Outputs` per image."""
        return postprocess(candidates, geometry, self.spec, self.settings)

    @final
    def close(self) -> None:
        """Give back what the backend holds. A closed runner cannot predict; closing twice does nothing."""
        self._close()

    @final
    def __enter__(self) -> Self:
        """Enter the lifetime of the runner."""
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def count_with(self, stopwatch: Stopwatch) -> None:
        """Add the seconds of every stage to a stopwatch from now on."""
        self.stopwatch = stopwatch

    @property
    def device(self) -> str:
        """Where the network runs."""
        return "cpu"

    @property
    def precision(self) -> str:
        """What the network computes in."""
        return self.spec.exported.precision if self.spec.exported else "fp32"

    @property
    def runs_beside(self) -> bool:
        """Whether `start` comes back before the work is done."""
        return False

    @property
    def takes_device_images(self) -> bool:
        """Whether `start` and `start_crops` take images that are tensors on `device`."""
        return False

    @property
    def n_streams(self) -> int:
        """How many images, or batches, are worked on at the same time."""
        return 1

    @property
    def n_batches(self) -> int:
        """How many batches at a time it takes to keep it busy."""
        return 1

    @classmethod
    def summary(cls) -> str:
        """Return the runtime's version and devices for `sleap-infer info`; raise `BackendError` if it cannot run."""
        cls.require()
        return f"{cls.facts.label} on {', '.join(cls.facts.devices)}"

    @classmethod
    def _require(cls, device: str) -> None:
        """Check that the backend and the device are there."""
        cls.facts.check_device(device)

    @classmethod
    def _open(cls, opening: Opening) -> Self:
        """Make a runner from a model's files."""
        raise BackendError(f"A {cls.__name__} is not made from a model's files. Make one by its constructor.")

    @abstractmethod
    def _predict(self, images: Images) -> Candidates:
        """Run the network on a batch."""

    def _start(self, images: Images) -> Pending:
        """Begin to run the network on a batch."""
        found = self._predict(images)
        return lambda: found

    def _start_crops(self, frames: Images, which: NDArray[np.int64], first: NDArray[np.int64], at_once: int) -> Pending:
        """Begin to run the network on crops."""
        assert self.settings.crop_size is not None
        with self.stopwatch.timing("preprocess"):
            crops = take_crops(frames, which, first, self.settings.crop_size, self.settings.images)
        parts = [self._start(crops[begin : begin + at_once]) for begin in range(0, len(crops), at_once)]
        return lambda: join([part() for part in parts])

    def _close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Give back what the backend holds."""

    def _timed(self, start: Callable[[], Pending]) -> Pending:
        """Start, and check what comes of it. Of a device beside the host, the time that the host gives it counts."""
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
