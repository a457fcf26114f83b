"""All commands, and how errors are shown."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any

import typer

from sleap_infer._version import __version__
from sleap_infer.cli.benchmark import benchmark
from sleap_infer.cli.cache import cache
from sleap_infer.cli.demo import demo
from sleap_infer.cli.doctor import doctor
from sleap_infer.cli.export import export
from sleap_infer.cli.flags import PlainCommand, PlainGroup
from sleap_infer.cli.info import info
from sleap_infer.cli.live import live
from sleap_infer.cli.merge import merge
from sleap_infer.cli.output.progress import emit
from sleap_infer.cli.output.terminal import discard_output, print_line, print_lines, tolerant_streams
from sleap_infer.cli.predict import INTERRUPTED, predict
from sleap_infer.cli.validate import validate
from sleap_infer.errors import SleapInferError
from sleap_infer.reports import PROGRESS
from sleap_infer.system.printable import OneLine
from sleap_infer.system.unexpected_errors import explain, is_debugging
from sleap_infer.tuning import tune_process

FAILED, USAGE_ERROR = 1, 2

ClickException: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Base of usage errors; newer versions of typer contain their own click."""

COMMANDS = (demo, info, predict, live, merge, validate, export, benchmark, doctor, cache)
"""In the order in which they are usually needed."""

app = typer.Typer(
    name="sleap-infer", cls=PlainGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for function in COMMANDS:
    app.command(cls=PlainCommand)(function)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"sleap-infer {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run pose models trained with SLEAP and sleap-nn on videos.

    Begin with demo, then show your models with info, then predict your videos.
    Documentation: README.md and docs/index.md of the source code.

    Examples:
      sleap-infer demo
      sleap-infer info models/bottomup
      sleap-infer predict video.mp4 -m models/bottomup
      sleap-infer predict video.mp4 -m models/centroid -m models/centered_instance -o poses.slp
    """
    tune_process()


def main() -> None:
    """Run the command line. Errors are one line and exit with 2; tracebacks of unexpected ones go to a file."""
    tolerant_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger(PROGRESS).setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}"
    sys.exit(_run())


def _run() -> int:
    """Run the command and return its exit code."""
    try:
        code = app(standalone_mode=False)
    except ClickException as error:
        return _wrong_usage(error)
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # a file that ends too early; typer takes it for the end of stdin
            _show_error(explain(error.__cause__), error.__cause__)
            return USAGE_ERROR
        with suppress(OSError):
            print_line("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return FAILED
    except SleapInferError as error:
        _show_error(str(error), error)
        return USAGE_ERROR
    except Exception as error:
        _show_error(explain(error), error)
        return USAGE_ERROR
    return code if isinstance(code, int) else 0


def _show_error(line: str, error: BaseException) -> None:
    """Print an error in one line, and before it as JSON if requested."""
    with suppress(OSError):
        if is_debugging() and isinstance(error, (SleapInferError, OSError)):
            print_lines("".join(traceback.format_exception(error)), err=True)
        if _wants_json(sys.argv[1:]):
            emit("error", kind=type(error).__name__, message=line)
        print_line(f"error: {line}", err=True)


def _wrong_usage(error: Any) -> int:
    """Print a usage error; return its exit code."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE_ERROR
    if context is not None:
        with suppress(OSError):
            print_lines(f"{context.get_usage()}\nHelp: {context.command_path} --help", err=True)
    _show_error(error.format_message(), error)
    return int(error.exit_code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether progress is requested as JSON lines.

    >>> _wants_json(["predict", "--progress", "json"]), _wants_json(["predict", "--progress=bar"])
    (True, False)
    """
    return "--progress=json" in arguments or ("--progress", "json") in pairwise(arguments)
