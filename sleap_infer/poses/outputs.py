"""Results of one frame: `Outputs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from sleap_infer.errors import ImageError
from sleap_infer.model.spec import SkeletonSpec
from sleap_infer.render.frame import draw_poses

if TYPE_CHECKING:
    import torch

NOT_FINITE = "the network gave NaN or infinite values"
"""`Outputs.failure` of frames whose maps no poses can be read from."""

Array: TypeAlias = "NDArray[Any] | torch.Tensor"


def _shape(value: object) -> str:
    return "None" if value is None else f"{tuple(value.shape)}"  # type: ignore[attr-defined]


def _array() -> Any:
    return field(default=None, repr=_shape, eq=False)


@define(kw_only=True)
class Outputs:
    """The poses of one frame, and on request what they were read from.

    Arrays are numpy; `to` makes them torch tensors. I is the number of rows (instances), N the number of nodes. Points
    are (x, y) with pixel centres at integers; a missing point is NaN.

    Rows: one for a single-instance model; one per centroid, in their order, for top-down models; one per group of
    joined peaks for bottom-up models; one per class, in the order of the classes, for multi-class bottom-up models.
    Rows can be all NaN (nobody there); `Labels` leaves those out.

    Attributes:
        pred_keypoints: (I, N, 2) in pixels of the frame as it was read.
        pred_peak_values: (I, N) confidence of each point, before refinement. Of a missing point: 0 where the model
            looks for the one highest peak (single instance, top-down), else NaN.
        pred_centroids: (I, 2) in pixels of the frame. Models with a centroid stage only.
        pred_centroid_values: (I,) confidence of each centroid.
        instance_scores: (I,) single instance: sum of point values; top-down and centroid: value of the centroid;
            bottom-up: sum of the scores of connections; multi-class bottom-up: mean of point values.
        pred_classes: (I,) index of the class, -1 for none. Models with classes only.
        instance_tracking_scores: (I,) probability of that class.
        pred_raw_keypoints: (I, N, 2) in pixels of the network's input (of its crop, for top-down models).
        pred_raw_centroids: (I, 2) in pixels of the centroid network's input.
        original_image: (C, H, W) the frame as it was read.
        processed_image: (C, H', W') the (first) network's input, uint8 or float32 in [0, 1].
        pred_confmaps: (N, h, w) confidence maps, (1, h, w) for centroids, (I, N, h, w) for top-down models.
        pred_pafs: (2E, h, w) part affinity fields; channels 2e and 2e + 1 are x and y of edge e.
        pred_class_maps: (C, h, w) class probabilities.
        device: where the arrays are.
        frame_idx: index of the frame in its video.
        video_idx: index of the video in the source.
        time_s: time stamp of the frame in its video file, in seconds; `None` where the source has none (images, arrays,
            HDF5, some AVI and MPEG files). Of a live frame: when it came, in seconds of the session's clock.
        failure: why the frame could not be predicted; `None` if all went well.
        capped: truncated: the maximum number of peaks was reached, so that some may be missing.
        skeleton: names of nodes and edges, for plots.
    """

    pred_keypoints: Array | None = _array()
    pred_peak_values: Array | None = _array()
    pred_centroids: Array | None = _array()
    pred_centroid_values: Array | None = _array()
    instance_scores: Array | None = _array()
    pred_classes: Array | None = _array()
    instance_tracking_scores: Array | None = _array()
    pred_raw_keypoints: Array | None = _array()
    pred_raw_centroids: Array | None = _array()
    original_image: Array | None = _array()
    processed_image: Array | None = _array()
    pred_confmaps: Array | None = _array()
    pred_pafs: Array | None = _array()
    pred_class_maps: Array | None = _array()
    device: str = "cpu"
    frame_idx: int | None = None
    video_idx: int | None = None
    time_s: float | None = None
    failure: str | None = None
    capped: bool = False
    skeleton: SkeletonSpec | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        rows = self.instance_scores
        return 0 if rows is None else len(rows)

    @property
    def n_instances(self) -> int:
        """Number of rows in which at least one point was found."""
        return int(np.count_nonzero(self.present()))

    def as_damaged(self) -> Outputs:
        """Return a copy without rows and maps, for a frame of which the network gave NaN."""
        empty = self.select(np.zeros(len(self), bool))
        empty.pred_confmaps = empty.pred_pafs = empty.pred_class_maps = None
        return attrs.evolve(empty, failure=NOT_FINITE, capped=False)

    def present(self) -> NDArray[np.bool_]:
        """Return the mask (I,) of the rows with at least one point."""
        points = self.pred_keypoints if self.pred_keypoints is not None else self.pred_centroids
        if points is None:
            return np.zeros(0, bool)
        missing = np.isnan(np.asarray(points))
        return ~missing.all(axis=tuple(range(1, missing.ndim)))

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name, arrays unchanged."""
        return {item.name: getattr(self, item.name) for item in attrs.fields(Outputs)}

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Outputs:
        """Return a copy with some of the rows, in the given order."""
        per_row = {name: value[rows] for name in ROW_FIELDS if (value := getattr(self, name)) is not None}
        return attrs.evolve(self, **per_row)

    def to(self, device: str | torch.device) -> Outputs:
        """Return a copy whose arrays are torch tensors on a device."""
        import torch

        moved: dict[str, Any] = {name: torch.as_tensor(value, device=device) for name, value in self._arrays().items()}
        return attrs.evolve(self, **moved, device=str(device))

    def numpy(self) -> Outputs:
        """Return a copy whose arrays are NumPy arrays."""
        moved: dict[str, Any] = {
            name: value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
            for name, value in self._arrays().items()
        }
        return attrs.evolve(self, **moved, device="cpu")

    def plot(self, image: Array | None = None, path: str | Path | None = None, scale: float = 1.0) -> NDArray[np.uint8]:
        """Draw the poses on the frame.

        Args:
            image: (C, H, W) or (H, W, C) to draw on, where the outputs do not carry their own.
            path: also write the picture there.
            scale: magnification of the picture.

        Returns:
            (H, W, 3) RGB, uint8.

        Raises:
            ImageError: there is no image to draw on.
        """
        background = self.original_image if image is None else image
        if background is None:
            raise ImageError(
                "There is no image to draw on. Predict with return_images=True, or give one: outputs.plot(image)."
            )
        here = self.numpy()
        points = here.pred_keypoints if here.pred_keypoints is not None else here.pred_centroids
        poses = np.zeros((0, 1, 2)) if points is None else np.asarray(points)
        poses = poses[:, None] if poses.ndim == 2 else poses
        edges = self.skeleton.edge_inds if self.skeleton is not None and poses.shape[1] > 1 else ()
        colours = None if here.pred_classes is None else np.asarray(here.pred_classes)
        return draw_poses(np.asarray(background), poses, edges, colours, scale, path)

    def _arrays(self) -> dict[str, Any]:
        names = [item.name for item in attrs.fields(Outputs) if item.repr is _shape]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


ROW_FIELDS = (
    "pred_keypoints",
    "pred_peak_values",
    "pred_centroids",
    "pred_centroid_values",
    "instance_scores",
    "pred_classes",
    "instance_tracking_scores",
    "pred_raw_keypoints",
    "pred_raw_centroids",
)
"""Fields of `Outputs` with one entry per instance."""
