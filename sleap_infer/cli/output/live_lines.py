"""Output of `sleap-infer live`: a line of JSON per frame, or a status line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.live import Live

from sleap_infer.cli.output.progress import SECONDS_BETWEEN_LINES
from sleap_infer.cli.output.terminal import Terminal, print_as_json, words

if TYPE_CHECKING:
    from sleap_infer.model import ModelSpec
    from sleap_infer.poses.outputs import Outputs
    from sleap_infer.predictors.live.run import LiveResult, LiveRun

SECONDS_BETWEEN_UPDATES = 1.0


class JsonLines:
    """Print each result as a line of JSON.

    Args:
        spec: of the model that predicts the points.
        clock: of the frames' times.
    """

    def __init__(self, spec: ModelSpec, clock: Callable[[], float]) -> None:
        only_centroids = not spec.row.finds_points and spec.n_nodes > 1
        self._nodes = ("centroid",) if only_centroids else tuple(spec.skeleton.nodes)
        self._classes = tuple(spec.classes)
        self._to_unix = time() - clock()

    def __call__(self, result: LiveResult) -> None:
        """Print a result."""
        found = {
            "frame": result.frame.index,
            "time": round(result.frame.time + self._to_unix, 6),
            "latency_ms": round(result.latency_ms, 3),
            "late": result.is_late,
            "instances": instances_of(result.outputs, self._nodes, self._classes),
        }
        print_as_json(found)


def instances_of(outputs: Outputs, nodes: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the instances with at least one point, for JSON.

    Args:
        outputs: of one frame.
        nodes: names of the points, in order.
        classes: names of the classes, in order; empty for models without.

    Returns:
        For each instance `points`, (x, y) in pixels of the frame by node, `None` if missing; `scores` by node;
        `score`; and for models with classes `class` and `class_score`, `None` if unknown.
    """
    points, values, scores = outputs.pred_keypoints, outputs.pred_peak_values, outputs.instance_scores
    if points is None:
        if outputs.pred_centroids is None:
            return []
        points, values = np.asarray(outputs.pred_centroids)[:, None], np.asarray(outputs.pred_centroid_values)[:, None]
    found = []
    for row in np.flatnonzero(outputs.present()):
        instance: dict[str, Any] = {
            "points": {node: _position(point) for node, point in zip(nodes, np.asarray(points)[row], strict=True)},
            "scores": {node: _number(value) for node, value in zip(nodes, np.asarray(values)[row], strict=True)},
            "score": None if scores is None else _number(scores[row]),
        }
        if outputs.pred_classes is not None:
            label, certainty = int(outputs.pred_classes[row]), outputs.instance_tracking_scores
            instance["class"] = classes[label] if label >= 0 else None
            instance["class_score"] = None if certainty is None else _number(certainty[row])
        found.append(instance)
    return found


class StatusLine:
    """Show the status on stderr: on a terminal one line that changes every second, elsewhere a line every ten seconds.

    Args:
        run: the live run.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._console = Terminal(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._interval = SECONDS_BETWEEN_UPDATES if self._console.is_terminal else SECONDS_BETWEEN_LINES
        self._last = perf_counter()

    def __enter__(self) -> Self:
        """Start."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the line."""
        self._live.stop()

    def __call__(self) -> None:
        """Update the line if the last update was long enough ago."""
        now = perf_counter()
        if now - self._last < self._interval:
            return
        self._last = now
        line = self._run.report().line()
        if self._console.is_terminal:
            self._live.update(words(line), refresh=True)
        else:
            self._console.print_line(line)


def _position(point: Any) -> list[float] | None:
    x, y = (float(value) for value in point)
    return None if math.isnan(x) or math.isnan(y) else [round(x, 3), round(y, 3)]


def _number(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
