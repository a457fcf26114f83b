"""A whole benchmark, from the outside: what is there, exports, agreement, and then rounds of processes in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Protocol, TypeAlias, TypeVar

from attrs import define, frozen

from sleap_infer import errors
from sleap_infer.benchmark.agreement import Limit, Poses, judge, read_poses
from sleap_infer.benchmark.configuration import Trial
from sleap_infer.benchmark.machine import MachineFacts, others_seconds, package_versions
from sleap_infer.benchmark.memory import device_used_mb
from sleap_infer.benchmark.plan import (
    BACKENDS,
    BenchmarkOptions,
    Configuration,
    Export,
    FrameUse,
    divide_frames,
    export_for,
    make_plan,
)
from sleap_infer.benchmark.protocol import (
    AskBackends,
    Build,
    Built,
    Measure,
    Measured,
    Predict,
    Predicted,
    Reasons,
    Setup,
    Task,
)
from sleap_infer.benchmark.report.ranking import rank
from sleap_infer.benchmark.report.schema import Absent, Report, Settings
from sleap_infer.benchmark.subjects import Subject, read_video
from sleap_infer.benchmark.worker_handle import Failure, Workshop
from sleap_infer.choices import GRAPH_BACKENDS

Say: TypeAlias = Callable[[str], None]
"""Takes a line on how far the work is."""

Kind = TypeVar("Kind")

REFERENCE_BATCH = 4


class Asks(Protocol):
    """Has tasks done, as a `process.Workshop`."""

    def ask(self, task: Task, kind: type[Kind], cache: str) -> Kind | Failure:
        """Have a task done, that is answered with a kind of value, with a cache of a name."""


def run_benchmark(options: BenchmarkOptions, command: str, say: Say = lambda line: None) -> Report:
    """Measure backends in precisions with batch sizes, each in processes of its own.

    Args:
        options: what to measure.
        command: that asked for it, for the report.
        say: gets a line for each step.

    Raises:
        SleapInferError: the model or the video cannot be read, or the reference cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="sleap_infer-benchmark-") as name:
        return Benchmark(options, Workshop(Path(name), options.timeout), Path(name), say).run(command)


@frozen
class Benchmark:
    """One benchmark.

    Args:
        options: what to measure.
        workshop: has tasks done.
        folder: for exports and poses.
        say: gets a line for each step.
    """

    options: BenchmarkOptions
    workshop: Asks
    folder: Path
    say: Say = lambda line: None

    def run(self, command: str) -> Report:
        """Do everything, in order."""
        subject = Subject.read(self.options.models, self.options.ignore_unknown_settings)
        video = self.options.video or subject.default_video()
        facts = read_video(video)
        names = self.options.backends or BACKENDS
        exports = not subject.exported and any(name in GRAPH_BACKENDS for name in names)
        use = divide_frames(self.options.n_frames, facts.n_frames, exports)
        made, machine = datetime.now(UTC).isoformat(timespec="seconds"), MachineFacts.read()
        with _watching_others() as busy:
            trials, absent = self._plan(subject, video, use)
            expected, reference = self._reference(subject, video, use)
            trials = self._agree(trials, absent, expected, video, use)
            self._measure(trials, video, use, subject)
        rows = rank([trial.row() for trial in trials])
        return Report(
            made=made,
            command=command,
            machine=machine,
            packages=package_versions(),
            model=subject.facts,
            video=facts,
            settings=Settings(
                device=self.options.device,
                n_frames=use.n_timed,
                repeats=self.options.repeats,
                n_judged=len(use.judged),
                n_calibration=len(use.calibration),
                reference=reference,
            ),
            rows=rows,
            absent=tuple(absent),
            busy_cores=busy.cores,
        )

    def _plan(self, subject: Subject, video: str, use: FrameUse) -> tuple[list[Trial], list[Absent]]:
        """What can be tried, with exports made, and what cannot."""
        reasons = self._ask_backends(self.options.backends or BACKENDS)
        absent = [Absent(name, None, reason) for name, reason in reasons.items() if reason is not None]
        there = [name for name, reason in reasons.items() if reason is None]
        precisions = self.options.precisions or (subject.precision,)
        built: dict[Export, tuple[Path, Built] | Failure] = {}
        trials = []
        for item in make_plan(there, precisions, self.options.batch_sizes):
            export = None if subject.exported else export_for(item)
            asked = item.precision if self.options.precisions or not subject.exported else None
            if export is None:
                setup = Setup(subject.paths, item.backend, asked, *self._where(item), self._ignore)
                trials.append(Trial(item, setup))
                continue
            if export not in built:
                built[export] = self._build(export, subject, video, use)
            found = built[export]
            if isinstance(found, Failure):
                absent += _once(absent, Absent(item.backend, item.precision, found.reason))
                continue
            place, made = found
            setup = Setup((str(place),), item.backend, None, *self._where(item))
            trials.append(Trial(item, setup, made.notes, made.seconds))
        return trials, absent

    @property
    def _ignore(self) -> bool:
        return self.options.ignore_unknown_settings

    def _where(self, item: Configuration) -> tuple[str, int]:
        return self.options.device, item.batch_size

    def _ask_backends(self, names: Sequence[str]) -> dict[str, str | None]:
        """Why each backend cannot run. If asking for all at once breaks down, they are asked for one by one."""
        self.say("looking which backends are there")
        found = self.workshop.ask(AskBackends(tuple(names), self.options.device), Reasons, "asking")
        if isinstance(found, Reasons):
            return {name: found.by_backend.get(name) for name in names}
        if len(names) == 1 or found.error:
            return dict.fromkeys(names, found.reason)
        return {name: reason for part in names for name, reason in self._ask_backends([part]).items()}

    def _build(self, export: Export, subject: Subject, video: str, use: FrameUse) -> tuple[Path, Built] | Failure:
        self.say(f"exporting: {export.name}")
        place = self.folder / "exports" / export.name.replace(" ", "-")
        place.parent.mkdir(exist_ok=True)
        most = max(self.options.batch_sizes)
        task = Build(
            subject.paths, export.precision, export.engines, most, video, use.calibration, str(place), self._ignore
        )
        found = self.workshop.ask(task, Built, export.name.replace(" ", "-"))
        return found if isinstance(found, Failure) else (place, found)

    def _reference(self, subject: Subject, video: str, use: FrameUse) -> tuple[Poses, str]:
        """Poses to compare with: those of the trained model with PyTorch, or of the graph with ONNX Runtime."""
        backend = "onnx" if subject.exported else "torch"
        name = f"{backend} {subject.precision} on cpu"
        self.say(f"reference: {name}")
        setup = Setup(subject.paths, backend, None, "cpu", REFERENCE_BATCH, self._ignore)
        found = self._predict(Predict(setup, video, use.judged, str(self.folder / "reference.npz")), "reference")
        if isinstance(found, Failure):
            raise as_error(found, name)
        poses, _ = found
        if not poses.n_points:
            raise errors.OptionError(
                f"The model finds nothing in {len(use.judged)} frames of {video}: whether others agree cannot be seen. "
                "Give a video of the animals that it was trained on."
            )
        return poses, name

    def _predict(self, task: Predict, cache: str) -> tuple[Poses, Predicted] | Failure:
        found = self.workshop.ask(task, Predicted, cache)
        return found if isinstance(found, Failure) else (read_poses(Path(task.poses)), found)

    def _agree(
        self, trials: Sequence[Trial], absent: list[Absent], expected: Poses, video: str, use: FrameUse
    ) -> list[Trial]:
        """Judge every configuration. Those that are refused are absent; those that break down stay, and say so."""
        kept = []
        for trial in trials:
            item = trial.configuration
            refused = any((gone.backend, gone.precision) == (item.backend, item.precision) for gone in absent)
            if refused:
                continue
            self.say(f"agreement: {item.name}")
            path, builds = self.folder / f"{_folder_name(item)}.npz", item.makes_something
            found = self._predict(Predict(trial.setup, video, use.judged, str(path), builds), _folder_name(item))
            if isinstance(found, Failure) and found.error:
                absent.append(Absent(item.backend, item.precision, found.reason))
                continue
            kept.append(trial)
            if isinstance(found, Failure):
                trial.failure = found.reason
                continue
            poses, predicted = found
            trial.device = predicted.device
            trial.add_build(predicted.build_s)
            trial.agreement = judge(poses, expected, Limit.of(item.precision, predicted.device))
        return kept

    def _measure(self, trials: Sequence[Trial], video: str, use: FrameUse, subject: Subject) -> None:
        """Rounds in which all take their turn."""
        for number in range(self.options.repeats):
            for trial in trials:
                if trial.failure:
                    continue
                item = trial.configuration
                self.say(f"round {number + 1} of {self.options.repeats}: {item.name}")
                alone = item.batch_size == 1 and not subject.crops_alone
                task = Measure(trial.setup, video, use.n_timed, use.whole, alone, str(self.folder))
                before = device_used_mb(trial.device)
                found = self.workshop.ask(task, Measured, _folder_name(item))
                if isinstance(found, Failure):
                    trial.failure = f"round {number + 1}: {found.reason}"
                    continue
                trial.repeats.append(found)
                if before is not None and found.device_used_mb is not None:
                    trial.device_mb.append(max(found.device_used_mb - before, 0.0))


def as_error(failure: Failure, name: str) -> errors.SleapInferError:
    """The error that a worker told of; of one that broke down, that the reference cannot be run."""
    kind = getattr(errors, failure.error, None) if failure.error else None
    if isinstance(kind, type) and issubclass(kind, errors.SleapInferError):
        return kind(failure.reason)
    return errors.BackendError(
        f"The reference, {name}, cannot be run: {failure.reason}. To find out more, run: sleap-infer doctor"
    )


@define
class _Busy:
    cores: float | None = None


@contextmanager
def _watching_others() -> Iterator[_Busy]:
    """How many cores others keep busy meanwhile."""
    busy, before, begun = _Busy(), others_seconds(), perf_counter()
    yield busy
    after = others_seconds()
    if before is not None and after is not None:
        busy.cores = round(max(after - before, 0.0) / max(perf_counter() - begun, 1e-9), 2)


def _once(absent: Sequence[Absent], item: Absent) -> list[Absent]:
    return [] if item in absent else [item]


def _folder_name(item: Configuration) -> str:
    return item.name.replace(" ", "-")
