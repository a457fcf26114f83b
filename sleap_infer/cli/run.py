"""One run of a predictor over one source into one file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from attrs import frozen

from sleap_infer.cli.progress import track

if TYPE_CHECKING:
    from sleap_infer.frames.opening import FrameSelection
    from sleap_infer.predictors import Predictor


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

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.n_frames / max(self.seconds, 1e-9)

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
) -> RunReport:
    """Predict a source and write a `.slp` file.

    Args:
        predictor: to run.
        source: as in `Predictor.predict`.
        output: file to write.
        frames: as in `Predictor.predict`.
        overwrite: whether the file may be there already.
        at_most: only the first so many of these frames; 0 for all.

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
        start = perf_counter()
        total = opened.n_frames
        total = min(at_most, total or at_most) if at_most else total
        stream = islice(predictor.stream(opened), at_most or None)
        for outputs in track(stream, Path(opened.name).name, total):
            builder.add(outputs)
            n_frames += 1
            n_instances += outputs.n_instances
            n_capped += outputs.capped
            if outputs.failure is not None:
                failures.append(outputs.failure)
        seconds = perf_counter() - start
        save_labels(builder.build(opened), output, overwrite)
        return RunReport(opened.name, output, n_frames, n_instances, tuple(failures), n_capped, seconds)
