"""Read configuration texts (YAML, JSON) with bounded size, and explain files that cannot be read.

All YAML is read here, configurations and manifests alike. PyYAML expands aliases and merges without a limit, so that a
text of some hundred bytes can take all memory ("billion laughs"); here the expanded size is counted first.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sleap_infer.errors import ModelConfigError, ModelError

LARGEST_TEXT = 4 << 20
"""Bytes of a configuration. Those that training writes have some ten thousand."""

LARGEST_TREE = 200_000
"""Values of a YAML text after aliases and merges are expanded."""

LONGEST_NUMBER = 4000
"""Characters of a number in a YAML text; Python takes quadratic time for longer ones."""

MERGE = "tag:yaml.org,2002:merge"
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

HINTS: Mapping[int, str] = {
    errno.EACCES: "Check your rights to the file and to the folders above it",
    errno.EPERM: "Check your rights to the file and to the folders above it",
    errno.EISDIR: "It is a folder; a file was expected",
    errno.ENOTDIR: "A part of its path is a file; a folder was expected",
    errno.ENOENT: "Check the path; a symbolic link may point to nothing",
    errno.ELOOP: "Its symbolic links form a loop",
    errno.EIO: "The disk or the network drive reports an error: check it, then copy the file again",
    errno.ESTALE: "The network drive has changed: mount it again",
    errno.EMFILE: "This process has too many open files: raise the limit (ulimit -n)",
    errno.ENFILE: "This machine has too many open files",
    errno.ENOMEM: "Free some memory",
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space: your quota is used up",
}
"""Hints for errors of the operating system."""

UNREADABLE = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError)
"""Errors of PyYAML for text that is not YAML, and for scalars that do not match their tags."""


def explain(error: OSError) -> str:
    """Return the reason and a hint of an error of the operating system, in one line.

    >>> explain(PermissionError(errno.EACCES, "Permission denied"))
    'Permission denied. Check your rights to the file and to the folders above it'
    """
    reason = one_line(error.strerror or error)
    hint = HINTS.get(error.errno or 0)
    return f"{reason}. {hint}" if hint else reason


def one_line(reason: object) -> str:
    """Return a reason without line breaks, at most 300 characters."""
    return " ".join(str(reason).split())[:300]


def read_text(path: Path, error: type[ModelError] = ModelConfigError, largest: int = LARGEST_TEXT) -> str:
    """Return the text of a small file.

    Args:
        path: of the file, UTF-8.
        error: raised if the file cannot be read.
        largest: bytes that it may have.

    Raises:
        ModelError: the file cannot be opened, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as reason:
        raise error(f"{path} cannot be read: {explain(reason)}.") from reason
    if len(content) > largest:
        raise error(
            f"{path} has more than {largest >> 20} MiB, which no configuration has. Copy it again from its source."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        form = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}.get(path.suffix.lower(), "text")
        raise error(f"{path} is not readable {form}: {one_line(reason)}. Copy it again from its source.") from reason


def parse_yaml(text: str) -> Any:
    """Return the data of a YAML text. Only plain data are made, and only as many as the text can honestly describe.

    Raises:
        ValueError: it is not YAML, a mapping has a name twice, or its aliases and merges expand to more than
            `LARGEST_TREE` values.

    >>> parse_yaml("a: [1, 2]")
    {'a': [1, 2]}
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"it has {len(text):,} characters, at most {LARGEST_TEXT:,} are read")
    try:
        return yaml.load(text, Loader=_BoundedLoader)
    except UNREADABLE as error:
        raise ValueError(one_line(error) or type(error).__name__) from error


def parse_json(text: str) -> Any:
    """Return the data of a JSON text.

    Raises:
        ValueError: it is not JSON, nested too deeply, or an object has a name twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(one_line(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        check_unique([name for name, _ in pairs])
    return found


def check_unique(names: Sequence[str]) -> None:
    """Check that no name stands twice in a mapping, where one of its values would be used and the other ignored.

    Raises:
        ValueError: one does.
    """
    counts = Counter(names)
    if len(counts) < len(names):
        raise ValueError(f"{counts.most_common(1)[0][0]!r} is given twice in the same mapping")


class _BoundedLoader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        """Return the root of the document, after its expanded size is checked; nothing is expanded yet."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and (size := _expanded_size(node, {})) > LARGEST_TREE:
            raise ValueError(f"its aliases (*) expand to {size:.2g} values, at most {LARGEST_TREE} are read")
        return node


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count the values under a node as if every alias were a copy; `sizes` holds counted nodes, 0 while counting."""
    found = sizes.get(id(node))
    if found == 0:
        raise ValueError("an anchor (&) contains its own alias (*)")
    if found:
        return found
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.ScalarNode) and node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(node.value)} characters")
    if isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        check_unique([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE])
        size += sum(_expanded_size(item, sizes) for pair in node.value for item in pair)
    sizes[id(node)] = size
    return size
