"""Outputs to `sleap_io.Labels`: the only way out to files."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from itertools import compress
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer._version import __version__
from sleap_infer.errors import OutputError, OutputExistsError
from sleap_infer.frames import Source
from sleap_infer.frames.descriptions import located
from sleap_infer.model.settings import PipelineSettings
from sleap_infer.model.spec import ModelSpec, SkeletonSpec
from sleap_infer.poses.outputs import Outputs
from sleap_infer.system.files import put_in_place

if TYPE_CHECKING:
    import sleap_io as sio

CENTROID_SKELETON = SkeletonSpec(nodes=("centroid",), name="centroid")
"""Skeleton of labels with centroids only, for models whose own skeleton has several nodes."""


FRAMES_AT_ONCE = 256
"""Frames whose instances are made together."""


@frozen
class _Poses:
    """Data for the instances of one frame.

    Attributes:
        points: (I, N, 2) in pixels of the frame.
        values: (I, N) confidence of each point.
        facts: I times score, class and the probability of that class, the latter two where there are any.
        instances: where they go.
    """

    points: NDArray[np.float32]
    values: NDArray[np.float32]
    facts: list[tuple[float, int | None, float | None]]
    instances: list[sio.PredictedInstance]


class LabelsBuilder:
    """Collects outputs and makes labels of them.

    Every frame gets its labelled frame, also without instances. Instances without any point are left out. Classes
    become tracks, of which those are listed that occur, in the order in which they do.

    Args:
        spec: the facts of the model that gives the points.
        settings: the pipeline's resolved settings, for the provenance.
        facts: further entries of the provenance.
    """

    def __init__(self, spec: ModelSpec, settings: PipelineSettings, facts: dict[str, Any]) -> None:
        import sleap_io as sio

        self._sio = sio
        self._settings = settings
        self._facts = facts
        self._is_centroid = not spec.row.finds_points
        self._skeleton = make_skeleton(instance_skeleton(spec))
        self._tracks = [sio.Track(name) for name in spec.classes]
        self._used_tracks: dict[int, sio.Track] = {}
        self._named_points = sio.PredictedInstance.empty(self._skeleton).points
        self._frames: list[tuple[int, int, list[sio.PredictedInstance]]] = []
        self._waiting: list[_Poses] = []
        self._failures: list[str] = []
        self._started = datetime.now(UTC)
        self._clock = perf_counter()

    @property
    def n_failures(self) -> int:
        """Frames that could not be predicted so far."""
        return len(self._failures)

    def add(self, outputs: Outputs) -> None:
        """Take the outputs of one frame; they come in the order in which they are written.

        Their arrays may be read later, and are not to be changed.
        """
        if outputs.failure is not None:
            self._failures.append(f"video {outputs.video_idx}, {outputs.failure}")
        instances: list[sio.PredictedInstance] = []
        self._frames.append((outputs.video_idx or 0, outputs.frame_idx or 0, instances))
        if len(outputs):
            self._waiting.append(self._poses(outputs, instances))
        if len(self._waiting) >= FRAMES_AT_ONCE:
            self._make_instances()

    def build(self, source: Source) -> sio.Labels:
        """Make the labels.

        Args:
            source: that the outputs came from; it describes the videos.
        """
        self._make_instances()
        sio = self._sio
        videos = source.videos()
        frames = [
            sio.LabeledFrame(video=videos[video_idx], frame_idx=frame_idx, instances=instances)
            for video_idx, frame_idx, instances in self._frames
        ]
        labels = sio.Labels(
            labeled_frames=frames,
            videos=list(videos.values()),
            skeletons=[self._skeleton],
            tracks=list(self._used_tracks.values()),
        )
        labels.provenance = self._provenance(source)
        return labels

    def _poses(self, outputs: Outputs, instances: list[sio.PredictedInstance]) -> _Poses:
        points, values = outputs.pred_keypoints, outputs.pred_peak_values
        if self._is_centroid:
            assert outputs.pred_centroids is not None
            points, values = outputs.pred_centroids[:, None], np.asarray(outputs.pred_centroid_values)[:, None]
        per_row = (outputs.instance_scores, outputs.pred_classes, outputs.instance_tracking_scores)
        facts = ([None] * len(outputs) if fact is None else fact.tolist() for fact in per_row)
        return _Poses(np.asarray(points), np.asarray(values), list(zip(*facts, strict=True)), instances)

    def _make_instances(self) -> None:
        """Make the instances of the frames that wait, with one array for all their points."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        found = np.concatenate([poses.points for poses in waiting])
        is_present = ~np.isnan(found).all(axis=(1, 2))
        found = found[is_present]
        points = np.empty(found.shape[:2], self._named_points.dtype).view(type(self._named_points))
        points[:] = self._named_points
        points["xy"], points["visible"], points["complete"] = found, ~np.isnan(found[..., 0]), False
        points["score"] = np.concatenate([poses.values for poses in waiting])[is_present]
        rows = [(fact, poses.instances) for poses in waiting for fact in poses.facts]
        for ((score, label, certainty), instances), own in zip(compress(rows, is_present), points, strict=True):
            instances.append(
                self._sio.PredictedInstance(
                    points=own,
                    skeleton=self._skeleton,
                    score=score,
                    track=None if label is None else self._track(label),
                    tracking_score=certainty if certainty is not None and isfinite(certainty) else None,
                )
            )

    def _track(self, label: int) -> sio.Track | None:
        return None if label < 0 else self._used_tracks.setdefault(label, self._tracks[label])

    def _provenance(self, source: Source) -> dict[str, Any]:
        n_failed = len(self._failures)
        return {
            "inference_start_timestamp": self._started.isoformat(),
            "inference_end_timestamp": datetime.now(UTC).isoformat(),
            "inference_runtime_seconds": round(perf_counter() - self._clock, 3),
            "sleap_infer_version": __version__,
            "sleap_io_version": self._sio.__version__,
            "model_type": self._settings.kind,
            "source_file": located(source.name),
            "frame_selection": {"frames_processed": len(self._frames), "frames_failed": n_failed},
            "failures": self._failures[:100],
            "inference_config": attrs.asdict(self._settings),
            "system_info": {"platform": platform.platform(), "python": platform.python_version()},
            **self._facts,
        }


def instance_skeleton(spec: ModelSpec) -> SkeletonSpec:
    """Return the skeleton that instances of a model are written with."""
    return CENTROID_SKELETON if not spec.row.finds_points and spec.n_nodes > 1 else spec.skeleton


def make_skeleton(spec: SkeletonSpec) -> sio.Skeleton:
    """Convert a model's skeleton to one of sleap-io."""
    import sleap_io as sio

    return sio.Skeleton(
        nodes=list(spec.nodes),
        edges=[list(edge) for edge in spec.edges],
        symmetries=[list(pair) for pair in spec.symmetries],
        name=spec.name,
    )


def check_output(path: str | Path, overwrite: bool) -> Path:
    """Check, before the work, that results can be written.

    Raises:
        OutputExistsError: something is there already and is not to be overwritten.
        OutputError: the folder is missing, or the name does not end in `.slp`.
    """
    path = Path(path).expanduser()
    if path.suffix != ".slp":
        raise OutputError(f"{path} does not end in .slp, the format that is written.")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent.absolute()}. Make it first.")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already. Choose another name, or overwrite it (--overwrite).")
    return path


def save_labels(labels: sio.Labels, path: str | Path, overwrite: bool = False) -> Path:
    """Write labels to a `.slp` file; a file under that name is whole at any moment.

    Raises:
        OutputExistsError: something is there already and is not to be overwritten.
        OutputError: it cannot be written.
    """
    path = check_output(path, overwrite)
    return put_in_place(
        path, lambda beside: labels.save(str(beside), embed=False, restore_original_videos=False, verbose=False)
    )
