"""What one batch of frames carries with it on its way through a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from attrs import define
from numpy.typing import NDArray

from sleap_infer.frames import FrameBatch
from sleap_infer.geometry import Geometry
from sleap_infer.options import ReturnOptions
from sleap_infer.outputs import Outputs
from sleap_infer.runners.base import Pending


@define
class Work:
    """One batch on its way.

    Attributes:
        batch: the frames.
        inputs: (B, C, H, W) the first network's input, where the frames are.
        geometry: of that input.
        pending: what the network that was started last will give.
        centroids: one per readable frame, where a pipeline crops around centroids.
        crops: geometry of the crops, of all frames together.
    """

    batch: FrameBatch
    inputs: Any
    geometry: Geometry
    pending: Pending | None = None
    centroids: list[Outputs] | None = None
    crops: Geometry | None = None

    def wait(self) -> None:
        """Until what the network gives is there."""
        if self.pending is not None:
            found = self.pending()
            self.pending = lambda: found


def place(work: Work, found: Sequence[Outputs], returned: ReturnOptions) -> list[Outputs]:
    """Give each frame of a batch its outputs, and those that could not be read their failure.

    Args:
        work: the batch.
        found: outputs of its readable frames, in order.
        returned: whether images are kept.
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
        placed.append(attrs.evolve(outputs, frame_idx=frame.frame_idx, video_idx=frame.video_idx))
    return placed


def _on_host(image: Any) -> NDArray[Any]:
    """An image as an array, also if it is a tensor on a device."""
    array: NDArray[Any] = image if isinstance(image, np.ndarray) else image.cpu().numpy()
    return array
