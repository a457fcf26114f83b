"""Selections of frames are kept as ranges."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from itertools import pairwise

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.errors import FrameSelectionError
from sleap_infer.frames import open_source
from sleap_infer.frames.indices import Indices
from sleap_infer.jobs import read_frames
from sleap_infer.jobs.plan.tasks import Task

NUMBERS = st.lists(st.integers(0, 60), max_size=20)
HUGE = 10**9


@given(NUMBERS, st.integers(0, 25), st.integers(0, 25))
def test_indices_are_those_of_a_sorted_list(numbers, start, stop):
    expected = sorted(set(numbers))
    found = Indices.of(numbers)
    assert (list(found), len(found)) == (expected, len(expected))
    assert [found[place] for place in range(len(found))] == expected
    assert [found[place] for place in range(-len(found), 0)] == expected
    assert list(found[start:stop]) == expected[start:stop]
    assert list(found[start:]) == expected[start:]
    assert [index for index in range(62) if index in found] == expected
    assert np.asarray(found).tolist() == expected
    assert found == Indices.of(expected)
    assert Indices.from_plain(json.loads(json.dumps(found.to_plain()))) == found
    assert pickle.loads(pickle.dumps(found)) == found


@given(NUMBERS, st.integers(1, 9))
def test_runs_end_where_a_gap_is(numbers, gap):
    runs = [list(run) for run in Indices.of(numbers).runs(gap)]
    assert [index for run in runs for index in run] == sorted(set(numbers))
    assert all(b - a <= gap for run in runs for a, b in pairwise(run))
    assert all(later[0] - earlier[-1] > gap for earlier, later in pairwise(runs))


@given(st.integers(0, 20), st.integers(0, 40), st.integers(1, 7))
def test_ranges_with_steps(start, length, step):
    for one in (range(start, start + length, step), range(start + length, start - 1, -step)):
        expected = sorted(index for index in one if index >= 0)
        if any(index < 0 for index in one):
            continue
        found = Indices.of(one)
        assert list(found) == expected
        assert list(found[1:3]) == expected[1:3]
        assert [index for run in found.runs(3) for index in run] == expected


@pytest.mark.parametrize(
    ("text", "n_frames", "expected"),
    [
        ("0-3,10", 20, [0, 1, 2, 3, 10]),
        ("10,0-3,2-5", 20, [0, 1, 2, 3, 4, 5, 10]),
        ("17-", 20, [17, 18, 19]),
        ("1,18-", 20, [1, 18, 19]),
        ("18-,16-", 20, [16, 17, 18, 19]),
        ("15-17,18-", 20, [15, 16, 17, 18, 19]),
        ("0-", 3, [0, 1, 2]),
        ("5-100,18-", 20, list(range(5, 20))),
    ],
)
def test_selections_as_they_are_typed(text, n_frames, expected):
    assert list(read_frames(text).until(n_frames)) == expected


@pytest.mark.parametrize("text", ["-", "-5", "5-3", "a", "1,,2", "1-2-3", "1.5", "²", "9" * 16, "0-" + "9" * 5000])
def test_other_text_is_an_error(text):
    with pytest.raises(FrameSelectionError, match="not understood") as caught:
        read_frames(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("frames", [f"0-{HUGE}", f"5-10,20-{HUGE}", f"{HUGE}", f"{HUGE}-"])
@pytest.mark.parametrize("kind", ["video", "video of unknown length", "labels", "embedded", "array", "folder"])
def test_more_frames_than_there_are_cost_nothing_and_are_refused(frames, kind, request, encode, tmp_path, videos):
    source = make(kind, encode, tmp_path, videos)
    wanted = read_frames(frames)
    task = Task((str(source),), tmp_path / "out.slp", wanted)
    assert len(json.dumps(attrs.asdict(task), default=str)) + len(pickle.dumps(task)) < 3000
    tracemalloc.start()
    try:
        with pytest.raises(FrameSelectionError, match=r"asked for"):
            open_source(source, wanted)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30e6


@pytest.mark.parametrize("kind", ["video", "video of unknown length", "embedded", "array", "folder"])
def test_ranges_to_the_end_end_there(kind, encode, tmp_path, videos, read):
    source = make(kind, encode, tmp_path, videos)
    everything = [ref.frame_idx for ref, _ in read(open_source(source, "all"))]
    assert [ref.frame_idx for ref, _ in read(open_source(source, read_frames("2-")))] == everything[2:]
    assert [ref.frame_idx for ref, _ in read(open_source(source, read_frames("0,2-")))] == [0, *everything[2:]]
    assert [ref.frame_idx for ref, _ in read(open_source(source, read_frames("0-")))] == everything
    with pytest.raises(FrameSelectionError, match="asked for"):
        open_source(source, read_frames("4000-"))


def make(kind, encode, tmp_path, videos):
    import cv2
    import sleap_io as sio

    if kind == "video":
        return videos / "one_fly.mp4"
    if kind == "video of unknown length":
        path = encode(tmp_path / "video.mkv", 30, container={"live": "1"})
        assert open_source(path).n_frames is None
        return path
    if kind == "array":
        return np.zeros((5, 8, 8), np.uint8)
    if kind == "folder":
        for number in range(5):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8), np.uint8))
        return tmp_path
    skeleton, video = sio.Skeleton(["a"]), sio.load_video(videos / "one_fly.mp4")
    frames = [
        sio.LabeledFrame(video=video, frame_idx=n, instances=[sio.Instance.from_numpy(np.ones((1, 2)), skeleton)])
        for n in range(5)
    ]
    labels = sio.Labels(frames, [video], [skeleton])
    if kind == "labels":
        return labels
    labels.save(str(tmp_path / "labels.pkg.slp"), embed="all", verbose=False)
    return sio.load_slp(tmp_path / "labels.pkg.slp").videos[0]
