"""A SLURM script that runs a command as a job array."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from sleap_infer.system.printable import printable

SCRIPT = """\
#!/bin/bash
# Runs one command as {n_shards} shards of a job, then writes its outputs. Submit it with:
#     id=$(sbatch --parsable THIS_FILE)
#     sbatch --dependency=afterok:$id --chdir={folder} --wrap="sleap-infer merge {journals}"
# A shard that was ended (time limit, node failure) resumes where it stopped when the script is submitted again.
#SBATCH --job-name=sleap-infer
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
# On GPU nodes also: --gres=gpu:1

set -eu
cd {folder}
exec {command} --shard "$SLURM_ARRAY_TASK_ID/{n_shards}"
"""


def slurm_script(command: Sequence[str], journals: Iterable[Path], n_shards: int, folder: Path) -> str:
    """Return a batch script.

    Args:
        command: words of the command that runs in shards.
        journals: of its outputs.
        n_shards: number of jobs of the array.
        folder: working directory of the command.
    """
    return SCRIPT.format(
        n_shards=n_shards,
        last=n_shards - 1,
        folder=quote(str(folder)),
        journals=" ".join(quote(str(path)) for path in journals),
        command=" ".join(map(quote, command)),
    )


def quote(word: str) -> str:
    r"""Quote a word for bash, so that control characters and undecodable bytes stay visible as escapes.

    >>> quote("a b"), quote("a\x1b'\udcff")
    ("'a b'", "$'a\\x1b\\'\\xff'")
    """
    if printable(word) == word:
        return shlex.quote(word)
    parts = (_escaped(byte) for byte in os.fsencode(word))
    return f"$'{''.join(parts)}'"


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in "\\'":
        return f"\\{character}"
    return character if character.isascii() and character.isprintable() else f"\\x{byte:02x}"
