"""Files are complete under their names, and nobody can guess where they are written before."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sleap_infer.errors import OutputError
from sleap_infer.system import files
from sleap_infer.system.files import (
    PREFIX,
    check_folder,
    check_writable,
    put_in_place,
    remove_leftovers,
    replacing,
    require_room,
    sync_tree,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    assert write_text(target, "é") == target
    assert target.read_text(encoding="utf-8") == "é"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert names(tmp_path) == ["a.txt"]


def test_an_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.txt cannot be written: No space left"):
        put_in_place(target, fail)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_unfinished_files_lie_where_nobody_else_can_write(tmp_path: Path) -> None:
    places = []
    for _ in range(2):
        with replacing(tmp_path / "a.slp") as path:
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert path.suffix == ".slp"
            path.touch()
            places.append(path.parent.name)
    assert places[0] != places[1]
    assert str(os.getpid()) not in [part for name in places for part in name.split("-")]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a.txt").symlink_to(tmp_path / "precious")
    write_text(tmp_path / "a.txt", "poses")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "poses"


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write_text(tmp_path / f"{'é' * 125}.json", "1")
    assert len(names(tmp_path)) == 1


def test_leftovers_go_but_nothing_of_another_file(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", lambda *args, **facts: None)  # as when the process is killed
        for target in (tmp_path / "a.slp", tmp_path / "b.slp"):
            write_text(target, "")
            target.unlink()
    assert len(names(tmp_path)) == 2
    with replacing(tmp_path / "a.slp") as path:  # another process may be writing: leftovers are too young to tell
        path.touch()
    assert len(names(tmp_path)) == 3
    remove_leftovers(tmp_path / "a.slp")
    assert [name for name in names(tmp_path) if not name.startswith(PREFIX)] == ["a.slp"]
    assert len(names(tmp_path)) == 2
    os.utime(next(tmp_path.glob(f"{PREFIX}*")), (0, 0))
    write_text(tmp_path / "b.slp", "")
    assert names(tmp_path) == ["a.slp", "b.slp"]


def test_whole_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    sync_tree(tmp_path)
    assert synced == [tmp_path / "a", tmp_path / "a" / "b", tmp_path]


def _labels(folder: Path) -> None:
    import sleap_io as sio

    from sleap_infer.poses.labels import save_labels

    save_labels(sio.Labels(), folder / "a.slp")


def _choice(folder: Path) -> None:
    from sleap_infer.predictors.auto import cache as choice

    assert choice.choices_directory().parent == folder
    choice.save("key", (1, 1, 1), choice.Choice("onnx", None, 4, "it is fast"))


def _engine(folder: Path) -> None:
    from sleap_infer.runners.tensorrt import engines as trt_engines

    trt_engines._write(folder / "a.engine", b"plan")


def _journal(folder: Path) -> None:
    from sleap_infer.jobs.store.journal import Journal

    Journal.create(folder / "a.journal", {"n_nodes": 1, "parts": []})


WRITERS = (_labels, _choice, _engine, _journal)


@pytest.mark.parametrize("write", WRITERS)
def test_everything_is_written_this_way(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    token = files.secrets.token_hex
    monkeypatch.setattr(files.secrets, "token_hex", lambda length: made.append(token(length)) or made[-1])
    write(tmp_path)
    assert made


def test_no_other_module_makes_names_of_unfinished_files() -> None:
    package = Path(files.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(
            '.with_name(f".' in line and ("pid" in line or "partial" in line) for line in path.read_text().splitlines()
        )
    }
    assert found == set()


@pytest.mark.parametrize(
    "name", ["file/x.slp", "loop/x.slp", "nowhere/x.slp", f"{'x' * 300}.slp", "folder", "/proc/x.slp"]
)
def test_what_cannot_be_written_is_known_before(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new.slp")
    assert (tmp_path / "file").read_bytes() == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]


@pytest.mark.parametrize("name", ["file", "file/x", "loop", "loop/x", "x" * 300, "/proc/x"])
def test_a_folder_that_cannot_be_made_is_known_before(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match="cannot be"):
        check_folder(tmp_path / name)
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_room_for_a_file(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        require_room(tmp_path, 1 << 60)
    with pytest.raises(OutputError, match="Free some space"):
        put_in_place(tmp_path / "file", lambda path: require_room(tmp_path, 1 << 60))


def test_errors_of_hdf5_about_the_disk_are_explained(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        raise RuntimeError("Can't decrement id ref count (unable to extend file properly, errno = 27, error message)")

    with pytest.raises(OutputError, match=os.strerror(errno.EFBIG)):
        put_in_place(tmp_path / "file", fill)
