"""Runners that are made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.base import BaseInferenceRunner, Images, Pending
from sleap_infer.runners.profile import Stopwatch


class OuterRunner(BaseInferenceRunner):
    """Runs one network by runners inside of it, which count their own time. It implements `_start`.

    What it is asked, the first of them answers.

    Args:
        runners: of one model.
        settings: its resolved settings; by default those of the first.
    """

    def __init__(self, runners: Sequence[BaseInferenceRunner], settings: StageSettings | None = None) -> None:
        first = runners[0]
        super().__init__(first.spec, settings or first.settings, first.returned)
        self.runners = tuple(runners)
        self.backend = first.backend  # type: ignore[misc]  # that of its runners
        self.count_with(self.stopwatch)

    def count_with(self, stopwatch: Stopwatch) -> None:
        """Hand a stopwatch on to all."""
        super().count_with(stopwatch)
        for runner in self.runners:
            runner.count_with(stopwatch)

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self.runners[0].device

    @property
    def precision(self) -> str:
        """What the network computes in."""
        return self.runners[0].precision

    @property
    def runs_beside(self) -> bool:
        """Whether `start` comes back before the work is done."""
        return self.runners[0].runs_beside

    @property
    def n_lanes(self) -> int:
        """How many images, or batches, are worked on at the same time."""
        return self.runners[0].n_lanes

    @property
    def n_batches(self) -> int:
        """How many batches at a time it takes to keep it busy."""
        return self.runners[0].n_batches

    def _predict(self, images: Images) -> Candidates:
        return self._start(images)()

    def _timed(self, start: Callable[[], Pending]) -> Pending:
        pending = start()
        return lambda: self._check(pending())

    def _close(self) -> None:
        for runner in self.runners:
            runner.close()
