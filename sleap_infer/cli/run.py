"""One run of a predictor over one source into one file."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from attrs import frozen

from sleap_infer.choices import ProgressForm
from sleap_infer.cli.progress import emit, track

if TYPE_CHECKING:
    from sleap_infer.frames.opening import FrameSelection
    from sleap_infer.predictors import Predictor
    from sleap_infer.profile import Profile


@frozen
class RunReport:
    """What a run did."""

    source: str
    output: Path
    n_frames: int
    n_instances: int
    failures: tuple[str, ...]
    capped_frames: int
    seconds: float
    profile: Profile

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.n_frames / max(self.seconds, 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "output": str(self.output),
            "n_processed": self.n_frames,
            "n_instances": self.n_instances,
            "n_failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 2),
            "profile": self.profile.as_dict(),
        }

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.source}: {self.n_frames} frames, {self.n_instances} instances, {len(self.failures)} failed, "
            f"{self.seconds:.1f} s, {self.rate:.1f} frames/s -> {self.output}"
        )


def run_to_file(
    predictor: Predictor,
    source: Any,
    output: Path,
    frames: FrameSelection = None,
    overwrite: bool = False,
    at_most: int = 0,
    progress: ProgressForm = "auto",
) -> RunReport:
    """Predict a source and write a `.slp` file.

    Args:
        predictor: to run.
        source: as in `Predictor.predict`.
        output: file to write.
        frames: as in `Predictor.predict`.
        overwrite: whether the file may be there already.
        at_most: only the first so many of these frames; 0 for all.
        progress: how it is shown.

    Raises:
        SleapInferError: the source cannot be read, or the file not be written.
    """
    from sleap_infer.frames import open_source
    from sleap_infer.labels import LabelsBuilder, check_output, save_labels

    check_output(output, overwrite)
    failures: list[str] = []
    n_frames = n_instances = n_capped = 0
    with open_source(source, frames) as opened:
        builder = LabelsBuilder(predictor.runners[-1].spec, predictor.settings, predictor.describe())
        start, writing = perf_counter(), 0.0
        total = opened.n_frames
        total = min(at_most, total or at_most) if at_most else total
        with closing(predictor.stream(opened)) as stream:
            for outputs in track(islice(stream, at_most or None), Path(opened.name).name, total, form=progress):
                begin = perf_counter()
                builder.add(outputs)
                writing += perf_counter() - begin
                n_frames += 1
                n_instances += outputs.n_instances
                n_capped += outputs.capped
                if outputs.failure is not None:
                    failures.append(outputs.failure)
        assert predictor.profile is not None
        begin = perf_counter()
        labels = builder.build(opened)
        labels.provenance["profile"] = predictor.profile.with_writing(writing, perf_counter() - start).as_dict()
        save_labels(labels, output, overwrite)
        seconds = perf_counter() - start
        profile = predictor.profile.with_writing(writing + perf_counter() - begin, seconds)
        report = RunReport(opened.name, output, n_frames, n_instances, tuple(failures), n_capped, seconds, profile)
    if progress == "json":
        emit("summary", **report.as_dict())
    return report
