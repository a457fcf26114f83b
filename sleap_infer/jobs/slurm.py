"""A SLURM script that runs a command as a job array."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

SCRIPT = """\
#!/bin/bash
# Runs one command as {n_shares} shares of a job, then writes its outputs. Submit it with:
#     id=$(sbatch --parsable THIS_FILE)
#     sbatch --dependency=afterok:$id --chdir={folder} --wrap="sleap-infer merge {journals}"
# A share that was ended (time limit, node failure) goes on where it was when the script is submitted again.
#SBATCH --job-name=sleap-infer
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
# On GPU nodes also: --gres=gpu:1

set -eu
cd {folder}
exec {command} --shard "$SLURM_ARRAY_TASK_ID/{n_shares}"
"""


def slurm_script(command: Sequence[str], journals: Iterable[Path], n_shares: int, folder: Path) -> str:
    """A batch script.

    Args:
        command: words of the command that is shared.
        journals: that its outputs are written from.
        n_shares: jobs of the array.
        folder: that the command runs in.
    """
    return SCRIPT.format(
        n_shares=n_shares,
        last=n_shares - 1,
        folder=shlex.quote(str(folder)),
        journals=" ".join(shlex.quote(str(path)) for path in journals),
        command=shlex.join(command),
    )
