"""Outputs to `sleap_io.Labels`: the only way out to files."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from sleap_infer.errors import OutputError, OutputExistsError
from sleap_infer.frames import Source
from sleap_infer.model.spec import ModelSpec, SkeletonSpec
from sleap_infer.outputs import Outputs
from sleap_infer.settings import PipelineSettings

if TYPE_CHECKING:
    import sleap_io as sio

CENTROID_SKELETON = SkeletonSpec(nodes=("centroid",), name="centroid")
"""What centroids alone are written on when the model's own skeleton has several nodes."""


class LabelsBuilder:
    """Collects outputs and makes labels of them.

    Every frame gets its labelled frame, also without instances. Instances without any point are left out. Classes
    become tracks, of which those are listed that occur, in the order in which they do.

    Args:
        spec: the facts of the model that gives the points.
        settings: the pipeline's resolved settings, for the provenance.
        facts: what else the provenance is to say.
    """

    def __init__(self, spec: ModelSpec, settings: PipelineSettings, facts: dict[str, Any]) -> None:
        import sleap_io as sio

        self._sio = sio
        self._settings = settings
        self._facts = facts
        self._is_centroid = spec.kind == "centroid"
        several = self._is_centroid and spec.n_nodes > 1
        self._skeleton = make_skeleton(CENTROID_SKELETON if several else spec.skeleton)
        self._tracks = [sio.Track(name) for name in spec.classes]
        self._used_tracks: dict[int, sio.Track] = {}
        self._frames: list[tuple[int, int, list[sio.PredictedInstance]]] = []
        self._failures: list[str] = []
        self._started = datetime.now(UTC)
        self._clock = perf_counter()

    @property
    def n_failures(self) -> int:
        """Frames that could not be predicted so far."""
        return len(self._failures)

    def add(self, outputs: Outputs) -> None:
        """Take the outputs of one frame; they come in the order in which they are written."""
        if outputs.failure is not None:
            self._failures.append(f"video {outputs.video_idx}, {outputs.failure}")
        self._frames.append((outputs.video_idx or 0, outputs.frame_idx or 0, self._instances(outputs)))

    def build(self, source: Source) -> sio.Labels:
        """Make the labels.

        Args:
            source: that the outputs came from; it describes the videos.
        """
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

    def _instances(self, outputs: Outputs) -> list[sio.PredictedInstance]:
        if len(outputs) == 0:
            return []
        points, values = outputs.pred_keypoints, outputs.pred_peak_values
        if self._is_centroid:
            assert outputs.pred_centroids is not None
            points, values = outputs.pred_centroids[:, None], np.asarray(outputs.pred_centroid_values)[:, None]
        points, values, scores = (np.asarray(array) for array in (points, values, outputs.instance_scores))
        classes, certainty = outputs.pred_classes, outputs.instance_tracking_scores
        return [
            self._sio.PredictedInstance.from_numpy(
                points_data=points[row],
                point_scores=values[row],
                score=float(scores[row]),
                skeleton=self._skeleton,
                track=None if classes is None else self._track(int(classes[row])),
                tracking_score=None if certainty is None else _finite(certainty[row]),
            )
            for row in np.flatnonzero(outputs.present())
        ]

    def _track(self, label: int) -> sio.Track | None:
        return None if label < 0 else self._used_tracks.setdefault(label, self._tracks[label])

    def _provenance(self, source: Source) -> dict[str, Any]:
        n_failed = len(self._failures)
        return {
            "inference_start_timestamp": self._started.isoformat(),
            "inference_end_timestamp": datetime.now(UTC).isoformat(),
            "inference_runtime_seconds": round(perf_counter() - self._clock, 3),
            "sleap_infer_version": version("sleap-infer"),
            "sleap_io_version": version("sleap-io"),
            "model_type": self._settings.kind,
            "source_file": source.name,
            "frame_selection": {"frames_processed": len(self._frames), "frames_failed": n_failed},
            "failures": self._failures[:100],
            "inference_config": attrs.asdict(self._settings),
            "system_info": {"platform": platform.platform(), "python": platform.python_version()},
            **self._facts,
        }


def make_skeleton(spec: SkeletonSpec) -> sio.Skeleton:
    """A skeleton of sleap-io from the names of a model's."""
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
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent.resolve()}. Make it first.")
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
    beside = path.with_name(f".{path.stem}.{os.getpid()}.slp")
    try:
        labels.save(str(beside), embed=False, verbose=False)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
