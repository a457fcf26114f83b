"""`job.json`, the file of a journal that says what was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sleap_infer.errors import JournalError
from sleap_infer.jobs.store.journal_files import JOB_FILE
from sleap_infer.jobs.store.result_file import translated
from sleap_infer.system.files import write_text
from sleap_infer.system.unexpected_errors import os_reason

SCHEMA, VERSION = "sleap_infer.journal", 2

WITHOUT_CHECKSUMS = 1
"""Version of journals that cannot be checked."""

IDENTITY = ("what", "how", "parts", "chunk", "n_nodes", "is_centroid")
"""Facts that make two journals the same job."""


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write `job.json` into the folder of a journal, which is created if it is missing.

    Raises:
        OutputError: it cannot be written.
    """
    with translated(path):
        path.mkdir(parents=True, exist_ok=True)
    written = json.loads(json.dumps({"schema": SCHEMA, "version": VERSION, **facts}, default=str))
    write_text(path / JOB_FILE, json.dumps({**written, "checksum": _checksum(written)}, indent=1))


def read_facts(path: Path) -> dict[str, Any]:
    """Return the content of `job.json` in a folder, without its checksum.

    Raises:
        JournalError: there is no such file, or it is damaged, or of a later version.
    """
    try:
        facts = json.loads((path / JOB_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JournalError(f"{path} is not a journal: it holds no {JOB_FILE}.") from None
    except OSError as error:
        reason = os_reason(error) or f"{error.strerror or error}."
        raise JournalError(f"{path / JOB_FILE} cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(facts, dict):
        raise _unreadable(path, "it is not a JSON object")
    if facts.get("schema") != SCHEMA or facts.get("version") not in (WITHOUT_CHECKSUMS, VERSION):
        found = f"{facts.get('schema')} {facts.get('version')}"
        raise JournalError(
            f"{path} was written by another version of sleap_infer ({found}, not {VERSION}). Finish it with that "
            "version, or delete the folder to start anew."
        )
    checksum = facts.pop("checksum", None)
    if facts["version"] != WITHOUT_CHECKSUMS and checksum != _checksum(facts):
        raise _unreadable(path, "it fails its checksum")
    return facts


def job_key(facts: Mapping[str, Any]) -> str:
    """Return the identity of a job, which is part of each checksum of its results."""
    return _checksum({name: facts.get(name) for name in IDENTITY})


def _checksum(facts: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _unreadable(path: Path, what: str) -> JournalError:
    return JournalError(
        f"{path / JOB_FILE} cannot be read ({what}). Delete the folder {path}, then run the same command again: it "
        "starts anew."
    )
