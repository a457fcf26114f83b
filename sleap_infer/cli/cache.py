"""`sleap-infer cache`."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import frozen

from sleap_infer.cli.flags import command, flag


@frozen
class CacheFlags:
    """Options of deleting."""

    clear: list[str] | None = flag(
        None, "Delete these entries: choices, graphs, engines, compiled; or all. Repeatable.", "--clear"
    )


@command
def cache(given: CacheFlags) -> None:
    """Show or clear the cache: graphs, engines (graphs compiled for one GPU), compiled code, choices of a backend.

    Examples:
      sleap-infer cache
      sleap-infer cache --clear graphs
    """
    from sleap_infer.cli.output.terminal import print_line
    from sleap_infer.errors import OptionError, OutputError
    from sleap_infer.system.cache_directory import KINDS, cache_directory, cached

    clear = given.clear or []
    kinds = set(KINDS) if "all" in clear else set(clear)
    unknown = kinds - set(KINDS)
    if unknown:
        raise OptionError(f"--clear {', '.join(sorted(unknown))}: expected one of {', '.join(KINDS)} or all.")
    print_line(cache_directory())
    for kind, entries in cached().items():
        size = sum(map(_size, entries)) / 1e6
        is_cleared = kind in kinds and bool(entries)
        print_line(f"  {kind:<9} {len(entries):>5}  {size:>9.1f} MB  {'deleted' if is_cleared else KINDS[kind]}")
        if is_cleared:
            try:
                for entry in entries:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            except OSError as error:
                raise OutputError(f"{error.filename} cannot be deleted: {error.strerror}.") from error


def _size(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(path.stat().st_size for path in files if path.is_file())
