"""Values of options that are written in a form of their own: formats, shards, pairs."""

from __future__ import annotations

from typing import Any, get_args

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import OptionError

FORMATS_HELP = (
    f"Output format: {', '.join(get_args(OutputFormat))}. Repeatable. Default: from the output's suffix, else slp."
)

WORDS = {"true": True, "false": False}


def read_formats(names: list[str] | None) -> tuple[OutputFormat, ...]:
    """Return formats by name, each once; none if none is named.

    Raises:
        OptionError: a format is unknown.

    >>> read_formats(["csv", "slp", "csv"]), read_formats(None)
    (('slp', 'csv'), ())
    """
    known: tuple[OutputFormat, ...] = get_args(OutputFormat)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise OptionError(f"--format {unknown[0]!r}: expected one of {', '.join(known)}.")
    return tuple(form for form in known if form in (names or ()))


def read_shard(text: str | None) -> tuple[int, int] | None:
    """Return the index of a shard, from 0, and the number of shards from `I/N`.

    Raises:
        OptionError: the text has another form.

    >>> read_shard("2/8")
    (2, 8)
    """
    if text is None:
        return None
    number, slash, n_shards = (part.strip() for part in text.partition("/"))
    if not slash or not number.isdigit() or not n_shards.isdigit() or int(number) >= int(n_shards):
        raise OptionError(f"--shard {text!r}: expected I/N with I from 0 to N - 1, such as 0/8.")
    return int(number), int(n_shards)


def read_pairs(texts: list[str]) -> dict[str, Any]:
    """Return `NAME=VALUE` pairs; values that are numbers become numbers, and `true` and `false` become booleans.

    Raises:
        OptionError: a name or a value is missing.

    >>> read_pairs(["intra_op_num_threads=2", "cudnn_conv_algo_search=HEURISTIC"])
    {'intra_op_num_threads': 2, 'cudnn_conv_algo_search': 'HEURISTIC'}
    >>> read_pairs(["cuda_graph=false"])
    {'cuda_graph': False}
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise OptionError(f"--backend-option {text!r}: expected NAME=VALUE.")
        pairs[name] = int(value) if value.lstrip("-").isdigit() else WORDS.get(value.lower(), value)
    return pairs


def read_roots(texts: list[str]) -> tuple[tuple[str, str], ...]:
    r"""Return `OLD=NEW` pairs: former roots of paths and their present ones.

    Raises:
        OptionError: a root is missing.

    >>> read_roots([r"D:\data=/mnt/lab"])
    (('D:\\data', '/mnt/lab'),)
    """
    pairs = []
    for text in texts:
        old, equals, new = text.partition("=")
        if not old.strip() or not equals or not new.strip():
            raise OptionError(f"--replace-path {text!r}: expected OLD=NEW, such as 'D:\\data=/mnt/lab'.")
        pairs.append((old, new))
    return tuple(pairs)


def without_option(words: list[str], name: str) -> list[str]:
    """Return the words of a command without an option and its value.

    >>> without_option(["a", "--slurm", "4", "-m", "b"], "--slurm")
    ['a', '-m', 'b']
    >>> without_option(["a", "--slurm=4"], "--slurm")
    ['a']
    """
    left: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == name:
            next(rest, None)
        elif not word.startswith(f"{name}="):
            left.append(word)
    return left
