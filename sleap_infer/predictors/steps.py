"""The state of one batch on its way through a predictor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np
from attrs import define
from numpy.typing import NDArray

from sleap_infer.config.options import ReturnOptions
from sleap_infer.frames import FrameBatch
from sleap_infer.poses.geometry import Geometry
from sleap_infer.poses.outputs import Outputs
from sleap_infer.runners.base import Pending


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
