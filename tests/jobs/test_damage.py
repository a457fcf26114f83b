"""Whatever happens to the files of a journal: the same poses come out, or an error that says how to go on."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from jobs import assert_same, onnx, task_in
from test_journal import N_NODES, poses, same

from sleap_infer.errors import JournalError
from sleap_infer.jobs import JobOptions, run_job
from sleap_infer.jobs.events import Note
from sleap_infer.jobs.store.columns import Columns, join
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import Range

LENGTH, OPEN_LENGTH, CHUNK = 12, 6, 4
FACTS = {"n_nodes": N_NODES, "parts": [{"frames": list(range(0, 2 * LENGTH, 2))}, {"frames": None}], "what": {"a": 1}}


def of_part(part: int, start: int, stop: int) -> Columns:
    """What a job finds: of the first video every second frame, of the other one all."""
    whole = poses(0, 2 * LENGTH)
    chosen = [i for i in range(2 * LENGTH) if part or i % 2 == 0][start:stop]
    return join([whole.tail(i) if i == len(whole) - 1 else _one(whole, i) for i in chosen])


def _one(whole: Columns, index: int) -> Columns:
    return poses(0, index + 1).tail(index)


def fill(journal: Journal) -> None:
    """Predict what is missing."""
    with journal.result_file("0") as shard:
        for part, gaps in journal.missing().items():
            for gap in gaps:
                length = LENGTH if part == 0 else OPEN_LENGTH
                for start in range(gap.start, gap.stop or length, CHUNK):
                    stop = min(start + CHUNK, gap.stop or length)
                    shard.add(part, start, of_part(part, start, stop), CHUNK)
                if gap.stop is None:
                    shard.end(part, length)


def finish(folder: Path) -> list[Columns]:
    """Resume the job, or begin it."""
    journal = Journal.open(folder) if Journal.is_at(folder) else Journal.create(folder, FACTS)
    journal.check()
    fill(journal)
    found = list(journal.read_complete())
    return [join([columns for part, columns in found if part == number]) for number in (0, 1)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Columns]]:
    """A journal that is half done, and what it becomes."""
    folder = tmp_path_factory.mktemp("whole")
    whole = finish(folder / "a.journal")
    assert [len(columns) for columns in whole] == [LENGTH, OPEN_LENGTH]
    half = Journal.create(folder / "b.journal", FACTS)
    with half.result_file("0") as shard:
        for part, start in ((0, 0), (0, 4), (1, 0)):
            shard.add(part, start, of_part(part, start, start + CHUNK), CHUNK)
        shard.add(1, 4, of_part(1, 4, 6), CHUNK)
        shard.end(1, OPEN_LENGTH)
    assert half.missing() == {0: [Range(8, 12)]}
    return folder / "b.journal", whole


def assert_right(folder: Path, whole: list[Columns], what: str) -> bool:
    """Finish a job, doing what messages say; whether there was one."""
    for n_errors in range(3):
        try:
            found = finish(folder)
        except JournalError as error:
            follow(str(error), folder)
            continue
        assert all(same(one, other) for one, other in zip(found, whole, strict=True)), what
        return n_errors > 0
    pytest.fail(f"{what}: never done")


def follow(message: str, folder: Path) -> None:
    """Delete what a message tells to delete."""
    if re.search(r"delete the folder", message, re.IGNORECASE):
        assert str(folder) in message
        shutil.rmtree(folder)
        return
    named = re.match(r"(\S+) cannot be read.*Delete that file, then run the same command again", message)
    assert named, message
    Path(named[1]).unlink()


@pytest.mark.parametrize("name", ["job.json", "0.sqlite"])
def test_any_bit_of_a_journal(name: str, expected: tuple[Path, list[Columns]], tmp_path: Path) -> None:
    half, whole = expected
    content = (half / name).read_bytes()
    dice, n_errors = random.Random(name), 0
    for number in range(80):
        folder = tmp_path / f"{number}.journal"
        shutil.copytree(half, folder)
        at, bit = dice.randrange(len(content)), dice.randrange(8)
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        n_errors += assert_right(folder, whole, f"bit {bit} of byte {at}")
        shutil.rmtree(folder)
    assert n_errors > 1


def _rows(path: Path, table: str) -> list[tuple[int, dict[str, object]]]:
    with sqlite3.connect(path) as database:
        found = database.execute(f"SELECT rowid, * FROM {table}")
        names = [column[0] for column in found.description][1:]
        return [(row[0], dict(zip(names, row[1:], strict=True))) for row in found.fetchall()]


def _others(value: object) -> Iterator[object]:
    """Values that may stand in the place of one."""
    yield None
    if isinstance(value, bytes):
        yield from (b"", value[:-1], value + value)
        if value:
            yield bytes([value[0] ^ 64, *value[1:]])
    elif isinstance(value, int):
        yield from (-100, value + 1, 10**9, "x", 1.5)
    elif isinstance(value, str):
        yield from ("", value + " ", "{", b"\xff")


IGNORED = ("batch_size", "seconds")
"""Columns that say nothing of the poses."""


@pytest.mark.parametrize("table", ["pieces", "ends", "times"])
def test_any_field_of_a_journal(table: str, expected: tuple[Path, list[Columns]], tmp_path: Path) -> None:
    half, whole = expected
    for row, fields in _rows(half / "0.sqlite", table)[:1]:
        for name, value in fields.items():
            for number, other in enumerate(_others(value)):
                folder = tmp_path / f"{row}-{name}-{number}.journal"
                shutil.copytree(half, folder)
                with sqlite3.connect(folder / "0.sqlite") as database:
                    try:
                        database.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = ?", (other, row))
                    except sqlite3.Error:
                        continue  # SQLite itself does not take it
                database.close()
                n_errors = assert_right(folder, whole, f"{name} = {other!r}")
                assert n_errors or name in IGNORED, f"{name} = {other!r} is believed"
                shutil.rmtree(folder)


def _swap_shards(folder: Path) -> None:
    """A file of another job under the name of this one's."""
    other = Journal.create(folder.with_name("other.journal"), {**FACTS, "what": {"a": 2}})
    with other.result_file("0") as shard:
        shard.add(0, 0, of_part(0, 0, 4), CHUNK)
    shutil.copy(other.path / "0.sqlite", folder / "0.sqlite")


def _forget_the_file(folder: Path) -> None:
    """A shard is deleted, but not what SQLite keeps beside it."""
    with sqlite3.connect(folder / "0.sqlite") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("UPDATE pieces SET start = 1")
        database.commit()
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{folder / '0.sqlite'}{suffix}", f"{folder / 'copy'}{suffix}")
    database.close()
    (folder / "0.sqlite").unlink()
    for suffix in ("-wal", "-shm"):
        (folder / f"copy{suffix}").rename(f"{folder / '0.sqlite'}{suffix}")


def _truncate(folder: Path) -> None:
    path = folder / "0.sqlite"
    path.write_bytes(path.read_bytes()[:5000])


def _frames_not_asked_for(folder: Path) -> None:
    """Written by this very job, as no version should."""
    with Journal.open(folder).result_file("1") as shard:
        shard.add(0, 8, of_part(1, 8, 12), CHUNK)


@pytest.mark.parametrize("damage", [_swap_shards, _forget_the_file, _truncate, _frames_not_asked_for])
def test_other_damage(damage: Callable[[Path], None], expected: tuple[Path, list[Columns]], tmp_path: Path) -> None:
    half, whole = expected
    folder = tmp_path / "a.journal"
    shutil.copytree(half, folder)
    damage(folder)
    assert_right(folder, whole, damage.__name__)


def test_what_is_not_complete_is_not_written(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "a.journal", FACTS)
    with journal.result_file("0") as shard:
        shard.add(0, 0, of_part(0, 0, 4), CHUNK)
    with pytest.raises(JournalError, match=r"video 0, positions 4 to 12; video 1, positions 0 to the end"):
        list(journal.read_complete())


def test_a_users_file_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal.create(tmp_path / "a.journal", FACTS)
    fill(journal)
    for name in ("notes.txt", "results.sqlite"):
        (journal.path / name).write_text("mine")
    (journal.path / "claims").mkdir()
    (journal.path / "claims" / "000000-000000000.claim").touch()
    journal.delete()
    assert sorted(path.name for path in journal.path.iterdir()) == ["notes.txt", "results.sqlite"]
    assert "notes.txt, results.sqlite" in caplog.text
    assert finish(journal.path)
    (journal.path / "notes.txt").unlink()
    (journal.path / "results.sqlite").unlink()
    Journal.open(journal.path).delete()
    assert not journal.path.exists()


def test_a_job_on_a_damaged_journal(graph: Path, videos: Path, tmp_path: Path) -> None:
    """With real files: the job stops with a message, and following it leads to the same poses."""
    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name, at_most=16) for name in ("whole", "clip"))
    options = JobOptions(chunk=4, keep_journal=True)
    run_job(onnx(graph), [whole], options, n_workers=0)
    run_job(onnx(graph), [task], options, n_workers=0)
    with sqlite3.connect(task.journal / "0.sqlite") as database:
        (points,) = database.execute("SELECT points FROM pieces WHERE start = 4").fetchone()
        far = np.frombuffer(points, "<f4").copy()
        far[0] = 21470
        database.execute("UPDATE pieces SET points = ? WHERE start = 4", (far.tobytes(),))
    database.close()
    task.output.unlink()
    with pytest.raises(JournalError, match=r"0\.sqlite cannot be read: the poses of video 0, frames 4 to 8") as caught:
        run_job(onnx(graph), [task], options, n_workers=0)
    assert not task.output.exists()
    follow(str(caught.value), task.journal)
    run_job(onnx(graph), [task], options, n_workers=0)
    assert_same(task.output, whole.output)


def test_a_journal_without_checksums_starts_anew(graph: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", at_most=8)
    run_job(onnx(graph), [task], JobOptions(chunk=4, keep_journal=True), n_workers=0)
    facts = json.loads((task.journal / "job.json").read_text())
    facts["version"] = 1
    facts["what"]["videos"][0]["content"] = "as the first version read it"
    (task.journal / "job.json").write_text(json.dumps(facts))
    events: list[object] = []
    (report,) = run_job(onnx(graph), [task], JobOptions(chunk=4), events.append, n_workers=0)
    assert (report.outcome, report.n_resumed) == ("written", 0)
    assert [event.text for event in events if isinstance(event, Note) and "without checksums" in event.text]


def test_a_shared_job_whose_file_was_deleted_ends(graph: Path, videos: Path, tmp_path: Path) -> None:
    """Claims say who works on what, never what is done."""
    from sleap_infer.jobs.write.merge import find_journals, merge_journals

    whole, task = (task_in(tmp_path, videos / "two_flies.mp4", name, at_most=32) for name in ("whole", "clip"))
    run_job(onnx(graph), [whole], JobOptions(chunk=4), n_workers=0)
    for number in (0, 1):
        run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(number, 2)), n_workers=0)
    (task.journal / "shard-0.sqlite").unlink()
    assert Journal.open(task.journal).missing()
    run_job(onnx(graph), [task], JobOptions(chunk=4, shard=(1, 2)), n_workers=0)
    merge_journals(find_journals([tmp_path]), ("slp",), False, False, False, lambda event: None)
    assert_same(task.output, whole.output)
