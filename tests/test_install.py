"""Messages name a command that installs an extra, although the package is on no index."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from sleap_infer.system import runtimes
from sleap_infer.system.runtimes import install_command, origin_of

ROOM = Path(runtimes.__file__).parents[1]


def test_no_message_names_an_index_that_does_not_have_the_package() -> None:
    for path in ROOM.rglob("*.py"):
        assert not re.search(r"pip install[^\n]*sleap-infer\[", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, ["pip", "install", ".[torch,export]"]),
        ("nonsense", ["pip", "install", ".[torch,export]"]),
        (json.dumps({"url": "file:///nowhere/at/all", "dir_info": {}}), ["pip", "install", ".[torch,export]"]),
        (json.dumps([]), ["pip", "install", ".[torch,export]"]),
        (
            json.dumps({"url": "https://host/a.whl", "archive_info": {}}),
            ["pip", "install", "sleap-infer[torch,export] @ https://host/a.whl"],
        ),
        (
            json.dumps({"url": "https://host/a.git", "vcs_info": {"vcs": "git", "commit_id": "1a"}}),
            ["pip", "install", "sleap-infer[torch,export] @ git+https://host/a.git@1a"],
        ),
    ],
)
def test_the_command_names_the_origin(record: str | None, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_origin", lambda: origin_of(record))
    assert shlex.split(install_command("torch,export"), comments=True) == words


@pytest.mark.parametrize("name", ["clone", "a clone"])
def test_a_directory_is_named_with_the_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / name
    place.mkdir()
    record = json.dumps({"url": place.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.setattr(runtimes, "_origin", lambda: origin_of(record))
    command = install_command("tensorrt", "https://index")
    assert shlex.split(command) == ["pip", "install", "--extra-index-url", "https://index", f"{place}[tensorrt]"]
