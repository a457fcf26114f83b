"""Compare new results with earlier ones; sudden changes give a warning. Pure functions and one state."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from attrs import define, field, frozen

from sleap_infer.jobs.store.columns import Columns

WINDOW = 1000
"""Number of frames compared with those before them."""

LEAST = 200
"""Minimum number of frames before them."""

COUNT_FACTOR, COUNT_STEP = 2.0, 0.5
SCORE_SHARE = 0.6
MISSING_STEP = 0.3


UNUSUAL_FACTOR = 2.0
"""Frames are rarely resized by more than this to the size that a model was trained on."""


def unlike_training(
    shape: tuple[int, int, int],
    n_channels: int,
    fit: tuple[int | None, int | None],
    crop_size: int | None,
    fixed: Collection[str] = (),
) -> Iterator[str]:
    """Describe in what frames differ from those that a model was trained on.

    An option is named only where it changes something for this model. There is none for channels: the network's own
    conversion does the same as `ensure_rgb` and `ensure_grayscale`.

    Args:
        shape: (height, width, channels) of the frames.
        n_channels: of the network's input.
        fit: height and width that frames are fitted into, `None` where that was not so in training.
        crop_size: side of the crops, if there are any.
        fixed: options that are part of an exported graph, so that they cannot be changed.

    >>> list(unlike_training((1024, 1280, 3), 1, (1024, None), 160))
    ['frames are in colour and the model was trained on gray ones: they are converted to gray']
    """
    height, width, channels = shape
    if channels == 3 and n_channels == 1:
        yield "frames are in colour and the model was trained on gray ones: they are converted to gray"
    if channels == 1 and n_channels == 3:
        yield "frames are gray and the model was trained on colour: poses may be worse than on colour videos"
    factors = [wanted / side for wanted, side in zip(fit, (height, width), strict=True) if wanted]
    factor = min(factors, default=1.0)
    if max(factor, 1 / factor) > UNUSUAL_FACTOR:
        word, size = ("reduced", 1 / factor) if factor < 1 else ("enlarged", factor)
        yield (
            f"frames of {height} x {width} are {word} by a factor of {size:.1f} to the size of training; "
            f"{_change(('max_height', 'max_width'), fixed)}"
        )
    if crop_size and crop_size > max(height, width):
        change = _change(("crop_size",), fixed)
        yield f"crops of {crop_size} are larger than the frames of {height} x {width}; {change}"


def _change(names: tuple[str, ...], fixed: Collection[str]) -> str:
    """Return the options that change a setting, or the way to change it in a graph."""
    options = " and ".join(f"--{name.replace('_', '-')}" for name in names)
    return f"export the model again with other {options}" if set(names) & set(fixed) else f"see {options}"


@frozen
class Window:
    """Sums over some frames, which can be added.

    Attributes:
        n_frames: frames.
        n_instances: in all of them.
        score: sum of the values of all points that were found.
        n_points: that were found.
        n_places: points that there could be.
    """

    n_frames: int = 0
    n_instances: int = 0
    score: float = 0.0
    n_points: int = 0
    n_places: int = 0

    def __add__(self, other: Window) -> Window:
        """Both together."""
        return Window(
            self.n_frames + other.n_frames,
            self.n_instances + other.n_instances,
            self.score + other.score,
            self.n_points + other.n_points,
            self.n_places + other.n_places,
        )

    @property
    def count(self) -> float:
        """Instances of a frame."""
        return self.n_instances / max(self.n_frames, 1)

    @property
    def mean_score(self) -> float:
        """Value of a point that was found."""
        return self.score / max(self.n_points, 1)

    @property
    def missing(self) -> float:
        """Share of the points of an instance that were not found."""
        return 1 - self.n_points / self.n_places if self.n_places else 0.0


def summed(columns: Columns) -> Window:
    """Return the sums of some frames."""
    found = ~np.isnan(columns.points[..., 0])
    score = float(np.nansum(columns.point_scores, where=found, initial=0.0))
    return Window(len(columns), columns.n_instances, score, int(found.sum()), found.size)


@define
class DriftCheck:
    """Compares each so many frames of a video with all before them in it."""

    before: Window = field(factory=Window)
    now: Window = field(factory=Window)

    def watch(self, window: Window) -> Iterator[str]:
        """Take more frames, and say what is unlike before, in words."""
        self.now += window
        if self.now.n_frames < WINDOW:
            return
        if self.before.n_frames >= LEAST:
            yield from breaks(self.before, self.now)
        self.before, self.now = self.before + self.now, Window()


def breaks(before: Window, now: Window) -> Iterator[str]:
    """Return a line for each change from one window to another.

    >>> list(breaks(Window(1000, 2000, 1800, 2000, 2000), Window(1000, 100, 95, 100, 100)))
    ['instances per frame went from 2.00 to 0.10']
    """
    low, high = sorted((before.count, now.count))
    if high - low > COUNT_STEP and high > COUNT_FACTOR * low:
        yield f"instances per frame went from {before.count:.2f} to {now.count:.2f}"
    if before.n_points and now.n_points and now.mean_score < SCORE_SHARE * before.mean_score:
        yield f"the mean score of points went from {before.mean_score:.2f} to {now.mean_score:.2f}"
    if before.n_places and now.n_places and now.missing - before.missing > MISSING_STEP:
        yield f"the share of missing points went from {before.missing:.0%} to {now.missing:.0%}"
