"""Options of a benchmark, and the plan made from them: configurations, exports, and the use of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs
from attrs import field, frozen

from sleap_infer.choices import Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE, SourceOptions
from sleap_infer.errors import OptionError
from sleap_infer.runners.registry import backend_names, find_facts

PRECISIONS: tuple[str, ...] = get_args(Precision)
EVERY = "all"

MAX_CALIBRATION = 64
"""Maximum number of frames on which exports are calibrated and checked."""

MIN_CALIBRATION = 16
"""With fewer frames after the timed ones, exports are calibrated on every other timed frame."""


def _positive_integer(options: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{attribute.name} must be a positive integer, found {value!r}.")


def _known(names: Callable[[], tuple[str, ...]]) -> Any:
    def check(options: Any, attribute: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
        for value in values:
            if value not in names():
                raise OptionError(f"{attribute.name}: there is no {value!r}. Use some of {', '.join(names())}.")

    return check


def _batch_sizes(options: Any, attribute: attrs.Attribute[Any], values: tuple[int, ...]) -> None:
    for value in values or (0,):
        _positive_integer(options, attribute, value)


@frozen(kw_only=True)
class BenchmarkOptions:
    """The measurements that a user asks for.

    Attributes:
        models: one model directory, or two of a top-down pipeline.
        video: a source of frames; `None` for one that comes with the package.
        reading: how the video is opened.
        backends: names; empty for all available backends.
        precisions: names; empty for fp32, or the precision of an exported model.
        batch_sizes: numbers of frames per batch.
        n_frames: number of frames, from the start of the video.
        repeats: repeats of every measurement.
        device: as in `Predictor.from_model_paths`.
        timeout: maximum duration of a worker process in seconds.
        ignore_unknown_settings: as in `sleap_infer.config.options`.

    Raises:
        OptionError: a value is not allowed.
    """

    models: tuple[Path, ...]
    video: str | None = None
    reading: SourceOptions = field(factory=SourceOptions)
    backends: tuple[str, ...] = field(default=(), validator=_known(backend_names))
    precisions: tuple[str, ...] = field(default=(), validator=_known(lambda: PRECISIONS))
    batch_sizes: tuple[int, ...] = field(default=(1, DEFAULT_BATCH_SIZE), validator=_batch_sizes)
    n_frames: int = field(default=100, validator=_positive_integer)
    repeats: int = field(default=5, validator=_positive_integer)
    device: str = "auto"
    timeout: float = 3600.0
    ignore_unknown_settings: bool = False


@frozen
class Configuration:
    """One backend in one precision with one batch size.

    Attributes:
        backend: name of the backend.
        precision: requested precision.
        batch_size: number of frames per batch.
    """

    backend: str
    precision: str
    batch_size: int

    @property
    def name(self) -> str:
        """Name for people and for directories."""
        return f"{self.backend} {self.precision} b{self.batch_size}"

    @property
    def compiles(self) -> bool:
        """Return whether its first batch is slow once, because the backend compiles and caches the result."""
        return find_facts(self.backend).setup_s > 0


@frozen
class Export:
    """A graph or an engine that configurations need.

    Attributes:
        precision: precision of the graph.
        engines: whether TensorRT engines are built from it.
    """

    precision: str
    engines: bool

    @property
    def name(self) -> str:
        """Name for people and for directories."""
        return f"{'engine' if self.engines else 'graph'} {self.precision}"


@frozen
class FrameUse:
    """The frames for warming up, for comparing poses and for measuring speed.

    Attributes:
        n_timed: number of frames, from the start, that are timed.
        whole: whether these are all frames of the video.
        compared: frames whose poses are compared with the reference.
        calibration: frames on which exports are calibrated and checked; none of them is compared.
    """

    n_timed: int
    whole: bool
    compared: tuple[int, ...]
    calibration: tuple[int, ...]


def make_plan(
    backends: Sequence[str], precisions: Sequence[str], batch_sizes: Iterable[int]
) -> tuple[Configuration, ...]:
    """Return every combination of backend, precision and batch size once, ordered by batch size.

    >>> [item.name for item in make_plan(["onnx"], ["fp32", "int8"], [4, 1])]
    ['onnx fp32 b1', 'onnx int8 b1', 'onnx fp32 b4', 'onnx int8 b4']
    """
    return tuple(
        Configuration(backend, precision, batch_size)
        for batch_size in sorted(set(batch_sizes))
        for precision in dict.fromkeys(precisions)
        for backend in dict.fromkeys(backends)
    )


def export_for(configuration: Configuration) -> Export | None:
    """Return the export that a configuration of a trained model needs, if any."""
    export_format = find_facts(configuration.backend).export_format
    return Export(configuration.precision, engines=export_format == "tensorrt") if export_format else None


def divide_frames(n_frames: int, total: int | None, exports: bool) -> FrameUse:
    """Decide which frames are timed, compared, and used by exports.

    Exports get frames after the timed ones, evenly spread over the rest of the video. If there are too few, they get
    every other timed frame, and only the remaining ones are compared.

    Args:
        n_frames: requested number of frames.
        total: number of frames of the video; `None` if unknown.
        exports: whether anything is exported.

    >>> divide_frames(4, 5, exports=True)
    FrameUse(n_timed=4, whole=False, compared=(0, 2), calibration=(1, 3))
    """
    n_timed = n_frames if total is None else min(n_frames, total)
    timed, whole = tuple(range(n_timed)), n_timed == total
    if not exports:
        return FrameUse(n_timed, whole, timed, ())
    after = range(n_timed, total or n_timed)
    if len(after) >= MIN_CALIBRATION:
        return FrameUse(n_timed, whole, timed, subsample(after, MAX_CALIBRATION))
    return FrameUse(n_timed, whole, timed[::2], subsample(timed[1::2], MAX_CALIBRATION))


def subsample(frames: Sequence[int], maximum: int) -> tuple[int, ...]:
    """Return at most `maximum` of the frames, evenly spread.

    >>> subsample(range(10, 20), 4)
    (10, 12, 15, 17)
    """
    if len(frames) <= maximum:
        return tuple(frames)
    return tuple(frames[number * len(frames) // maximum] for number in range(maximum))


def read_names(text: str, every: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list, or every name for `all`.

    Raises:
        OptionError: a name is unknown.

    >>> read_names("fp32, int8", PRECISIONS, "--precision"), len(read_names("all", PRECISIONS, "--precision"))
    (('fp32', 'int8'), 4)
    """
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if names == (EVERY,):
        return every
    for name in names or (text,):
        if name not in every:
            raise OptionError(f"{flag} {text!r}: there is no {name!r}. Use some of {', '.join(every)}, or {EVERY}.")
    return names


def read_sizes(text: str) -> tuple[int, ...]:
    """Return the batch sizes in a comma-separated list.

    Raises:
        OptionError: one of them is not a positive integer.

    >>> read_sizes("1,4")
    (1, 4)
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdigit() and int(word) for word in words):
        raise OptionError(f"--batch-sizes {text!r}: expected positive integers with commas, such as 1,4,16.")
    return tuple(int(word) for word in words)
