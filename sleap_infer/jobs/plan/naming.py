"""Names of outputs: from the options of a user to one file per task."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Formatter

import attrs
from attrs import field, frozen
from attrs.converters import optional

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import OptionError, OutputError
from sleap_infer.frames.paths import is_glob
from sleap_infer.jobs.plan.tasks import ENDINGS, Task, ending_of
from sleap_infer.system.files import file_key

FIELDS = ("stem", "name", "parent")
"""Fields in braces in the name of an output: the name of the video without and with its suffix, and of its folder."""

DEFAULT_NAME = "{stem}.predictions.slp"
MERGED_NAME = "predictions.slp"

LOOKS_LIKE_ENDING = re.compile(r".\.[A-Za-z][A-Za-z0-9]{0,7}$")
"""Names such as `session.2026-11-30` or `{stem}.predictions` have no suffix; `poses.json` has an unknown one."""


@frozen
class Outputs:
    """Where outputs go.

    Attributes:
        name: of each output; may contain `FIELDS` in braces. Without braces, one output for everything. A folder if it
            ends in a slash.
        folder: of the outputs, created if it is missing; by default that of the video.
        merge: whether everything goes into one output.
        formats: requested formats; empty for that of the suffix of the name.
        restore_source_videos: whether outputs name the videos of embedded frames, and not their package.
    """

    name: str | None = None
    folder: Path | None = field(default=None, converter=optional(Path))
    merge: bool = False
    formats: tuple[OutputFormat, ...] = ()
    restore_source_videos: bool = False


def settle(outputs: Outputs) -> Outputs:
    """Return outputs whose name is that of a file with a known suffix; a name of a folder becomes the folder.

    Raises:
        OptionError: the name is not understood.
    """
    if outputs.name is None:
        return outputs
    if is_folder(outputs.name) and not fields(outputs.name):
        if outputs.folder is not None:
            raise OptionError(
                f"--output {outputs.name!r} names a folder, and so does --out-dir. Leave one of them out."
            )
        return attrs.evolve(outputs, name=None, folder=Path(outputs.name))
    return attrs.evolve(outputs, name=with_ending(outputs.name, outputs.formats, "--output"))


def is_folder(name: str) -> bool:
    """Return whether the name of an output is that of a folder.

    >>> is_folder("poses/"), is_folder(".."), is_folder("poses")
    (True, True, False)
    """
    return os.path.basename(name) in ("", ".", "..") and bool(name)


def with_ending(name: str, formats: Sequence[OutputFormat], where: str) -> str:
    """Return the name of an output, or a pattern for such names, with a known suffix.

    Args:
        name: as the user gave it.
        formats: requested formats; empty for none.
        where: where the name was given, for errors.

    Raises:
        OptionError: the suffix is unknown, is the whole name, or contradicts the formats.

    >>> with_ending("poses", (), "--output"), with_ending("{stem}.h5", (), "--output")
    ('poses.slp', '{stem}.h5')
    """
    if not name.strip():
        raise OptionError(f"{where} is empty. Give the name of a file, or leave it out.")
    if is_folder(name):
        return name + DEFAULT_NAME
    last = Path(name).name
    is_pattern = bool(fields(name)) and "}" in last
    tail = f"x{last.rpartition('}')[2]}" if is_pattern else last
    ending = ending_of(tail)
    known = ", ".join(ENDINGS)
    if ending and len(ending) == len(tail):
        raise OptionError(f"{where} {name!r} is only an ending. Put a name before it, such as poses{ending}.")
    if ending and formats and ENDINGS[ending.lower()] not in formats:
        raise OptionError(
            f"{where} {name!r} ends as {ENDINGS[ending.lower()]} does, but --format asks for {', '.join(formats)}. "
            f"Leave --format out, or the ending, or add --format {ENDINGS[ending.lower()]}."
        )
    if not ending and LOOKS_LIKE_ENDING.search(tail):
        raise OptionError(
            f"{where} {name!r} has an ending that is not known. Endings: {known}. For example {name}.slp."
        )
    return name if ending else f"{name}.slp"


def formats_of(name: str, asked: Sequence[OutputFormat]) -> tuple[OutputFormat, ...]:
    """Return the format of the suffix of a name, if no format was requested."""
    form = ENDINGS.get(ending_of(name).lower())
    return () if asked or form in (None, "slp") else (form,)


def output_path(source: str, own: Path | None, outputs: Outputs) -> Path:
    """Return the path of the output of a source.

    Args:
        source: path of the first video.
        own: the path in a manifest.
        outputs: as returned by `settle`.

    Raises:
        OptionError: the pattern is not understood.
    """
    path = Path(source).expanduser()
    if own is not None and outputs.name is None:
        named = own
    elif outputs.name is None and is_glob(source):
        named = path.with_name(MERGED_NAME)
    else:
        pattern = outputs.name or DEFAULT_NAME
        text = _filled(pattern, path)
        beside = bool(outputs.name is None or fields(pattern))
        named = path.parent / text if beside and not Path(text).is_absolute() else Path(text)
    return outputs.folder.expanduser() / named.name if outputs.folder is not None else named.expanduser()


def _filled(pattern: str, path: Path) -> str:
    stem = path.name if path.is_dir() else path.stem
    folder = Path(os.path.abspath(path)).parent.name
    try:
        return pattern.format(stem=stem, name=path.name, parent=folder)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise OptionError(
            f"--output {pattern!r} is not understood ({error}). In braces: {', '.join(FIELDS)}."
        ) from error


def fields(text: str) -> list[str]:
    """Return the names in braces.

    Raises:
        OptionError: braces do not match.

    >>> fields("{stem}.slp"), fields("a.slp")
    (['stem'], [])
    """
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise OptionError(f"--output {text!r} is not understood: {error}.") from error


def check_distinct(tasks: Sequence[Task], outputs: Outputs) -> None:
    """Check that no two tasks have the same output.

    Raises:
        OutputError: two have; the message suggests names that differ.
    """
    seen: dict[object, Task] = {}
    for task in tasks:
        other = seen.setdefault(file_key(task.journal), task)
        if other is not task:
            raise OutputError(
                f"{other.name} and {task.name} would both be written to {task.output}. {_hint(tasks, outputs)}, or put "
                "all into one output with --merge."
            )


def _hint(tasks: Sequence[Task], outputs: Outputs) -> str:
    """Return how to name outputs such that they differ."""
    counts = Counter(os.path.realpath(task.sources[0]) for task in tasks)
    twice = next((task.sources[0] for task in tasks if counts[os.path.realpath(task.sources[0])] > 1), None)
    rest = (outputs.name or DEFAULT_NAME).rpartition("}")[2]
    for pattern in ("{name}", "{parent}_{stem}", "{parent}_{name}"):
        other = attrs.evolve(outputs, name=pattern + rest)
        keys = {file_key(output_path(task.sources[0], None, other)) for task in tasks}
        if len(keys) == len(tasks):
            folder = "" if outputs.folder is None else f" --out-dir {outputs.folder}"
            return f"Give them different names: -o '{pattern}{rest}'{folder}"
    if twice is not None:
        return f"{twice} is given twice: leave one of them out"
    return "Name each output in a manifest (columns video and output)"
