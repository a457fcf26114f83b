"""Cache entries are complete, sound, or made again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sleap_infer.errors import OutputError
from sleap_infer.system import cache_entries as entries
from sleap_infer.system.cache_entries import MAKING, SUMS, add_sums, find_damage, is_ready, making, sweep, verify

MAKER = """import sys, time
from pathlib import Path
from sleap_infer.system.cache_entries import making
with making(Path(sys.argv[1])) as place:
    (place / "half").write_text("half of it")
    print("making", flush=True)
    sys.stdin.read()
"""
DAMAGES = ("truncated", "flipped", "deleted", "emptied")


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(data[: len(data) // 2] if how == "truncated" else b"")


def make(entry: Path, text: str = "content") -> None:
    with making(entry) as place:
        (place / "a.txt").write_text(text)
        (place / "below").mkdir()
        (place / "below" / "b.bin").write_bytes(bytes(range(256)))


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "graphs" / "one"


def test_an_entry(entry: Path) -> None:
    assert not is_ready(entry)
    make(entry)
    assert is_ready(entry)
    assert (entry / "a.txt").read_text() == "content"
    assert [path.name for path in entry.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["a.txt", "below/b.bin", SUMS])
def test_damage_is_found_and_mended(name: str, how: str, entry: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(entry)
    damage(entry / name, how)
    assert not is_ready(entry)
    assert "is damaged" in caplog.text
    assert "made again" in caplog.text
    make(entry, "again")
    assert is_ready(entry)
    assert (entry / "a.txt").read_text() == "again"
    assert [path.name for path in entry.parent.iterdir()] == ["one"]


def test_an_error_leaves_nothing(entry: Path) -> None:
    with pytest.raises(IsADirectoryError), making(entry) as place:
        place.write_text("")
    assert list(entry.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="SLEAP_INFER_CACHE"), making(tmp_path / "file" / "one"):
        pass


def test_makers_at_once(entry: Path) -> None:
    """Whoever is first wins; all find a sound entry."""
    gate = threading.Barrier(4)

    def work() -> None:
        with making(entry) as place:
            (place / "a.txt").write_text("content")
            gate.wait()
        assert is_ready(entry)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_ready(entry)
    assert [path.name for path in entry.parent.iterdir()] == ["one"]


def start(entry: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, str(entry)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    return process


def close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.wait()


@pytest.mark.skipif(os.name != "posix", reason="no file locks")
def test_what_killed_makers_leave_is_removed(entry: Path) -> None:
    killed, alive = start(entry), start(entry)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(entry.parent.glob(f"{MAKING}*"))) == 4  # two folders, two locks
    assert not is_ready(entry)
    assert len(list(entry.parent.glob(f"{MAKING}*"))) == 2, "the one at work keeps its folder"
    close(alive)  # which finishes
    assert is_ready(entry)
    assert (entry / "half").read_text() == "half of it"
    close(killed)
    assert [path.name for path in entry.parent.iterdir()] == ["one"]


def test_what_older_versions_left_is_removed(entry: Path) -> None:
    (entry.parent / f"{MAKING}abc" / "graph").mkdir(parents=True)
    sweep(entry.parent)
    assert list(entry.parent.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="no file locks")
def test_without_file_locks_age_decides(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""
    monkeypatch.setattr(entries, "_lock", lambda file: None)
    process = start(entry)
    sweep(entry.parent)
    assert len(list(entry.parent.iterdir())) == 2
    (lock,) = entry.parent.glob(f"{MAKING}*.lock")
    os.utime(lock, (0, 0))
    sweep(entry.parent)
    assert list(entry.parent.iterdir()) == []
    process.kill()
    close(process)


@pytest.mark.parametrize("how", DAMAGES)
def test_files_that_another_library_keeps(how: str, tmp_path: Path) -> None:
    """Damaged ones go, so that it makes them again; others stay."""
    folder, sums = tmp_path / "compiled", tmp_path / "compiled.json"
    (folder / "ab").mkdir(parents=True)
    for name in ("ab/one.so", "ab/two.so", "ab/busy.lock"):
        (folder / name).write_bytes(name.encode())
    assert verify(folder, sums) == []
    add_sums(folder, sums)
    assert verify(folder, sums) == []
    damage(folder / "ab" / "one.so", how)
    (folder / "ab" / "three.so").write_bytes(b"of another process")
    (wrong,) = verify(folder, sums)
    assert wrong.startswith("ab/one.so ")
    assert sorted(path.name for path in (folder / "ab").iterdir()) == ["busy.lock", "three.so", "two.so"]
    assert verify(folder, sums) == []
    shutil.rmtree(folder)
    assert len(verify(folder, sums)) == 1
    damage(sums, "truncated")
    assert verify(folder, sums) == []


def test_damage_has_a_reason(entry: Path) -> None:
    make(entry)
    assert find_damage(entry) == ""
    (entry / "more").write_text("an engine that was built later")
    assert find_damage(entry) == ""
    (entry / SUMS).write_text("[1]")
    assert "cannot be read" in find_damage(entry)
