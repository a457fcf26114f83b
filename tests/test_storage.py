"""Whether other users may change what is in the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sleap_infer.errors import CacheError
from sleap_infer.predictors.auto import cache as choice
from sleap_infer.system import cache_directory as storage
from sleap_infer.system import file_owners
from sleap_infer.system.cache_directory import (
    CACHE_VARIABLE,
    TRUST_VARIABLE,
    find_writers,
    make_private,
    require_private,
)
from sleap_infer.system.cache_entries import is_ready, making

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")
OTHER = 54321
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(autouse=True)
def no_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs these tests."""
    monkeypatch.setattr(file_owners, "_is_own_group", lambda gid: False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "above" / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(path))
    make_private(path / "graphs")
    return path


def test_new_folders_are_for_this_user_only(folder: Path) -> None:
    for path in (folder.parent, folder, folder / "graphs"):
        assert path.stat().st_mode & 0o777 == 0o700
    assert storage.private_directory("graphs") == folder / "graphs"
    assert find_writers(folder / "graphs" / "not there yet") is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o702])
@pytest.mark.parametrize("level", ["graphs", "cache", "above"])
def test_folders_that_others_may_write(mode: int, level: str, folder: Path) -> None:
    place = {"graphs": folder / "graphs", "cache": folder, "above": folder.parent}[level]
    place.chmod(mode)
    with pytest.raises(CacheError, match=f"chmod go-w .*{place.name}.*{CACHE_VARIABLE}.*{TRUST_VARIABLE}=1"):
        require_private(folder / "graphs")
    with pytest.raises(CacheError):
        storage.private_directory("graphs")


def test_a_parent_with_the_sticky_bit(folder: Path) -> None:
    """As `/tmp`: nobody can replace what belongs to another user. But anybody can add to the folder itself."""
    folder.parent.chmod(0o1777)
    require_private(folder / "graphs")
    (folder / "graphs").chmod(0o1777)
    with pytest.raises(CacheError, match="everybody"):
        require_private(folder / "graphs")


def test_folders_that_all_may_read(folder: Path) -> None:
    for path in (folder.parent, folder, folder / "graphs"):
        path.chmod(0o755)
    require_private(folder / "graphs")


def test_links_are_checked_where_they_are_and_where_they_lead(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "open" / "link"
    link.parent.mkdir()
    link.symlink_to(folder)
    require_private(link / "graphs")
    link.parent.chmod(0o777)
    with pytest.raises(CacheError, match="open may be written by everybody"):
        require_private(link / "graphs")
    link.parent.chmod(0o755)
    folder.chmod(0o777)
    with pytest.raises(CacheError, match="above/cache may be written by everybody"):
        require_private(link / "graphs")


@needs_root
@pytest.mark.parametrize("level", ["graphs", "cache", "above"])
def test_folders_of_another_user(level: str, folder: Path) -> None:
    place = {"graphs": folder / "graphs", "cache": folder, "above": folder.parent}[level]
    os.chown(place, OTHER, -1)
    with pytest.raises(CacheError, match=f"another owner .user id {OTHER}.*chown -R 0 "):
        require_private(folder / "graphs")


@needs_root
def test_folders_of_root_are_fine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert find_writers(folder / "graphs") is None


@needs_root
def test_owners_that_are_not_there_in_a_container(folder: Path) -> None:
    os.chown(folder.parent, file_owners.UNKNOWN, -1)
    require_private(folder / "graphs")
    os.chown(folder / "graphs", file_owners.UNKNOWN, -1)
    with pytest.raises(CacheError):
        require_private(folder / "graphs")


def test_the_user_may_trust_everybody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o777)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    require_private(folder / "graphs")
    assert storage.is_private(folder)


def test_nothing_is_read_from_such_a_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o777)
    monkeypatch.setattr(choice, "choices_directory", lambda: folder / "choices")
    with pytest.raises(CacheError):
        is_ready(folder / "graphs" / "one")
    with pytest.raises(CacheError), making(folder / "graphs" / "one"):
        pass
    with pytest.raises(CacheError):
        choice.load("key", None)
    assert not (folder / "graphs" / "one").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="paths of Linux")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/sleap_infer"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/fast"}, "/fast/sleap_infer"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/fast", CACHE_VARIABLE: "~/own"}, "/home/me/own"),
    ],
)
def test_where_the_cache_is(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", CACHE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert storage.cache_directory() == Path(expected)
    assert storage.cache_directory("graphs") == Path(expected) / "graphs"
    assert storage.state_directory() == Path("/home/me/.local/state/sleap_infer")
