"""`sleap-infer cache`: what is cached that can be made again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer


def cache(
    clear: Annotated[
        list[str] | None,
        typer.Option(
            "--clear",
            help="Delete choices, graphs, engines or compiled; or all. Repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show, or clear, what is cached between runs: exported graphs, engines, compiled code, choices of a backend."""
    from sleap_infer.cli.output.terminal import say
    from sleap_infer.errors import OptionError, OutputError
    from sleap_infer.system.cache_directory import KINDS, cache_directory, cached

    kinds = set(KINDS) if "all" in (clear or []) else set(clear or [])
    unknown = kinds - set(KINDS)
    if unknown:
        raise OptionError(f"--clear {', '.join(sorted(unknown))}: expected one of {', '.join(KINDS)} or all.")
    say(cache_directory())
    for kind, entries in cached().items():
        size = sum(map(_size, entries)) / 1e6
        is_cleared = kind in kinds and bool(entries)
        say(f"  {kind:<9} {len(entries):>5}  {size:>9.1f} MB  {'deleted' if is_cleared else KINDS[kind]}")
        if is_cleared:
            try:
                for entry in entries:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            except OSError as error:
                raise OutputError(f"{error.filename} cannot be deleted: {error.strerror}.") from error


def _size(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(path.stat().st_size for path in files if path.is_file())
