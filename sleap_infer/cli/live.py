"""`sleap-infer live`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from inspect import Parameter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from attrs import frozen

from sleap_infer.choices import PrecisionChoice
from sleap_infer.cli.flags import REQUIRED, argument, command, flag
from sleap_infer.cli.groups import BACKEND, BACKENDS_HELP, MODEL_HELP, OVERWRITE_HELP, PRECISION_HELP, BackendFlags
from sleap_infer.cli.output.terminal import discard_output, print_line
from sleap_infer.cli.parameters import BackendChoice, inference_parameters, with_values
from sleap_infer.cli.signals import stop_requested
from sleap_infer.errors import OptionError, SourceError

if TYPE_CHECKING:
    from sleap_infer.frames.live.source import LiveSource
    from sleap_infer.jobs.live_journal import Recording
    from sleap_infer.predictors.live.run import LiveReport, LiveResult, LiveRun
    from sleap_infer.predictors.live.session import LiveSession

    Sink: TypeAlias = Callable[[LiveResult], None]

WITHOUT_EFFECT = ("decoder", "queue_size", "on_frame_error")
"""Options of `predict` that do not apply to live frames."""

DEFAULTS = {"aim": "latency"}
"""Values of options of `predict` that differ here."""

CLOSED = (errno.EPIPE, errno.EIO)
"""Errors of writing to a closed pipe or terminal."""

SECONDS_TO_WAIT = 0.1
"""Interval between checks for a request to stop."""


@frozen
class What:
    """Source, models and output of a live session."""

    source: str = argument(
        REQUIRED, "Camera (0), address (rtsp://, http://, udp://), or a video file, played at its own frame rate."
    )
    model: list[Path] = flag(REQUIRED, MODEL_HELP, "-m", "--model")
    output: Path | None = flag(None, ".slp file, written at the end.", "-o", "--output")


@frozen
class RunFlags:
    """Limits and output of the run."""

    n_frames: int = flag(0, "Stop after this number of predicted frames (0 = never).", "-n", "--n-frames", min=0)
    duration: float = flag(0.0, "Stop after this number of seconds (0 = never).", min=0)
    deadline: float = flag(0.0, "Latency in milliseconds after which poses count as late (0 = no deadline).", min=0)
    timeout: float = flag(10.0, "Maximum time in seconds to connect, and to wait for the next frame.", min=0.01)
    as_json: bool = flag(False, "Write one line of JSON per frame to stdout.", "--json")
    overwrite: bool = flag(False, OVERWRITE_HELP)


@frozen
class LiveBackendFlags(BackendFlags):
    """Backend of a live session."""

    backend: BackendChoice = flag(
        "auto",
        f"{BACKENDS_HELP} auto: the result of an earlier `predict -b 1 --aim latency`; otherwise torch, or onnx for "
        "exported models.",
        "-r",
        "--backend",
        "--runtime",
        metavar="<backend>",
        panel=BACKEND,
    )
    precision: PrecisionChoice | None = flag(
        None,
        f"{PRECISION_HELP} auto: the result of an earlier `predict -b 1 --aim latency -p auto`, because live measures "
        "nothing. int8: only for models exported in int8. Default: fp32, or that of the export.",
        "-p",
        "--precision",
        metavar="<precision>",
        panel=BACKEND,
    )


def live_parameters() -> list[Parameter]:
    """Return the inference options that have an effect on live frames; the others are hidden, and refused."""
    return inference_parameters(WITHOUT_EFFECT, DEFAULTS)


LiveOptions: TypeAlias = Annotated[dict[str, Any], live_parameters, with_values]
"""Inference options that were given, by name."""


@command
def live(what: What, options: LiveOptions, run: RunFlags, backend: LiveBackendFlags) -> None:
    """Predict the newest frame of a camera or stream continuously; stop with Ctrl-C.

    Examples:
      sleap-infer live 0 -m models/bottomup -o poses.slp
      sleap-infer live rtsp://camera/stream -m models/centroid -m models/centered_instance --json
      sleap-infer live video.mp4 -m models/bottomup --duration 10 --deadline 50

    Exit codes: 0 stopped as requested or at the end of the source, 1 damaged frames or a broken source, 2 wrong usage.
    """
    idle = next((name for name in WITHOUT_EFFECT if name in options), None)
    if idle is not None:
        raise OptionError(f"{idle!r} has no effect on live frames. Leave --{idle.replace('_', '-')} out.")
    from sleap_infer.frames.live.source import open_live
    from sleap_infer.jobs.plan.check_outputs import check_recording
    from sleap_infer.predictors import Predictor
    from sleap_infer.predictors.live.session import LiveSession

    if what.output is not None:
        check_recording(what.source, what.output.expanduser(), list(map(str, what.model)))
    with ExitStack() as stack:
        recording = None if what.output is None else stack.enter_context(saved(what.output, run.overwrite))
        frames = stack.enter_context(open_live(what.source, run.timeout))
        predictor = stack.enter_context(
            Predictor.from_model_paths(
                what.model,
                backend=backend.backend,
                device=backend.device,
                batch_size=1,
                precision=backend.precision,
                backend_options=backend.backend_options,
                **{**DEFAULTS, **options},
            )
        )
        session = stack.enter_context(LiveSession(predictor))
        report, failure = _predict(session, frames, recording, run)
    finish(report, failure, frames.last_failure, run.as_json)


@contextmanager
def saved(output: Path, overwrite: bool) -> Iterator[Recording]:
    """Open a recording; print where its poses are if an error ends it."""
    from sleap_infer.jobs.live_journal import Recording

    with Recording(output, overwrite) as recording:
        try:
            yield recording
        except BaseException:
            recording.stop()
            if recording.hint:
                with suppress(OSError):
                    print_line(recording.hint, err=True)
            raise


def _predict(
    session: LiveSession, frames: LiveSource, recording: Recording | None, flags: RunFlags
) -> tuple[LiveReport, SourceError | None]:
    """Predict until the session ends and write its file; return its report and why the source failed."""
    from sleap_infer.cli.output.live_lines import JsonLines, StatusLine
    from sleap_infer.predictors.describe import describe_stages
    from sleap_infer.predictors.live.run import LiveRun

    predictor = session.predictor
    for line in describe_stages(predictor):
        print_line(line, err=True)
    sinks: list[Sink] = []
    if recording is not None:
        recording.begin(predictor, frames)
        sinks.append(lambda result: recording.add(result.outputs))
    if flags.as_json:
        sinks.append(JsonLines(predictor.runners[-1].spec, frames.clock))
    run = LiveRun(session, frames, flags.deadline or None)
    session.warm_up(frames.first)
    with nullcontext() if flags.as_json else StatusLine(run) as status:
        failure = follow(run, sinks, status, flags.n_frames, flags.duration)
    report = run.report()
    if recording is not None:
        recording.finish(report)
    return report, failure


def finish(report: LiveReport, failure: SourceError | None, damaged: str | None, as_json: bool) -> None:
    """Print the report, on stderr if stdout has lines of JSON, and set the exit code."""
    print_line(report.line(), err=as_json)
    for reason in (failure, damaged):
        if reason is not None:
            print_line(f"  failed: {reason}", err=True)
    if failure is not None or report.n_failed:
        raise typer.Exit(1)


def follow(
    run: LiveRun, sinks: Sequence[Sink], tick: Callable[[], None] | None, at_most: int = 0, seconds: float = 0.0
) -> SourceError | None:
    """Predict until the source ends, a limit is reached, the user stops it, or stdout is closed.

    Args:
        run: the session and its source.
        sinks: functions that receive each result.
        tick: function that is called after each step.
        at_most: maximum number of results (0 = no limit).
        seconds: maximum duration (0 = no limit).

    Returns:
        Why the source failed, if it did.
    """
    end, n_results = perf_counter() + (seconds or float("inf")), 0
    with stop_requested() as is_stopped:
        while not (is_stopped.is_set() or run.source.has_ended or (at_most and n_results >= at_most)):
            left = end - perf_counter()
            if left <= 0:
                break
            try:
                result = run.step(min(SECONDS_TO_WAIT, left))
                if result is not None:
                    n_results += 1
                    for sink in sinks:
                        sink(result)
                if tick is not None:
                    tick()
            except SourceError as error:
                return error
            except OSError as error:
                if error.errno not in CLOSED:
                    raise
                discard_output()
                break
    return None
