"""What is asked for, and what becomes of it: configurations, exports that these need, and which frames are for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs
from attrs import field, frozen

from sleap_infer.choices import GRAPH_BACKENDS, Backend, Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import OptionError

BACKENDS: tuple[str, ...] = get_args(Backend)
PRECISIONS: tuple[str, ...] = get_args(Precision)
EVERY = "all"

COMPILING = ("torch_compile", "tensorrt")
"""Backends that make something for their first batch and keep it."""

MOST_CALIBRATION = 64
"""Frames that exports are calibrated and checked on."""

LEAST_CALIBRATION = 16
"""With fewer frames behind the timed ones, every other timed one is taken."""


def _whole_from_one(options: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{attribute.name} is a whole number from 1 up, found {value!r}.")


def _known(names: tuple[str, ...]) -> Any:
    def check(options: Any, attribute: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
        for value in values:
            if value not in names:
                raise OptionError(f"{attribute.name}: there is no {value!r}. Use some of {', '.join(names)}.")

    return check


def _batch_sizes(options: Any, attribute: attrs.Attribute[Any], values: tuple[int, ...]) -> None:
    for value in values or (0,):
        _whole_from_one(options, attribute, value)


@frozen(kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Attributes:
        models: one model directory, or two that make a top-down pipeline.
        video: a source of frames; `None` takes one that comes with the package.
        backends: names; none at all stands for every backend that is there.
        precisions: names; none at all stands for fp32, or what an exported model was made in.
        batch_sizes: frames at once.
        n_frames: of the video, from its start.
        repeats: of everything.
        device: as in `Predictor.from_model_paths`.
        timeout: seconds that one process may take.
        ignore_unknown_settings: as in `sleap_infer.config.options`.

    Raises:
        OptionError: a value is not allowed.
    """

    models: tuple[Path, ...]
    video: str | None = None
    backends: tuple[str, ...] = field(default=(), validator=_known(BACKENDS))
    precisions: tuple[str, ...] = field(default=(), validator=_known(PRECISIONS))
    batch_sizes: tuple[int, ...] = field(default=(1, DEFAULT_BATCH_SIZE), validator=_batch_sizes)
    n_frames: int = field(default=100, validator=_whole_from_one)
    repeats: int = field(default=5, validator=_whole_from_one)
    device: str = "auto"
    timeout: float = 3600.0
    ignore_unknown_settings: bool = False


@frozen
class Configuration:
    """One backend in one precision with one batch size.

    Attributes:
        backend: its name.
        precision: that is asked for.
        batch_size: frames at once.
    """

    backend: str
    precision: str
    batch_size: int

    @property
    def name(self) -> str:
        """For people, and for folders."""
        return f"{self.backend} {self.precision} b{self.batch_size}"

    @property
    def makes_something(self) -> bool:
        """Whether its first batch takes time that later processes are spared."""
        return self.backend in COMPILING


@frozen
class Export:
    """A graph, or an engine, that configurations are run from.

    Attributes:
        precision: of it.
        engines: whether TensorRT engines are built.
    """

    precision: str
    engines: bool

    @property
    def name(self) -> str:
        """For people, and for folders."""
        return f"{'engine' if self.engines else 'graph'} {self.precision}"


@frozen
class FrameUse:
    """Which frames are for what.

    Attributes:
        n_timed: so many from the start are timed.
        whole: whether these are all.
        judged: agreement is judged on these.
        calibration: exports see these, of which none is judged.
    """

    n_timed: int
    whole: bool
    judged: tuple[int, ...]
    calibration: tuple[int, ...]


def make_plan(
    backends: Sequence[str], precisions: Sequence[str], batch_sizes: Iterable[int]
) -> tuple[Configuration, ...]:
    """Every backend in every precision with every batch size, each once; the rivals of one batch size together.

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
    """The export that a trained model's configuration is run from, if it needs one."""
    if configuration.backend not in GRAPH_BACKENDS:
        return None
    return Export(configuration.precision, engines=configuration.backend == "tensorrt")


def divide_frames(n_frames: int, total: int | None, exports: bool) -> FrameUse:
    """Decide which frames are timed, judged, and shown to exports.

    Exports get frames behind the timed ones, spread over the rest of the video; where there are too few, they get every
    other timed frame, and the others are judged.

    Args:
        n_frames: that are asked for.
        total: that the video has; `None` if it does not say.
        exports: whether anything is exported.

    >>> divide_frames(4, 5, exports=True)
    FrameUse(n_timed=4, whole=False, judged=(0, 2), calibration=(1, 3))
    """
    n_timed = n_frames if total is None else min(n_frames, total)
    timed, whole = tuple(range(n_timed)), n_timed == total
    if not exports:
        return FrameUse(n_timed, whole, timed, ())
    behind = range(n_timed, total or n_timed)
    if len(behind) >= LEAST_CALIBRATION:
        return FrameUse(n_timed, whole, timed, thinned(behind, MOST_CALIBRATION))
    return FrameUse(n_timed, whole, timed[::2], thinned(timed[1::2], MOST_CALIBRATION))


def thinned(frames: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many of some frames, evenly spread.

    >>> thinned(range(10, 20), 4)
    (10, 12, 15, 17)
    """
    if len(frames) <= most:
        return tuple(frames)
    return tuple(frames[number * len(frames) // most] for number in range(most))


def read_names(text: str, every: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """Names with commas between them, or `all`.

    Raises:
        OptionError: one of them is not known.

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
    """Batch sizes with commas between them.

    Raises:
        OptionError: one of them is not a whole number from 1 up.

    >>> read_sizes("1,4")
    (1, 4)
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdigit() and int(word) for word in words):
        raise OptionError(f"--batch-sizes {text!r}: expected whole numbers from 1 up with commas, such as 1,4,16.")
    return tuple(int(word) for word in words)
