"""The model and the video of a benchmark: their facts, read before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from sleap_infer.benchmark.report.schema import ModelFacts, VideoFacts
from sleap_infer.errors import EmptySourceError
from sleap_infer.frames import open_source
from sleap_infer.model import find_model_files
from sleap_infer.model.readers.exported import hash_file
from sleap_infer.model.settings import SECOND_STAGES
from sleap_infer.predictors.factory import read_plan

VIDEOS = Path(__file__).resolve().parents[1] / "assets" / "videos"


@frozen
class Subject:
    """What is run.

    Attributes:
        facts: for the report.
        paths: of the models, in the order in which they run.
        exported: whether they are exported models.
        precision: that they compute in: fp32 of trained ones, of exported ones what they were made in.
        crops_alone: whether there is nothing but a model that looks at crops.
    """

    facts: ModelFacts
    paths: tuple[str, ...]
    exported: bool
    precision: str
    crops_alone: bool

    @classmethod
    def read(cls, models: Sequence[str | Path], ignore_unknown_settings: bool = False) -> Subject:
        """Read what models are; `ignore_unknown_settings` is as in `sleap_infer.config.options`.

        Raises:
            ModelError: one cannot be read, or they do not go together.
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
            crops_alone=len(plan.specs) == 1 and plan.specs[0].kind in SECOND_STAGES,
        )

    def default_video(self) -> str:
        """A video of the package's own: of one animal, or of two."""
        return str(VIDEOS / f"{'one_fly' if self.facts.kind == 'single_instance' else 'two_flies'}.mp4")


def read_video(video: str) -> VideoFacts:
    """Read what a source of frames is.

    Raises:
        SourceError: it cannot be read, or none of its first frames.
    """
    with open_source(video) as source:
        n_frames = source.n_frames
        first = next((batch.images for batch in source.batches(1) if len(batch.images)), None)
    if first is None:
        raise EmptySourceError(f"No frame of {video} can be read. Give another video.")
    path = Path(video)
    channels, height, width = first.shape[1:]
    n_bytes = path.stat().st_size if path.is_file() else None
    return VideoFacts(str(path.resolve()) if path.exists() else video, n_frames, height, width, channels, n_bytes)
