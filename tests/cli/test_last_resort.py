"""Errors that reach `main`: one line, an exit code, and where the details are."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sleap_infer.system.unexpected_errors import explain

RAISE = """
import errno, sys
import importlib
shell = importlib.import_module("sleap_infer.cli.app")
def app(**_):
    raise {error}
shell.app = app
shell.main()
"""


def ended_by(error: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, in which an error reaches `main`."""
    return subprocess.run(
        [sys.executable, "-c", RAISE.format(error=error), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "sleap_infer", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def test_an_unexpected_error_is_one_line_with_its_details_in_a_file(tmp_path: Path) -> None:
    ended = ended_by("ZeroDivisionError('a\\n\\x1b[31mb')", XDG_STATE_HOME=str(tmp_path / "state"))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    found = re.fullmatch(r"error: unexpected ZeroDivisionError: a \\x1b\[31mb \(details in (.+)\)\. This is .*", line)
    assert found, line
    details = Path(found[1])
    assert details.parent == tmp_path / "state" / "sleap_infer"
    assert stat.S_IMODE(details.stat().st_mode) == 0o600
    assert stat.S_IMODE(details.parent.stat().st_mode) == 0o700
    text = details.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "ZeroDivisionError" in text


def test_where_the_folder_cannot_be_made_the_details_go_to_a_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = ended_by("ValueError('x')", XDG_STATE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path))
    (details,) = tmp_path.glob("sleap_infer-error-*.txt")
    assert str(details) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_where_no_file_can_be_made_the_details_go_to_stderr() -> None:
    code = "import tempfile\ndef full(*_, **__):\n    raise OSError(28, 'full')\ntempfile.mkstemp = full\n"
    script = code + RAISE.format(error="ValueError('x')")
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: unexpected ValueError: x (its details could not be")


def test_a_variable_shows_tracebacks_at_once(tmp_path: Path) -> None:
    for error in ("ValueError('x')", "__import__('sleap_infer').errors.OptionError('x')", "OSError(13, 'x')"):
        ended = ended_by(error, SLEAP_INFER_DEBUG="1", XDG_STATE_HOME=str(tmp_path))
        assert "Traceback" in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "rights"),
        (errno.EPERM, "rights"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EFBIG, "limit"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EIO, "device"),
    ],
)
@pytest.mark.parametrize("from_hdf5", [False, True])
def test_errors_of_rights_and_space_are_explained(number: int, advice: str, from_hdf5: bool) -> None:
    error = OSError(number, "x", "/data/a\n\x1bb.h5")
    if from_hdf5:
        error = OSError(f"Unable to open file (name = '/data/a\n\x1bb.h5', errno = {number}, error message)")
    line = explain(error)
    assert line.startswith(rf"/data/a\n\x1bb.h5: {os.strerror(number)}. ")
    assert advice in line


def test_an_error_of_rights_needs_no_details(tmp_path: Path) -> None:
    ended = ended_by("PermissionError(13, 'Permission denied', 'best.ckpt')", XDG_STATE_HOME=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: best.ckpt: Permission denied. Check the rights")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_json_progress_gets_its_line(tmp_path: Path) -> None:
    ended = ended_by("ValueError('x')", "predict", "--progress", "json", XDG_STATE_HOME=str(tmp_path))
    first, last = ended.stderr.splitlines()
    event = json.loads(first)
    assert (event["event"], event["kind"]) == ("error", "ValueError")
    assert last == f"error: {event['message']}"


def test_an_error_before_the_job_is_a_json_line_too(models: Path, tmp_path: Path) -> None:
    ended = command("predict", tmp_path / "nowhere.mp4", "-m", models / "centroid", "--progress=json")
    assert ended.returncode == 2
    first, last = ended.stderr.splitlines()
    assert json.loads(first)["kind"] == "SourceNotFoundError"
    assert last.startswith("error: No source at")


def test_interrupts_and_closed_pipes_are_quiet() -> None:
    ended = ended_by("KeyboardInterrupt")
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")
    ended = ended_by("BrokenPipeError(32, 'Broken pipe')")
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_file_that_ends_too_early_is_no_interrupt(tmp_path: Path) -> None:
    """Typer makes an Abort of any EOFError, as of a damaged compiled module."""
    error = 'importlib.import_module("typer").Abort() from EOFError("marshal data too short")'
    ended = ended_by(error, XDG_STATE_HOME=str(tmp_path))
    assert ended.returncode == 2
    assert "marshal data too short" in ended.stderr
    assert "interrupted" not in ended.stderr


def test_nobody_reads_the_output(models: Path) -> None:
    words = [sys.executable, "-m", "sleap_infer", "info", str(models / "centroid")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["predict", "a.mp4"], "-m"),
        (["info"], "model"),
        (["cache", "\x1b[31mb\u202e"], r"\x1b[31mb\u202e"),
        (["predict", "a.mp4", "-m", "b", "-b", "\x1b[31m"], "valid integer"),
        (["nothing\x1b"], r"nothing\x1b"),
        (["predict", "--nothing\x1b"], r"--nothing\x1b"),
    ],
)
def test_wrong_words(arguments: list[str], found: str) -> None:
    ended = command(*arguments)
    assert ended.returncode == 2
    assert found in ended.stderr.splitlines()[-1]
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert ended.stderr.replace("\n", "").isprintable()


def test_help_is_shown_without_arguments() -> None:
    ended = command()
    assert ended.returncode == 2
    assert "predict" in ended.stdout + ended.stderr
    assert command("--version").returncode == command("predict", "--help").returncode == 0
