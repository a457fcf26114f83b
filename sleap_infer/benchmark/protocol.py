"""Tasks of worker processes and their answers; both are sent as JSON."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from sleap_infer.config.options import SourceSpec, as_spec


@frozen
class Setup:
    """The arguments that open a predictor.

    Attributes:
        models: paths of the models.
        backend: name of the backend.
        precision: requested precision; `None` for that of the model.
        device: name of the device.
        batch_size: number of frames per batch.
        ignore_unknown_settings: as in `sleap_infer.config.options`.
    """

    models: tuple[str, ...]
    backend: str
    precision: str | None
    device: str
    batch_size: int
    ignore_unknown_settings: bool = False


@frozen
class CheckBackends:
    """Check which backends can run on a device."""

    backends: tuple[str, ...]
    device: str


@frozen
class BackendReasons:
    """Why each backend cannot run, by name; `None` if it can."""

    by_backend: dict[str, str | None]


@frozen
class Build:
    """Export a model.

    Attributes:
        models: paths of trained models.
        precision: precision of the graph.
        engines: whether TensorRT engines are built from it.
        max_batch_size: maximum number of frames per batch.
        video: source of the calibration frames.
        frames: indices of these; if empty, the export chooses.
        directory: output directory.
        ignore_unknown_settings: as in `sleap_infer.config.options`.
    """

    models: tuple[str, ...]
    precision: str
    engines: bool
    max_batch_size: int
    video: SourceSpec = field(converter=as_spec)
    frames: tuple[int, ...]
    directory: str
    ignore_unknown_settings: bool = False


@frozen
class Built:
    """Duration of an export in seconds, and notes on it."""

    seconds: float
    notes: tuple[str, ...]


@frozen
class Predict:
    """Predict frames, and write their poses.

    Attributes:
        setup: how to open the predictor.
        video: source of the frames.
        frames: indices of the frames.
        poses: file to write, see `pose_comparison.write_poses`.
        builds: whether the backend compiles for its first batches.
    """

    setup: Setup
    video: SourceSpec = field(converter=as_spec)
    frames: tuple[int, ...]
    poses: str
    builds: bool = False


@frozen
class Predicted:
    """Facts about predicted frames.

    Attributes:
        device: device that was used.
        build_s: seconds by which the first pass was slower than the second; `None` without a second pass.
    """

    device: str
    build_s: float | None = None


@frozen
class Measure:
    """Measure everything once.

    Attributes:
        setup: how to open the predictor.
        video: source of the frames.
        n_frames: number of frames, from the start.
        whole: whether these are all frames of the video.
        one_by_one: whether the latency of single frames is measured.
        folder: directory for temporary output.
    """

    setup: Setup
    video: SourceSpec = field(converter=as_spec)
    n_frames: int
    whole: bool
    one_by_one: bool
    folder: str


@frozen
class Measured:
    """One repeat, in seconds and MB (10^6 bytes).

    Attributes:
        device: device that was used.
        python_s: part of the cold start until the package runs.
        imports_s: part of the cold start for imports.
        opening_s: part of the cold start to open the model.
        first_s: part of the cold start to the first pose.
        n_frames: number of frames predicted end to end.
        end_to_end_s: seconds for these.
        forward_s: seconds of the networks alone, for `n_forward` frames.
        n_forward: number of frames on which the networks were timed alone.
        one_by_one_s: seconds of each single frame.
        host_mb: peak memory of the process.
        device_used_mb: memory in use on the GPU by all processes; `None` on other devices.
    """

    device: str
    python_s: float
    imports_s: float
    opening_s: float
    first_s: float
    n_frames: int
    end_to_end_s: float
    forward_s: float
    n_forward: int
    one_by_one_s: tuple[float, ...] = ()
    host_mb: float | None = None
    device_used_mb: float | None = None

    @property
    def cold_s(self) -> float:
        """Seconds from starting the process to the first pose."""
        return self.python_s + self.imports_s + self.opening_s + self.first_s


Task: TypeAlias = CheckBackends | Build | Predict | Measure
"""Their answers are `BackendReasons`, `Built`, `Predicted` and `Measured`."""

Answer: TypeAlias = BackendReasons | Built | Predicted | Measured

TASKS: dict[str, type[Task]] = {kind.__name__: kind for kind in (CheckBackends, Build, Predict, Measure)}
