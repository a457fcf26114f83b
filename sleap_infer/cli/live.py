"""`sleap-infer live`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from sleap_infer.choices import PrecisionChoice
from sleap_infer.cli.output.terminal import discard_output, say
from sleap_infer.cli.parameters import BackendChoice, with_inference_options
from sleap_infer.cli.selection import read_pairs
from sleap_infer.cli.signals import told_to_end
from sleap_infer.errors import OptionError, SourceError

if TYPE_CHECKING:
    from sleap_infer.frames.live.source import LiveSource
    from sleap_infer.jobs.live_journal import Recording
    from sleap_infer.predictors.live.session import LiveReport, LiveResult, LiveRun, LiveSession

    Sink: TypeAlias = Callable[[LiveResult], None]

WITHOUT_EFFECT = ("decoder", "queue_size", "on_frame_error")
"""Options of `predict` about what live frames do not have."""

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Errors of writing to a pipe, or a terminal, that is closed."""

SECONDS_TO_WAIT = 0.1
"""After which it is looked whether the run is to end."""


@with_inference_options
def live(
    source: Annotated[
        str,
        typer.Argument(
            help="Camera (0), address (rtsp://..., http://..., udp://...), or a video file, played at its own rate.",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[Path], typer.Option("-m", "--model", help="Model directory; give two for top-down.", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".slp file to write at the end.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output that is there already.")] = False,
    deadline: Annotated[
        float,
        typer.Option(help="Milliseconds after which the poses of a frame are of no use; 0 for no deadline.", min=0),
    ] = 0.0,
    n_frames: Annotated[
        int, typer.Option("-n", "--n-frames", help="End after so many predicted frames; 0 for all.", min=0)
    ] = 0,
    duration: Annotated[float, typer.Option(help="End after so many seconds; 0 for never.", min=0)] = 0.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds in which a stream must answer, and give its next frame.", min=0.01)
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per frame, on stdout.")] = False,
    backend: Annotated[
        BackendChoice,
        typer.Option(
            "-r",
            "--backend",
            "--runtime",
            help="What runs the network: auto takes what predict -b 1 --aim latency measured earlier, else torch, or "
            "for exported models onnx.",
            rich_help_panel="Backend",
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Backend")
    ] = "auto",
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(
            "-p",
            "--precision",
            help="Numbers that the networks compute in; see predict.",
            rich_help_panel="Backend",
            show_default=False,
        ),
    ] = None,
    backend_option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE for the runtime. Repeatable.", rich_help_panel="Backend", show_default=False),
    ] = None,
    *,
    options: dict[str, Any],
) -> None:
    """Predict the newest frame of a camera, a stream or a played file, again and again; end with Ctrl-C.

    Exit codes: 0 ended as asked or with the source, 1 frames came damaged or the source broke off, 2 wrong usage.
    """
    idle = next((name for name in WITHOUT_EFFECT if name in options), None)
    if idle is not None:
        raise OptionError(f"{idle!r} has no effect on live frames. Leave --{idle.replace('_', '-')} out.")
    from sleap_infer.frames.live.source import open_live
    from sleap_infer.jobs.plan.guards import check_recording
    from sleap_infer.predictors import Predictor
    from sleap_infer.predictors.live.session import LiveSession

    if output is not None:
        check_recording(source, output.expanduser(), list(map(str, model)))
    with ExitStack() as stack:
        recording = None if output is None else stack.enter_context(saved(output, overwrite))
        frames = stack.enter_context(open_live(source, timeout))
        predictor = stack.enter_context(
            Predictor.from_model_paths(
                model,
                backend=backend,
                device=device,
                batch_size=1,
                precision=precision,
                backend_options=read_pairs(backend_option or []),
                **{"aim": "latency", **options},
            )
        )
        session = stack.enter_context(LiveSession(predictor))
        report, failure = _predict(session, frames, recording, deadline, as_json, n_frames, duration)
    finish(report, failure, frames.last_failure, as_json)


@contextmanager
def saved(output: Path, overwrite: bool) -> Iterator[Recording]:
    """A recording; an error that ends it says where its poses are."""
    from sleap_infer.jobs.live_journal import Recording

    with Recording(output, overwrite) as recording:
        try:
            yield recording
        except BaseException:
            recording.stop()
            if recording.hint:
                with suppress(OSError):
                    say(recording.hint, err=True)
            raise


def _predict(
    session: LiveSession,
    frames: LiveSource,
    recording: Recording | None,
    deadline: float,
    as_json: bool,
    n_frames: int,
    duration: float,
) -> tuple[LiveReport, SourceError | None]:
    """Predict to the end of the session, and write its file; give its report, and why the source broke off."""
    from sleap_infer.cli.output.live_lines import JsonLines, StatusLine
    from sleap_infer.predictors.describe import describe_stages
    from sleap_infer.predictors.live.session import LiveRun

    predictor = session.predictor
    for line in describe_stages(predictor):
        say(line, err=True)
    sinks: list[Sink] = []
    if recording is not None:
        recording.begin(predictor, frames)
        sinks.append(lambda result: recording.add(result.outputs))
    if as_json:
        sinks.append(JsonLines(predictor.runners[-1].spec, frames.clock))
    run = LiveRun(session, frames, deadline or None)
    session.warm_up(frames.first)
    with nullcontext() if as_json else StatusLine(run) as status:
        failure = follow(run, sinks, status, n_frames, duration)
    report = run.report()
    if recording is not None:
        recording.finish(report)
    return report, failure


def finish(report: LiveReport, failure: SourceError | None, damaged: str | None, as_json: bool) -> None:
    """Say what was done, on stderr where stdout has lines of JSON, and end with the exit code."""
    say(report.line(), err=as_json)
    for reason in (failure, damaged):
        if reason is not None:
            say(f"  failed: {reason}", err=True)
    if failure is not None or report.n_failed:
        raise typer.Exit(1)


def follow(
    run: LiveRun, sinks: Sequence[Sink], tick: Callable[[], None] | None, at_most: int = 0, seconds: float = 0.0
) -> SourceError | None:
    """Predict until the source ends, enough is done, the user says so, or nobody reads any more.

    Args:
        run: to follow.
        sinks: each is given each result.
        tick: called now and then.
        at_most: results, 0 for any number.
        seconds: to run, 0 for any time.

    Returns:
        Why the source broke off, if it did.
    """
    end, n_results = perf_counter() + (seconds or float("inf")), 0
    with told_to_end() as is_told:
        while not (is_told.is_set() or run.source.has_ended or (at_most and n_results >= at_most)):
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
                if error.errno not in NOBODY_READS:
                    raise
                discard_output()
                break
    return None
