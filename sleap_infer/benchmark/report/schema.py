"""What a benchmark found: values, and these as a JSON file with a versioned schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from sleap_infer.benchmark.machine import MachineFacts
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.config.plain import from_plain, to_plain
from sleap_infer.errors import OptionError, OutputError, OutputExistsError
from sleap_infer.system.files import check_writable

SCHEMA = "sleap_infer.benchmark"

VERSION = 1
"""Of the schema. It goes up when a name changes its meaning or goes away; readers leave out names they do not know."""

Status: TypeAlias = Literal["agrees", "differs", "failed"]
"""Poses are those of the reference within the limit; they are not; it could not be measured."""


@frozen
class Agreement:
    """How poses agree with those of the reference, over the judged frames.

    Attributes:
        agrees: whether they keep the limit.
        limit: in words.
        n_frames: that were judged.
        n_instances: that the reference finds in them.
        n_points: that both have, in instances that both have.
        median_px, p95_px, max_px: distances of these, in image pixels.
        instances_missed: that only the reference has.
        instances_surplus: that the reference does not have.
        points_missed, points_surplus: likewise, in all instances.
    """

    agrees: bool
    limit: str
    n_frames: int
    n_instances: int
    n_points: int
    median_px: float
    p95_px: float
    max_px: float
    instances_missed: int = 0
    instances_surplus: int = 0
    points_missed: int = 0
    points_surplus: int = 0

    @property
    def n_changed(self) -> int:
        """Instances that only one of the two has."""
        return self.instances_missed + self.instances_surplus


@frozen
class Latency:
    """Milliseconds from a frame in memory to its pose, one frame at a time.

    Attributes:
        n_frames: of each repeat; percentiles are taken within a repeat, and then spread over the repeats.
        p50, p90, p99: percentiles.
    """

    n_frames: int
    p50: Spread
    p90: Spread
    p99: Spread


@frozen
class ColdStart:
    """Seconds from starting a process to the first pose of a video, with warm caches on disk.

    Attributes:
        total: all of it.
        python: until the interpreter runs our code.
        imports: of the backend's packages.
        opening: of the model.
        first_pose: opening the video and predicting its first frame.
    """

    total: Spread
    python: Spread
    imports: Spread
    opening: Spread
    first_pose: Spread


@frozen
class Row:
    """One backend in one precision with one batch size.

    Attributes:
        backend, precision, batch_size: what was asked for.
        status: what it comes to.
        device: that it ran on.
        reason: why it differs or failed.
        notes: what else there is to know, such as layers that stayed in 32 bits.
        agreement: with the reference.
        rank: among the rows that agree, by frames per second from end to end; from 1.
        build_seconds: exporting, building an engine or compiling; `None` where nothing is made.
        pays_after_frames: frames after which that is won back against PyTorch; `None` if never, or not known.
        end_to_end_fps: frames per second, video file in, `.slp` file written.
        forward_ms: milliseconds per frame, from the network's input to its candidates on the host.
        latency_ms: of batch size 1 only.
        cold_start_s: from nothing to the first pose.
        host_mb: most memory of the process, in millions of bytes.
        device_mb: memory that the process takes on its GPU; `None` on others.
    """

    backend: str
    precision: str
    batch_size: int
    status: Status
    device: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    agreement: Agreement | None = None
    rank: int | None = None
    build_seconds: float | None = None
    pays_after_frames: int | None = None
    end_to_end_fps: Spread | None = None
    forward_ms: Spread | None = None
    latency_ms: Latency | None = None
    cold_start_s: ColdStart | None = None
    host_mb: Spread | None = None
    device_mb: Spread | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.backend} {self.precision} b{self.batch_size}"

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it the same row in another report."""
        return self.backend, self.precision, self.batch_size


@frozen
class Absent:
    """What was asked for and cannot run here.

    Attributes:
        backend: its name.
        precision: only this one; `None` for all.
        reason: why.
    """

    backend: str
    precision: str | None
    reason: str


@frozen
class ModelFacts:
    """What was run.

    Attributes:
        paths: of its models, in the order in which they run.
        kind: of the pipeline.
        format: who wrote it, one of `choices.ModelFormat`.
        sha256: of the weights of each.
    """

    paths: tuple[str, ...]
    kind: str
    format: str
    sha256: tuple[str, ...]


@frozen
class VideoFacts:
    """What it was run on.

    Attributes:
        path: of the file.
        n_frames: that it has; `None` if it does not say.
        height, width, channels: of its frames.
        n_bytes: of the file.
    """

    path: str
    n_frames: int | None
    height: int
    width: int
    channels: int
    n_bytes: int | None = None


@frozen
class Settings:
    """How it was measured.

    Attributes:
        device: that was asked for.
        n_frames: of the video that are predicted, from its start.
        repeats: of everything, each in a process of its own.
        n_judged: frames that agreement is judged on.
        n_calibration: other frames, that int8 and the checks of exports see.
        reference: backend, precision and device that poses are compared with.
    """

    device: str
    n_frames: int
    repeats: int
    n_judged: int
    n_calibration: int
    reference: str


@frozen
class Scaling:
    """Another series of measurements, drawn as a curve.

    Attributes:
        name: its title.
        x_label: what was varied.
        points: (x, low, median, high) each.
        y_label: what was measured.
    """

    name: str
    x_label: str
    points: tuple[tuple[float, float, float, float], ...]
    y_label: str = "ms per frame"


@frozen
class Report:
    """A benchmark.

    Attributes:
        made: when, in ISO 8601.
        command: that made it.
        machine: that it was made on.
        packages: versions by name.
        model: that was run.
        video: that it was run on.
        settings: how.
        rows: one for each backend, precision and batch size.
        absent: what cannot run here, and why.
        busy_cores: cores that other processes kept busy meanwhile, on average; `None` where that is not known.
        scaling: series of measurements that were added.
    """

    made: str
    command: str
    machine: MachineFacts
    packages: dict[str, str]
    model: ModelFacts
    video: VideoFacts
    settings: Settings
    rows: tuple[Row, ...] = field(factory=tuple)
    absent: tuple[Absent, ...] = ()
    busy_cores: float | None = None
    scaling: tuple[Scaling, ...] = ()

    @property
    def by_speed(self) -> tuple[Row, ...]:
        """All rows, the fastest first, whether they agree or not; those that failed last."""

        def speed(row: Row) -> float:
            return row.end_to_end_fps.median if row.end_to_end_fps else 0.0

        return tuple(sorted(self.rows, key=speed, reverse=True))

    @property
    def ranked(self) -> tuple[Row, ...]:
        """Rows that agree, the fastest first."""
        return tuple(sorted((row for row in self.rows if row.rank is not None), key=lambda row: row.rank or 0))


def as_json(report: Report) -> str:
    """A report as the text of a JSON file."""
    data = {"schema": SCHEMA, "version": VERSION, **to_plain(report)}
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def read_report(path: str | Path) -> Report:
    """Read a report that `as_json` wrote.

    Raises:
        OptionError: there is no such file, it is damaged, no report, or of a version of the schema that is not read.
    """
    path = Path(path).expanduser()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"No report at {path}: {error.strerror}. Make one with --output.") from error
    except ValueError as error:
        raise OptionError(f"{path} is damaged: it is not JSON ({error}). Make it again with --output.") from error
    return _read(data, path)


def _read(data: Any, path: Path) -> Report:
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise OptionError(f"{path} is no report of sleap-infer benchmark: its schema is {schema!r}, not {SCHEMA!r}.")
    if data.get("version") != VERSION:
        raise OptionError(
            f"{path} has version {data.get('version')!r} of the schema, and only version {VERSION} is read. Measure "
            "again, or use the sleap-infer that made it."
        )
    try:
        return from_plain(Report, data)
    except ValueError as error:
        raise OptionError(f"{path} is damaged: {error}. Make it again with --output.") from error


def check_file(path: Path, overwrite: bool) -> None:
    """Check, before the work, that a file can be written.

    Raises:
        OutputExistsError: something is there already and is not to be overwritten.
        OutputError: the folder is missing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent.absolute()}. Make it first.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputExistsError(f"{path} is there already. Choose another name, or overwrite it (--overwrite).")
    check_writable(path)
