"""The results of a benchmark, and their JSON file with a versioned schema."""

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
"""Version of the schema; it increases when a name changes its meaning or is removed. Readers ignore unknown names."""

Status: TypeAlias = Literal["agrees", "differs", "failed"]
"""Poses are within the tolerance; they are not; the row could not be measured."""


@frozen
class PoseComparison:
    """Differences between the poses of a row and those of the reference.

    Attributes:
        agrees: whether they are within the tolerance.
        limit: the tolerance, as text.
        n_frames: number of compared frames.
        n_instances: number of instances of the reference.
        n_points: number of points that both have, in matched instances.
        median_px: median distance of these, in image pixels.
        p95_px: 95th percentile of the distances.
        max_px: largest distance.
        instances_missed: instances that only the reference has.
        instances_surplus: false-positive instances, which the reference does not have.
        points_missed: points that only the reference has, in all instances.
        points_surplus: false-positive points, in all instances.
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
        """Number of missed and false-positive instances."""
        return self.instances_missed + self.instances_surplus


@frozen
class Latency:
    """Milliseconds from a frame in memory to its pose, one frame at a time.

    Attributes:
        n_frames: number of frames per repeat; percentiles are those of each repeat, summarised over the repeats.
        p50: median.
        p90: 90th percentile.
        p99: 99th percentile.
    """

    n_frames: int
    p50: Spread
    p90: Spread
    p99: Spread


@frozen
class ColdStart:
    """Seconds from starting a process to the first pose of a video, with warm caches on disk.

    Attributes:
        total: the whole cold start.
        python: until the interpreter runs code of the package.
        imports: import of the packages of the backend.
        opening: opening the model.
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
        backend: name of the backend.
        precision: requested precision.
        batch_size: number of frames per batch.
        status: result of the comparison of poses.
        device: device that it ran on.
        reason: why it differs or failed.
        notes: further facts, such as blocks that stayed in fp32.
        agreement: comparison with the reference.
        rank: rank by end-to-end speed among the rows that agree, from 1.
        build_seconds: time to export, build an engine or compile; `None` if nothing is built.
        pays_after_frames: frames after which that time is recovered, compared with PyTorch; `None` if never or unknown.
        end_to_end_fps: frames per second, from a video file to a written `.slp` file.
        forward_ms: milliseconds per frame, from the input of the networks to candidates on the host.
        latency_ms: latency of single frames; only for batch size 1.
        cold_start_s: seconds from starting a process to the first pose.
        host_mb: peak memory of the process, in MB (10^6 bytes).
        device_mb: memory of the process on its GPU; `None` on other devices.
    """

    backend: str
    precision: str
    batch_size: int
    status: Status
    device: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    agreement: PoseComparison | None = None
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
        """Name for people."""
        return f"{self.backend} {self.precision} b{self.batch_size}"

    @property
    def key(self) -> tuple[str, str, int]:
        """Key of the same row in another report."""
        return self.backend, self.precision, self.batch_size


@frozen
class Absent:
    """A requested configuration that cannot run here.

    Attributes:
        backend: name of the backend.
        precision: the precision; `None` for all of them.
        reason: why it cannot run.
    """

    backend: str
    precision: str | None
    reason: str


@frozen
class ModelFacts:
    """Facts of the measured models.

    Attributes:
        paths: paths of the models, in the order in which they run.
        kind: kind of the pipeline.
        format: format of the files, one of `choices.ModelFormat`.
        sha256: digest of the weights of each model.
    """

    paths: tuple[str, ...]
    kind: str
    format: str
    sha256: tuple[str, ...]


@frozen
class VideoFacts:
    """Facts of the video.

    Attributes:
        path: path of the file.
        n_frames: number of frames; `None` if unknown.
        height: height of a frame in pixels.
        width: width of a frame in pixels.
        channels: number of channels.
        n_bytes: size of the file.
    """

    path: str
    n_frames: int | None
    height: int
    width: int
    channels: int
    n_bytes: int | None = None


@frozen
class Settings:
    """Settings of the measurement.

    Attributes:
        device: requested device.
        n_frames: number of predicted frames, from the start of the video.
        repeats: number of repeats, each in its own process.
        n_judged: number of frames whose poses are compared.
        n_calibration: number of other frames, on which exports are calibrated and checked.
        reference: backend, precision and device of the reference poses.
    """

    device: str
    n_frames: int
    repeats: int
    n_judged: int
    n_calibration: int
    reference: str


@frozen
class Scaling:
    """An additional series of measurements, drawn as a curve.

    Attributes:
        name: title of the chart.
        x_label: quantity that was varied.
        points: (x, low, median, high) of each point.
        y_label: quantity that was measured.
    """

    name: str
    x_label: str
    points: tuple[tuple[float, float, float, float], ...]
    y_label: str = "ms per frame"


@frozen
class Report:
    """All results of a benchmark.

    Attributes:
        made: time in ISO 8601.
        command: the command line.
        machine: the machine.
        packages: package versions by name.
        model: the models.
        video: the video.
        settings: how it was measured.
        rows: one row per backend, precision and batch size.
        absent: configurations that cannot run here.
        busy_cores: mean number of cores that other processes used meanwhile; `None` if unknown.
        scaling: additional series of measurements.
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
        """All rows, fastest first, whether they agree or not; failed rows last."""

        def speed(row: Row) -> float:
            return row.end_to_end_fps.median if row.end_to_end_fps else 0.0

        return tuple(sorted(self.rows, key=speed, reverse=True))

    @property
    def ranked(self) -> tuple[Row, ...]:
        """Rows that agree, fastest first."""
        return tuple(sorted((row for row in self.rows if row.rank is not None), key=lambda row: row.rank or 0))


def as_json(report: Report) -> str:
    """Return the text of the JSON file of a report."""
    data = {"schema": SCHEMA, "version": VERSION, **to_plain(report)}
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def read_report(path: str | Path) -> Report:
    """Read a report that `as_json` wrote.

    Raises:
        OptionError: the file is missing or damaged, is not a report, or has another version of the schema.
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
        raise OptionError(f"{path} is not a report of sleap-infer benchmark: its schema is {schema!r}, not {SCHEMA!r}.")
    if data.get("version") != VERSION:
        raise OptionError(
            f"{path} has version {data.get('version')!r} of the schema, but only version {VERSION} can be read. "
            "Measure again, or use the version of sleap-infer that wrote it."
        )
    try:
        return from_plain(Report, data)
    except ValueError as error:
        raise OptionError(f"{path} is damaged: {error}. Make it again with --output.") from error


def check_file(path: Path, overwrite: bool) -> None:
    """Check that a file can be written, before anything is measured.

    Args:
        path: the file.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: it exists and must not be replaced, or is a directory.
        OutputError: its directory is missing or not writable.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent.absolute()}. Create it first.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputExistsError(f"{path} already exists. Choose another name, or replace it with --overwrite.")
    check_writable(path)
