"""Export many models; a failure does not stop the others."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.errors import ModelNotFoundError, SleapInferError
from sleap_infer.export.exporting import export
from sleap_infer.export.result import ExportResult
from sleap_infer.reports import OnProgress


@frozen
class Outcome:
    """Result of one model of many.

    Attributes:
        model: its path.
        output: where its export is, or would be.
        result: of the export; `None` if it failed.
        failure: why it failed.
    """

    model: Path
    output: Path
    result: ExportResult | None = None
    failure: str = ""

    def line(self) -> str:
        """Return a one-line summary for people."""
        if self.result is None:
            return f"FAILED  {self.model}: {self.failure}"
        verdict = self.result.report.verdict if self.result.report else "not checked"
        return f"{verdict:<6}  {self.model} -> {self.output}"


def find_models(pattern: str) -> list[Path]:
    """Return the models that match a glob pattern: directories, configurations or checkpoints.

    Raises:
        ModelNotFoundError: it matches nothing.
    """
    found = sorted(Path(path) for path in glob.glob(pattern, recursive=True))
    if not found:
        raise ModelNotFoundError(f"No model matches {pattern!r}. Quote the pattern, and check where it starts.")
    return found


def export_many(
    models: list[Path],
    output: Path,
    options: ExportOptions,
    frames: Any = None,
    on_progress: OnProgress = lambda line: None,
    **inference_options: Any,
) -> Iterator[Outcome]:
    """Export models one by one, each into a directory of `output` named after its training run.

    Args:
        models: paths.
        output: parent directory of all.
        options: of each export.
        frames: to compare on, as in `export`.
        on_progress: called with one line per step.
        **inference_options: as in `export`.

    Yields:
        The result of each.
    """
    for model, directory in zip(models, distinct_names(models), strict=True):
        target = output / directory
        try:
            (result, *_) = export(model, target, options, frames, on_progress, **inference_options)
        except SleapInferError as error:
            yield Outcome(model, target, failure=str(error))
        else:
            yield Outcome(model, target, result)


def distinct_names(models: list[Path]) -> list[str]:
    """Return a name for each model: its directory, with parent directories where names would be equal.

    >>> distinct_names([Path("a/run/best.ckpt"), Path("b/run"), Path("b/other")])
    ['a.run', 'b.run', 'other']
    """
    folders = [path.parent if path.suffix else path for path in models]
    names = [folder.name for folder in folders]
    for depth in range(2, 1 + max((len(folder.parts) for folder in folders), default=0)):
        repeated = {name for name in names if names.count(name) > 1}
        names = [
            ".".join(folder.parts[-depth:]).lstrip("/.") if name in repeated else name
            for folder, name in zip(folders, names, strict=True)
        ]
    return names
