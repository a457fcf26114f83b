"""Write the requested files from a journal, each complete or not at all."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import h5py
import numpy as np
from attrs import frozen

from sleap_infer._version import __version__
from sleap_infer.choices import FrameStatus, OutputFormat
from sleap_infer.config.plain import from_plain
from sleap_infer.errors import JournalError, OutputError
from sleap_infer.frames import Source
from sleap_infer.frames.descriptions import located
from sleap_infer.jobs.plan.content import Record, noted, read_records
from sleap_infer.jobs.plan.identity import identity_key
from sleap_infer.jobs.plan.tasks import numbered
from sleap_infer.jobs.store.columns import FAILED, STATUSES, Columns
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.journal_files import LABELS_FILE
from sleap_infer.jobs.write.analysis import UNTRACKED, write_analysis
from sleap_infer.jobs.write.frame_status import write_frame_status
from sleap_infer.jobs.write.slp import write_slp
from sleap_infer.jobs.write.tables import video_names, write_csv, write_parquet
from sleap_infer.model.spec import SkeletonSpec
from sleap_infer.poses.labels import make_skeleton
from sleap_infer.poses.outputs import NOT_FINITE
from sleap_infer.system.files import put_in_place, remove_leftovers, write_text

if TYPE_CHECKING:
    import sleap_io as sio

MARK = "sleap_infer_job"
"""Attribute of HDF5 files, and entry of Parquet files, that names the job that made them."""

NOTED = "sleap_infer_videos"
"""The same of what is noted of the content of the videos, as JSON."""

NOTED_BYTES = 60_000
"""Most bytes of an attribute of an HDF5 file, nearly."""

NOTES_KEPT = 100
"""Maximum number of reasons of failed frames in the provenance; the frame status table has all."""


@frozen
class Results:
    """The content of a journal, ready to be written.

    Attributes:
        journal: of the job.
        source: opened; it describes the videos.
        skeleton: of the instances.
        classes: names of the classes.
        counts: frames by status.
        n_instances: in all.
        used_classes: in the order of their first appearance.
        notes: why frames failed, the first of them.
        n_capped: frames in which the maximum number of peaks was reached.
        n_not_finite: frames for which the network gave NaN.
        n_untracked: frames with several instances that have no track.
        labels_file: the `.slp` file written beside other formats, if any.
    """

    journal: Journal
    source: Source
    skeleton: SkeletonSpec
    classes: tuple[str, ...]
    counts: Mapping[FrameStatus, int]
    n_instances: int
    used_classes: tuple[int, ...]
    notes: tuple[str, ...]
    n_capped: int = 0
    n_not_finite: int = 0
    n_untracked: int = 0
    labels_file: Path | None = None

    @property
    def n_frames(self) -> int:
        """Return the number of frames."""
        return sum(self.counts.values())

    @property
    def n_failed(self) -> int:
        """Return the number of failed frames."""
        return sum(self.counts[status] for status in FAILED)

    def warnings(self, formats: Container[OutputFormat]) -> list[str]:
        """Return warnings about the results as a whole, and about some formats."""
        untracked = self.n_untracked if "analysis_h5" in formats else 0
        about = [f"{self.source.name}: in {untracked} of {self.n_frames} frames, {UNTRACKED}"] if untracked else []
        if not self.n_not_finite:
            return about
        precision = self.journal.facts["facts"].get("precision") or "fp32"
        other = "try another model" if precision == "fp32" else "try --precision fp32, or another model"
        return [
            *about,
            f"{self.source.name}: {NOT_FINITE} in {self.n_not_finite} of {self.n_frames} frames (predict_failed). The "
            f"weights are damaged, or values are too large for {precision}: {other}",
        ]

    @property
    def tracks(self) -> dict[int, int]:
        """Return the index of the track of each class."""
        return {label: number for number, label in enumerate(self.used_classes)}

    def chunks(self) -> Iterator[tuple[int, Columns]]:
        """Yield the index of the video in the source and its frames, in order.

        Raises:
            JournalError: these are not exactly the requested frames.
        """
        return self.journal.read_complete()

    def labels(self, **provenance: Any) -> sio.Labels:
        """Return labels with everything but frames."""
        import sleap_io as sio

        labels = sio.Labels(
            videos=list(self.source.videos().values()),
            skeletons=[make_skeleton(self.skeleton)],
            tracks=[sio.Track(self.classes[label]) for label in self.used_classes],
        )
        labels.provenance = {**self._provenance(), **provenance}
        return labels

    def _provenance(self) -> dict[str, Any]:
        import sleap_io as sio

        facts = self.journal.facts
        sources = facts["task"]["sources"]
        return {
            "inference_start_timestamp": facts["started"],
            "inference_end_timestamp": datetime.now(UTC).isoformat(),
            "sleap_infer_version": __version__,
            "sleap_io_version": sio.__version__,
            "model_type": facts["settings"]["kind"],
            "source_file": located(self.source.name) if len(sources) == 1 else sources,
            "frame_selection": {"frames_processed": self.n_frames, "frames_failed": self.n_failed},
            "ledger": dict(self.counts),
            "failures": list(self.notes),
            "inference_config": facts["settings"],
            "system_info": {"platform": platform.platform(), "python": platform.python_version()},
            **facts["facts"],
        }


def collect(journal: Journal, source: Source) -> Results:
    """Read a journal once and collect its counts.

    Raises:
        JournalError: it does not contain exactly the requested frames.
    """
    if journal.asked() != [part.frame_inds for part in source.parts]:
        raise JournalError(f"{journal.path} is of other frames than those of {source.name} that are there now.")
    counts: dict[FrameStatus, int] = dict.fromkeys(STATUSES, 0)
    used: dict[int, None] = {}
    notes: list[str] = []
    n_instances = n_capped = n_not_finite = n_untracked = 0
    for part, columns in journal.read_complete():
        for status, number in columns.count().items():
            counts[status] += number
        n_instances += columns.n_instances
        n_capped += int(columns.capped.sum())
        n_untracked += columns.count_untracked()
        n_not_finite += sum(NOT_FINITE in note for note in columns.notes.values())
        used |= dict.fromkeys(label for label in columns.classes.tolist() if label >= 0)
        notes += [f"video {part}, {note}" for note in columns.notes.values()][: NOTES_KEPT - len(notes)]
    facts = journal.facts
    skeleton = from_plain(SkeletonSpec, facts["skeleton"])
    classes, numbers = tuple(facts["classes"]), (n_capped, n_not_finite, n_untracked)
    return Results(journal, source, skeleton, classes, counts, n_instances, tuple(used), tuple(notes), *numbers)


def write(results: Results, targets: Mapping[OutputFormat, Path], profile: Mapping[str, Any]) -> list[Path]:
    """Write files.

    Args:
        results: content of a journal.
        targets: path of each format; existing files are replaced.
        profile: busy time of each stage, for the provenance.

    Returns:
        The files; one per video for formats of one video.

    Raises:
        OutputError: one cannot be written; those before it are.
    """
    written: list[Path] = []
    results = attrs.evolve(results, labels_file=targets.get("slp"))
    for form, target in targets.items():
        for path in (target, mark_file(target)):
            remove_leftovers(path)
        written += WRITERS[form](results, target, profile)
    return written


def _write_slp(results: Results, target: Path, profile: Mapping[str, Any]) -> list[Path]:
    size = (results.n_frames, results.n_instances)
    labels = results.labels(profile=profile)

    def fill(path: Path) -> None:
        write_slp(path, labels, results.chunks(), size, results.tracks)
        _check_labels(path, results)
        _mark(path, results)

    return [put_in_place(target, fill)]


def _check_labels(path: Path, results: Results) -> None:
    """Compare a written file with the request before the journal is deleted.

    Raises:
        OutputError: it holds other frames.
    """
    asked = np.concatenate([np.zeros(0, np.int64), *map(np.asarray, results.journal.frame_inds())])
    with h5py.File(path) as file:
        frames, n_instances = file["frames"][()], len(file["instances"])
    if not np.array_equal(frames["frame_idx"], asked) or n_instances != results.n_instances:
        raise OutputError(
            f"{len(frames)} frames and {n_instances} instances were written for {len(asked)} and "
            f"{results.n_instances}. {results.journal.path} holds all of them: run the same command again."
        )


def _write_analysis(results: Results, target: Path, profile: Mapping[str, Any]) -> list[Path]:
    parts = results.source.parts
    places = [target] if len(parts) == 1 else [numbered(target, number) for number in range(len(parts))]
    labels_file = results.journal.path / LABELS_FILE
    _write_slp(results, labels_file, profile)
    try:
        return [put_in_place(place, partial(_fill_analysis, results, labels_file, n)) for n, place in enumerate(places)]
    finally:
        labels_file.unlink(missing_ok=True)


def _fill_analysis(results: Results, labels_file: Path, number: int, path: Path) -> None:
    write_analysis(path, labels_file, number, results.labels_file)
    _mark(path, results)


def _mark(path: Path, results: Results) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[MARK] = identity_key(results.journal.facts["what"])
        if len(_noted(results)) < NOTED_BYTES:
            file.attrs[NOTED] = _noted(results)


def _put_text(target: Path, results: Results, fill: Callable[[Path], object]) -> list[Path]:
    """Write a text file, and first its mark: a hidden file beside it with the job and the length of the file."""

    def filled(path: Path) -> None:
        fill(path)
        mark = identity_key(results.journal.facts["what"])
        write_text(mark_file(target), f"{mark} {path.stat().st_size} {_noted(results)}")

    return [put_in_place(target, filled)]


def _noted(results: Results) -> str:
    return json.dumps(noted(results.journal.path))


def mark_file(path: Path) -> Path:
    """Return the path of the mark of a text file."""
    return path.with_name(f".{path.name}.job")


def read_mark(path: Path) -> str | None:
    """Return the `identity_key` of the job that made a file; `None` if it is unknown."""
    return _read_marks(path)[0]


def read_noted(path: Path) -> list[Record] | None:
    """Return the records of the videos' content in a file; `None` if there are none."""
    try:
        return read_records(_read_marks(path)[1] or "")
    except ValueError:
        return None


def _read_marks(path: Path) -> tuple[str | None, str | None]:
    try:
        if path.suffix.lower() in (".slp", ".h5"):
            with h5py.File(path) as file:
                return file.attrs.get(MARK), file.attrs.get(NOTED)
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            found = parquet.read_schema(path).metadata or {}
            mark, text = (found.get(name.encode()) for name in (MARK, NOTED))
            return None if mark is None else mark.decode(), None if text is None else text.decode()
        mark, size, *rest = mark_file(path).read_text(encoding="utf-8").split(maxsplit=2)
        return (mark, rest[0] if rest else None) if int(size) == path.stat().st_size else (None, None)
    except (OSError, ValueError):
        return None, None


def _write_csv(results: Results, target: Path, profile: Mapping[str, Any]) -> list[Path]:
    return _put_text(target, results, lambda path: write_csv(path, results.chunks(), *_names(results)))


def _write_parquet(results: Results, target: Path, profile: Mapping[str, Any]) -> list[Path]:
    facts = {MARK: identity_key(results.journal.facts["what"]), NOTED: _noted(results)}
    return [put_in_place(target, lambda path: write_parquet(path, results.chunks(), *_names(results), facts))]


def _write_frame_status(results: Results, target: Path, profile: Mapping[str, Any]) -> list[Path]:
    return _put_text(target, results, lambda path: write_frame_status(path, results.chunks(), results.source))


Writer: TypeAlias = Callable[[Results, Path, Mapping[str, Any]], list[Path]]

WRITERS: Mapping[OutputFormat, Writer] = {
    "slp": _write_slp,
    "analysis_h5": _write_analysis,
    "csv": _write_csv,
    "parquet": _write_parquet,
    "ledger": _write_frame_status,
}


def _names(results: Results) -> tuple[list[str], Sequence[str], Sequence[str]]:
    """Of the videos, of the nodes, of the classes."""
    return video_names(results.source), results.skeleton.nodes, results.classes
