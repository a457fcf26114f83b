"""Model and video of a benchmark; their facts are read before any worker starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from sleap_infer.benchmark.report.schema import ModelFacts, VideoFacts
from sleap_infer.config.kinds import KINDS
from sleap_infer.config.options import SourceSpec
from sleap_infer.errors import EmptySourceError
from sleap_infer.frames import open_source
from sleap_infer.model import find_model_files
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.predictors.factory import read_plan

VIDEOS = Path(__file__).resolve().parents[1] / "assets" / "videos"


@frozen
class Target:
    """The models that are measured.

    Attributes:
        facts: facts for the report.
        paths: paths of the models, in the order in which they run.
        exported: whether they are exported models.
        precision: fp32 for trained models, that of the export for exported ones.
        crops_alone: whether the only model runs on crops.
    """

    facts: ModelFacts
    paths: tuple[str, ...]
    exported: bool
    precision: str
    crops_alone: bool

    @classmethod
    def read(cls, models: Sequence[str | Path], ignore_unknown_settings: bool = False) -> Target:
        """Read the facts of models.

        Args:
            models: one model directory, or two of a top-down pipeline.
            ignore_unknown_settings: as in `sleap_infer.config.options`.

        Raises:
            ModelError: a model cannot be read, or they do not form a pipeline.
        """
        plan = read_plan(models, {"ignore_unknown_settings": ignore_unknown_settings})
        files = [find_model_files(path) for path in plan.paths]
        exports = [spec.exported for spec in plan.specs if spec.exported]
        facts = ModelFacts(
            paths=tuple(str(path.resolve()) for path in plan.paths),
            kind=plan.kind,
            format=files[0].format,
            sha256=tuple(hash_file(item.weights) for item in files),
        )
        return cls(
            facts=facts,
            paths=tuple(map(str, plan.paths)),
            exported=bool(exports),
            precision=exports[-1].precision if exports else "fp32",
            crops_alone=len(plan.specs) == 1 and plan.specs[0].row.on_crops,
        )

    def default_video(self) -> str:
        """Return the path of a suitable video of the package, with one animal or with two."""
        return str(VIDEOS / f"{'two_flies' if 'several' in KINDS[self.facts.kind].scopes else 'one_fly'}.mp4")


def read_video(video: SourceSpec) -> VideoFacts:
    """Read the facts of a source of frames.

    Raises:
        SourceError: it cannot be read, or no frame of it.
    """
    with open_source(video) as source:
        n_frames = source.n_frames
        first = next((batch.images for batch in source.batches(1) if len(batch.images)), None)
    if first is None:
        raise EmptySourceError(f"No frame of {video} can be read. Give another video.")
    path = Path(video.path)
    channels, height, width = first.shape[1:]
    n_bytes = path.stat().st_size if path.is_file() else None
    return VideoFacts(str(path.resolve()) if path.exists() else video.path, n_frames, height, width, channels, n_bytes)
