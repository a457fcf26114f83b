"""The state of a batch in a predictor, and the protocol of its steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, Self, TypeAlias

import attrs
import numpy as np
from attrs import define
from numpy.typing import NDArray

from sleap_infer.config.options import ReturnOptions
from sleap_infer.frames import FrameBatch, Source
from sleap_infer.frames.opening import FrameSelection
from sleap_infer.model.settings import PipelineSettings
from sleap_infer.poses.geometry import Geometry
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.runners.base import BaseInferenceRunner, Pending


@define
class Work:
    """The state of one batch.

    Attributes:
        batch: the frames.
        inputs: (B, C, H, W) input of the first network, on the device of the frames.
        geometry: geometry of the input.
        pending: waits for the candidates of the network that was started last.
        centroids: one `Outputs` per readable frame, if the pipeline crops around centroids.
        crops: geometry of the crops of all frames.
    """

    batch: FrameBatch
    inputs: Any
    geometry: Geometry
    pending: Pending | None = None
    centroids: list[Outputs] | None = None
    crops: Geometry | None = None

    def wait(self) -> None:
        """Wait for the candidates of the network that was started last."""
        if self.pending is not None:
            found = self.pending()
            self.pending = lambda: found


Step: TypeAlias = Callable[[Work], Work]
"""Start one network on a batch."""


class Steps(Protocol):
    """What live sessions, `auto` and benchmarks use of a predictor. `Predictor` implements it.

    A batch goes through `prepare`, each of `steps`, and `finish`.
    """

    runners: tuple[BaseInferenceRunner, ...]
    settings: PipelineSettings
    choice: Choice | None

    @property
    def reads_colour(self) -> bool:
        """Return whether frames are read with three channels."""

    def describe(self) -> dict[str, Any]:
        """Return what runs: backend, device, precision, batch size, models."""

    def check_source(self, source: Source) -> None:
        """Raise an error if the predictor cannot run on a source."""

    def prepare(self, batch: FrameBatch) -> Work:
        """Convert frames to the input of the first network."""

    def steps(self) -> Sequence[Step]:
        """Return one function per network, which starts it."""

    def finish(self, work: Work) -> list[Outputs]:
        """Wait for the networks and return one `Outputs` per frame of the batch."""

    def stream(self, source: Any, frames: FrameSelection = None) -> Generator[Outputs, None, None]:
        """Predict a source frame by frame."""

    def close(self) -> None:
        """Release the memory of the runners."""

    def __enter__(self) -> Self:
        """Enter the lifetime of the predictor."""

    def __exit__(self, *error: Any) -> None:
        """Close the predictor."""


def place(work: Work, found: Sequence[Outputs], returned: ReturnOptions) -> list[Outputs]:
    """Return one `Outputs` per frame of a batch, with the failure of those that could not be read.

    Args:
        work: the batch.
        found: outputs of its readable frames, in order.
        returned: whether outputs carry images.
    """
    placed, rows = [], iter(enumerate(found))
    for frame in work.batch.frames:
        if frame.failure is not None:
            outputs = Outputs(failure=frame.failure)
        else:
            row, outputs = next(rows)
            if returned.return_images:
                original, processed = _on_host(work.batch.images[row]), _on_host(work.inputs[row])
                outputs = attrs.evolve(outputs, original_image=original, processed_image=processed)
        outputs = attrs.evolve(outputs, frame_idx=frame.frame_idx, video_idx=frame.video_idx, time_s=frame.time_s)
        placed.append(outputs)
    return placed


def _on_host(image: Any) -> NDArray[Any]:
    """Return an image as an array on the host."""
    array: NDArray[Any] = image if isinstance(image, np.ndarray) else image.cpu().numpy()
    return array
