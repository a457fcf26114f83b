"""What a worker process is asked for, and what it answers. Both cross the border as JSON."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen


@frozen
class Setup:
    """A predictor that is to be opened.

    Attributes:
        models: paths.
        backend: what runs the networks.
        precision: that is asked for; `None` takes what the model has.
        device: where.
        batch_size: frames at once.
        ignore_unknown_settings: as in `sleap_infer.config.options`.
    """

    models: tuple[str, ...]
    backend: str
    precision: str | None
    device: str
    batch_size: int
    ignore_unknown_settings: bool = False


@frozen
class AskBackends:
    """Which of some backends can run on a device."""

    backends: tuple[str, ...]
    device: str


@frozen
class Reasons:
    """Why a backend cannot run, by name; `None` where it can."""

    by_backend: dict[str, str | None]


@frozen
class Build:
    """Export a model.

    Attributes:
        models: trained.
        precision: of the graph.
        engines: whether TensorRT engines are built of it.
        most: frames at once.
        video: that the frames to calibrate on come from.
        frames: indices of these; none at all leaves the choice to the export.
        place: directory to make.
        ignore_unknown_settings: as in `sleap_infer.config.options`.
    """

    models: tuple[str, ...]
    precision: str
    engines: bool
    most: int
    video: str
    frames: tuple[int, ...]
    place: str
    ignore_unknown_settings: bool = False


@frozen
class Built:
    """What came of it: seconds, and what there is to know."""

    seconds: float
    notes: tuple[str, ...]


@frozen
class Predict:
    """Predict frames, and write their poses.

    Attributes:
        setup: of the predictor.
        video: that the frames come from.
        frames: indices.
        poses: file to write, see `agreement.write_poses`.
        builds: whether its first batches make something that takes time.
    """

    setup: Setup
    video: str
    frames: tuple[int, ...]
    poses: str
    builds: bool = False


@frozen
class Predicted:
    """What was predicted.

    Attributes:
        device: that it ran on.
        build_s: seconds that the first pass took longer than the second; `None` without a second.
    """

    device: str
    build_s: float | None = None


@frozen
class Measure:
    """Measure everything once.

    Attributes:
        setup: of the predictor.
        video: that the frames come from.
        n_frames: from its start.
        whole: whether these are all that it has.
        one_by_one: whether the latency of single frames is measured.
        folder: for what is written meanwhile.
    """

    setup: Setup
    video: str
    n_frames: int
    whole: bool
    one_by_one: bool
    folder: str


@frozen
class Measured:
    """One repeat, in seconds and millions of bytes.

    Attributes:
        device: that it ran on.
        python_s, imports_s, opening_s, first_s: parts of the cold start.
        n_frames: that were predicted from end to end.
        end_to_end_s: of these.
        forward_s: of `n_forward` frames.
        n_forward: frames that the networks alone were timed on.
        one_by_one_s: of each single frame.
        host_mb: peak memory.
        device_used_mb: in use on the GPU, by all processes; `None` elsewhere.
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
        """From starting the process to the first pose."""
        return self.python_s + self.imports_s + self.opening_s + self.first_s


Task: TypeAlias = AskBackends | Build | Predict | Measure
"""Answered with `Reasons`, `Built`, `Predicted` and `Measured`."""

Answer: TypeAlias = Reasons | Built | Predicted | Measured

TASKS: dict[str, type[Task]] = {kind.__name__: kind for kind in (AskBackends, Build, Predict, Measure)}
