"""All commands together, and what becomes of errors."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from sleap_infer import __version__
from sleap_infer.cli.benchmark import benchmark
from sleap_infer.cli.cache import cache
from sleap_infer.cli.demo import demo
from sleap_infer.cli.doctor import doctor
from sleap_infer.cli.export import export
from sleap_infer.cli.info import info
from sleap_infer.cli.live import live
from sleap_infer.cli.merge import merge
from sleap_infer.cli.predict import predict
from sleap_infer.cli.validate import validate
from sleap_infer.errors import SleapInferError

USAGE_ERROR = 2

app = typer.Typer(
    name="sleap-infer",
    help="Run pose models trained with SLEAP and sleap-nn on videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(predict)
app.command()(merge)
app.command()(info)
app.command()(export)
app.command()(validate)
app.command()(demo)
app.command()(doctor)
app.command()(live)
app.command()(benchmark)
app.command()(cache)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sleap-infer {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run pose models trained with SLEAP and sleap-nn on videos."""


def main() -> None:
    """Run the command line. Errors of ours are one clear line, without a traceback, and exit with 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except SleapInferError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(USAGE_ERROR)
