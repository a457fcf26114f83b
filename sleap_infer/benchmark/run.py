"""Run a whole benchmark: check backends, export, compare poses, then measure all configurations in turn."""

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
from sleap_infer.benchmark.candidate import Candidate
from sleap_infer.benchmark.machine import MachineFacts, package_versions
from sleap_infer.benchmark.memory import device_used_mb
from sleap_infer.benchmark.plan import (
    BenchmarkOptions,
    Configuration,
    Export,
    FrameUse,
    divide_frames,
    export_for,
    make_plan,
)
from sleap_infer.benchmark.pose_comparison import Poses, compare_with_reference, read_poses
from sleap_infer.benchmark.protocol import (
    BackendReasons,
    Build,
    Built,
    CheckBackends,
    Measure,
    Measured,
    Predict,
    Predicted,
    Setup,
    Task,
)
from sleap_infer.benchmark.report.ranking import rank
from sleap_infer.benchmark.report.schema import Absent, Report, Settings
from sleap_infer.benchmark.target import Target, read_video
from sleap_infer.benchmark.worker_handle import Failure, Workers
from sleap_infer.config.options import SourceSpec
from sleap_infer.poses.compare import Tolerance
from sleap_infer.runners.registry import all_facts, backend_names
from sleap_infer.system.machine import busy_seconds_of_others

Progress: TypeAlias = Callable[[str], None]
"""Called with a line for each step."""

Kind = TypeVar("Kind")

REFERENCE_BATCH = 4


class RunsTasks(Protocol):
    """Runs tasks, as `worker_handle.Workers` does."""

    def run(self, task: Task, kind: type[Kind], cache: str) -> Kind | Failure:
        """Run a task, with the named cache, and return its answer, a value of type `kind`."""


def run_benchmark(options: BenchmarkOptions, command: str, progress: Progress = lambda line: None) -> Report:
    """Measure combinations of backend, precision and batch size, each in separate processes.

    Args:
        options: what to measure.
        command: the command line, for the report.
        progress: called with a line for each step.

    Raises:
        SleapInferError: the model or the video cannot be read, or the reference cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="sleap_infer-benchmark-") as name:
        return Benchmark(options, Workers(Path(name), options.timeout), Path(name), progress).run(command)


@frozen
class Benchmark:
    """One benchmark.

    Attributes:
        options: what to measure.
        workers: runs tasks in processes.
        folder: directory for exports and poses.
        progress: called with a line for each step.
    """

    options: BenchmarkOptions
    workers: RunsTasks
    folder: Path
    progress: Progress = lambda line: None

    def run(self, command: str) -> Report:
        """Run all steps and return the report."""
        target = Target.read(self.options.models, self.options.ignore_unknown_settings)
        video = SourceSpec(self.options.video or target.default_video(), self.options.reading)
        facts = read_video(video)
        names = self.options.backends or backend_names()
        exports = not target.exported and any(f.runs_exports for name, f in all_facts().items() if name in names)
        use = divide_frames(self.options.n_frames, facts.n_frames, exports)
        made, machine = datetime.now(UTC).isoformat(timespec="seconds"), MachineFacts.read()
        with _load_of_others() as load:
            candidates, absent = self._plan(target, video, use)
            expected, reference = self._reference(target, video, use)
            candidates = self._compare(candidates, absent, expected, video, use)
            self._measure(candidates, video, use, target)
        rows = rank([candidate.row() for candidate in candidates])
        return Report(
            made=made,
            command=command,
            machine=machine,
            packages=package_versions(),
            model=target.facts,
            video=facts,
            settings=Settings(
                device=self.options.device,
                n_frames=use.n_timed,
                repeats=self.options.repeats,
                n_judged=len(use.compared),
                n_calibration=len(use.calibration),
                reference=reference,
            ),
            rows=rows,
            absent=tuple(absent),
            busy_cores=load.cores,
        )

    def _plan(self, target: Target, video: SourceSpec, use: FrameUse) -> tuple[list[Candidate], list[Absent]]:
        """Return the configurations that can run, after exporting for them, and those that cannot."""
        reasons = self._check_backends(self.options.backends or backend_names())
        absent = [Absent(name, None, reason) for name, reason in reasons.items() if reason is not None]
        available = [name for name, reason in reasons.items() if reason is None]
        precisions = self.options.precisions or (target.precision,)
        built: dict[Export, tuple[Path, Built] | Failure] = {}
        candidates = []
        for item in make_plan(available, precisions, self.options.batch_sizes):
            export = None if target.exported else export_for(item)
            precision = item.precision if self.options.precisions or not target.exported else None
            if export is None:
                setup = Setup(target.paths, item.backend, precision, *self._where(item), self._ignore)
                candidates.append(Candidate(item, setup))
                continue
            if export not in built:
                built[export] = self._build(export, target, video, use)
            found = built[export]
            if isinstance(found, Failure):
                absent += _once(absent, Absent(item.backend, item.precision, found.reason))
                continue
            directory, made = found
            setup = Setup((str(directory),), item.backend, None, *self._where(item))
            candidates.append(Candidate(item, setup, made.notes, made.seconds))
        return candidates, absent

    @property
    def _ignore(self) -> bool:
        return self.options.ignore_unknown_settings

    def _where(self, item: Configuration) -> tuple[str, int]:
        return self.options.device, item.batch_size

    def _check_backends(self, names: Sequence[str]) -> dict[str, str | None]:
        """Return why each backend cannot run. If a process that checks all of them dies, check them one at a time."""
        self.progress("checking backends")
        found = self.workers.run(CheckBackends(tuple(names), self.options.device), BackendReasons, "checking")
        if isinstance(found, BackendReasons):
            return {name: found.by_backend.get(name) for name in names}
        if len(names) == 1 or found.error:
            return dict.fromkeys(names, found.reason)
        return {name: reason for single in names for name, reason in self._check_backends([single]).items()}

    def _build(self, export: Export, target: Target, video: SourceSpec, use: FrameUse) -> tuple[Path, Built] | Failure:
        self.progress(f"exporting: {export.name}")
        directory = self.folder / "exports" / export.name.replace(" ", "-")
        directory.parent.mkdir(exist_ok=True)
        task = Build(
            models=target.paths,
            precision=export.precision,
            engines=export.engines,
            max_batch_size=max(self.options.batch_sizes),
            video=video,
            frames=use.calibration,
            directory=str(directory),
            ignore_unknown_settings=self._ignore,
        )
        found = self.workers.run(task, Built, directory.name)
        return found if isinstance(found, Failure) else (directory, found)

    def _reference(self, target: Target, video: SourceSpec, use: FrameUse) -> tuple[Poses, str]:
        """Return poses of the reference and its name: PyTorch for trained models, ONNX Runtime for exports."""
        backend = "onnx" if target.exported else "torch"
        name = f"{backend} {target.precision} on cpu"
        self.progress(f"reference: {name}")
        setup = Setup(target.paths, backend, None, "cpu", REFERENCE_BATCH, self._ignore)
        found = self._predict(Predict(setup, video, use.compared, str(self.folder / "reference.npz")), "reference")
        if isinstance(found, Failure):
            raise as_error(found, name)
        poses, _ = found
        if not sum(map(len, poses.frames)):
            raise errors.OptionError(
                f"The model finds nothing in {len(use.compared)} frames of {video}, so poses cannot be compared. Use a "
                "video of animals like those on which the model was trained."
            )
        return poses, name

    def _predict(self, task: Predict, cache: str) -> tuple[Poses, Predicted] | Failure:
        found = self.workers.run(task, Predicted, cache)
        return found if isinstance(found, Failure) else (read_poses(Path(task.poses)), found)

    def _compare(
        self, candidates: Sequence[Candidate], absent: list[Absent], expected: Poses, video: SourceSpec, use: FrameUse
    ) -> list[Candidate]:
        """Compare the poses of every configuration with the reference, and return the configurations that ran.

        Configurations that raise one of our errors are added to `absent`; those whose process died are returned, with
        the reason in `failure`.
        """
        remaining = []
        for candidate in candidates:
            item = candidate.configuration
            refused = any((gone.backend, gone.precision) == (item.backend, item.precision) for gone in absent)
            if refused:
                continue
            self.progress(f"comparing poses: {item.name}")
            path = self.folder / f"{_folder_name(item)}.npz"
            task = Predict(candidate.setup, video, use.compared, str(path), item.compiles)
            found = self._predict(task, _folder_name(item))
            if isinstance(found, Failure) and found.error:
                absent.append(Absent(item.backend, item.precision, found.reason))
                continue
            remaining.append(candidate)
            if isinstance(found, Failure):
                candidate.failure = found.reason
                continue
            poses, predicted = found
            candidate.device = predicted.device
            candidate.add_build(predicted.build_s)
            tolerance = Tolerance.of(item.precision, predicted.device)
            candidate.agreement = compare_with_reference(poses, expected, tolerance)
        return remaining

    def _measure(self, candidates: Sequence[Candidate], video: SourceSpec, use: FrameUse, target: Target) -> None:
        """Measure every configuration once per repeat, in turn."""
        for number in range(self.options.repeats):
            for candidate in candidates:
                if candidate.failure:
                    continue
                item = candidate.configuration
                self.progress(f"repeat {number + 1} of {self.options.repeats}: {item.name}")
                one_by_one = item.batch_size == 1 and not target.crops_alone
                task = Measure(candidate.setup, video, use.n_timed, use.whole, one_by_one, str(self.folder))
                before = device_used_mb(candidate.device)
                found = self.workers.run(task, Measured, _folder_name(item))
                if isinstance(found, Failure):
                    candidate.failure = f"repeat {number + 1}: {found.reason}"
                    continue
                candidate.repeats.append(found)
                if before is not None and found.device_used_mb is not None:
                    candidate.device_mb.append(max(found.device_used_mb - before, 0.0))


def as_error(failure: Failure, name: str) -> errors.SleapInferError:
    """Return the error that a worker reported; if it died, an error that the reference cannot be run."""
    kind = getattr(errors, failure.error, None) if failure.error else None
    if isinstance(kind, type) and issubclass(kind, errors.SleapInferError):
        return kind(failure.reason)
    return errors.BackendError(
        f"The reference, {name}, cannot be run: {failure.reason}. For more information run: sleap-infer doctor"
    )


@define
class _Load:
    cores: float | None = None


@contextmanager
def _load_of_others() -> Iterator[_Load]:
    """Measure how many cores other processes use on average."""
    load, before, start = _Load(), busy_seconds_of_others(), perf_counter()
    yield load
    after = busy_seconds_of_others()
    if before is not None and after is not None:
        load.cores = round(max(after - before, 0.0) / max(perf_counter() - start, 1e-9), 2)


def _once(absent: Sequence[Absent], item: Absent) -> list[Absent]:
    return [] if item in absent else [item]


def _folder_name(item: Configuration) -> str:
    return item.name.replace(" ", "-")
