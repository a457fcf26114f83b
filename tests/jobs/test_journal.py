"""The journal: what is in it comes out of it, whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from sleap_infer.errors import JobBusyError, JournalError
from sleap_infer.jobs.store.columns import Columns, failed, join, to_columns
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.locks import Leases, hold_lock
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.poses.outputs import Outputs

N_NODES = 3


def poses(first: int, n_frames: int, seed: int = 0) -> Columns:
    """Frames with 0, 1, 2, 0, ... instances, and missing points among them."""
    dice = np.random.default_rng((first, seed))
    found = []
    for index in range(first, first + n_frames):
        rows = index % 3
        points = dice.uniform(0, 100, (rows, N_NODES, 2)).astype(np.float32)
        points[:, 0] = np.where(dice.uniform(size=(rows, 1)) < 0.3, np.nan, points[:, 0])
        values = dice.uniform(size=(rows, N_NODES)).astype(np.float32)
        found.append(
            Outputs(
                pred_keypoints=points,
                pred_peak_values=values,
                instance_scores=values.sum(axis=1),
                pred_classes=np.arange(rows) - 1,
                instance_tracking_scores=values[:, 0],
                frame_idx=index,
                time_s=index / 25,
            )
        )
    return to_columns(found, N_NODES)


def same(one: Columns, other: Columns) -> bool:
    arrays = zip(one.arrays().values(), other.arrays().values(), strict=True)
    return (
        all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in arrays)
        and np.array_equal(one.times_s, other.times_s, equal_nan=True)
        and one.notes == other.notes
    )


def made(folder: Path, *lengths: int | None) -> Journal:
    parts = [{"frames": None if length is None else list(range(length))} for length in lengths]
    return Journal.create(folder, {"n_nodes": N_NODES, "parts": parts})


def test_columns_are_what_the_outputs_say() -> None:
    found = poses(0, 6)
    assert found.counts.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.classes.tolist() == [-1, -1, 0, -1, -1, 0]
    assert found.count()["empty"] == 2
    lost = Outputs(
        pred_keypoints=np.full((1, N_NODES, 2), np.nan),
        pred_peak_values=np.zeros((1, N_NODES)),
        instance_scores=np.zeros(1),
        frame_idx=4,
    )
    assert to_columns([lost], N_NODES).n_instances == 0, "nobody there"
    assert to_columns([Outputs(frame_idx=2, failure="torn")], N_NODES).notes == {0: "torn"}


@pytest.mark.parametrize("skip", [0, 1, 3, 6])
def test_a_tail_and_its_head_are_the_whole(skip: int) -> None:
    whole = join([poses(0, 3), failed([3], "predict_failed", "it broke", N_NODES), poses(4, 2)])
    assert len(whole) == 6
    assert whole.notes == {3: "it broke"}
    tail = whole.tail(skip)
    assert tail.frame_inds.tolist() == whole.frame_inds.tolist()[skip:]
    assert tail.n_instances == int(whole.counts[skip:].sum())
    assert tail.notes == ({3 - skip: "it broke"} if skip <= 3 else {})
    assert np.array_equal(tail.points, whole.points[len(whole.points) - tail.n_instances :], equal_nan=True)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    journal = made(tmp_path / "j", 20, None)
    with journal.result_file("0") as shard:
        shard.add(0, 8, poses(8, 4), 4)
        shard.add(1, 0, failed([0, 1], "decode_failed", "torn", N_NODES), 1)
        shard.add(0, 0, poses(0, 4), 4)
    with journal.result_file("1") as shard:
        shard.add(0, 4, poses(4, 4), 4)
        shard.add(0, 10, poses(10, 10), 4)
    found = list(Journal.open(tmp_path / "j").read())
    assert [part for part, _ in found] == [0, 0, 0, 0, 1]
    whole = join([columns for part, columns in found if part == 0])
    assert same(whole, join([poses(0, 4), poses(4, 4), poses(8, 4), poses(10, 10).tail(2)])), "each frame once"
    assert found[-1][1].notes == {0: "torn", 1: "torn"}
    assert journal.missing() == {1: [Range(2, None)]}
    with journal.result_file("0") as shard:
        shard.end(1, 2)
    assert journal.missing() == {}
    assert journal.n_frames() == 22


def test_frames_can_be_looked_at_with_any_sqlite(tmp_path: Path) -> None:
    journal = made(tmp_path / "j", 4)
    with journal.result_file("0") as shard:
        shard.add(0, 0, poses(0, 4), 4)
    rows = sqlite3.connect(tmp_path / "j" / "0.sqlite").execute("SELECT frame_idx, status, n_instances FROM frames")
    assert rows.fetchall() == [(0, "empty", 0), (1, "ok", 1), (2, "ok", 2), (3, "empty", 0)]


def test_a_piece_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = made(tmp_path / "j", 8)
    with journal.result_file("0") as shard:
        shard.add(0, 0, poses(0, 4), 4)
        broken = poses(4, 4)
        monkeypatch.setattr("sleap_infer.jobs.store.result_file.STATUSES", ())
        with pytest.raises(IndexError):
            shard.add(0, 4, broken, 4)
    assert journal.missing() == {0: [Range(4, 8)]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no job.json"),
        ("{", "cannot be read"),
        (json.dumps({"schema": "x", "version": 9}), "another version"),
    ],
)
def test_what_is_no_journal(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    with pytest.raises(JournalError, match=message):
        Journal.open(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    journal = made(tmp_path / "j", 8)
    (tmp_path / "j" / "0.sqlite").write_bytes(b"no database, but long enough to look at" * 100)
    with pytest.raises(JournalError, match=r"0\.sqlite cannot be read.*Delete that file"):
        journal.missing()


def test_one_at_a_time(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "lock", "a.slp"),
        pytest.raises(JobBusyError, match=r"Another process works on a\.slp"),
        hold_lock(tmp_path / "lock", "a.slp"),
    ):
        pass
    with hold_lock(tmp_path / "lock", "a.slp", shared=True), hold_lock(tmp_path / "lock", "a.slp", shared=True):
        pass


def test_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Leases(tmp_path, "shard-0"), Leases(tmp_path, "shard-1")
    assert one.take("a")
    assert not other.take("a"), "it is worked on"
    assert one.take("a"), "it was ended, and begins again"
    monkeypatch.setattr("sleap_infer.jobs.store.locks.STALE_S", -1.0)
    assert other.take("a"), "the other one is gone"
    monkeypatch.undo()
    with other.working("a"):
        assert not one.take("a"), "it is worked on"
    assert one.take("a"), "whether it is done is in the journal, not here"


def test_a_claim_stays_fresh_while_its_range_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a chunk takes."""
    import os
    import time

    monkeypatch.setattr("sleap_infer.jobs.store.locks.RENEW_S", 0.01)
    claims = Leases(tmp_path, "shard-0")
    assert claims.take("a")
    claim = tmp_path / "a.claim"
    os.utime(claim, (0, 0))
    with claims.working("a"):
        limit = time.time() + 30
        while claim.stat().st_mtime == 0 and time.time() < limit:
            time.sleep(0.01)
        assert claim.stat().st_mtime > 0
