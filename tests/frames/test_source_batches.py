"""Batches: which frames share one, and what comes when reading stops early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.errors import FrameReadError, OptionError
from sleap_infer.frames import FrameBatch, FrameRef, Source, open_source
from sleap_infer.frames.source import VideoPart

FORMS = {"gray": (4, 6, 1), "colour": (4, 6, 3), "wide": (4, 9, 1)}


class Listed:
    """A reader of a list of forms; `None` stands for a frame that cannot be read."""

    def __init__(self, forms):
        self.forms = forms
        self.is_closed = False

    @property
    def n_frames(self):
        return len(self.forms)

    def read(self, frame_inds):
        for n in range(len(self.forms)) if frame_inds is None else frame_inds:
            form = self.forms[n]
            yield n, FrameReadError(f"no frame {n}") if form is None else np.full(FORMS[form], n, np.uint8)

    def close(self):
        self.is_closed = True


def source_of(*lists) -> Source:
    return Source("lists", tuple(VideoPart(Listed(forms), lambda: None, n) for n, forms in enumerate(lists)))


forms = st.lists(st.sampled_from([*FORMS, None]), max_size=12)


@given(lists=st.lists(forms, min_size=1, max_size=3), batch_size=st.sampled_from([1, 4, 7]))
def test_every_frame_comes_once_in_order_with_its_own_picture(lists, batch_size):
    places = [(video, n) for video, forms in enumerate(lists) for n in range(len(forms))]
    found = []
    for batch in source_of(*lists).batches(batch_size):
        assert 1 <= len(batch.frames) <= batch_size
        assert len({ref.video_idx for ref in batch.frames}) == 1
        images = iter(batch.images)
        for ref in batch.frames:
            form = lists[ref.video_idx][ref.frame_idx]
            if form is None:
                assert ref.failure == f"no frame {ref.frame_idx}"
            else:
                image = next(images)
                assert image.transpose(1, 2, 0).shape == FORMS[form]
                assert (image == ref.frame_idx).all()
            found.append((ref.video_idx, ref.frame_idx))
        assert next(images, None) is None
    assert found == places


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_the_size_of_batches_changes_no_frame(videos, read, same, batch_size):
    wanted = range(0, 40, 2)
    expected = read(open_source(videos / "one_fly.mp4", wanted), 40)
    found = read(open_source(videos / "one_fly.mp4", wanted), batch_size)
    assert [ref for ref, _ in found] == [ref for ref, _ in expected]
    same([image for _, image in found], [image for _, image in expected])


def test_failures_take_a_place_and_no_picture():
    batches = list(source_of([None, "gray", None, None], [None, None], ["gray", "wide", None]).batches(2))
    assert [(len(batch.frames), len(batch.images)) for batch in batches] == [
        (2, 1),
        (2, 0),
        (2, 0),
        (1, 1),
        (1, 1),
        (1, 0),
    ]
    assert [ref.frame_idx for ref in batches[0].readable] == [1]
    assert batches[1].images.shape[0] == 0


def test_types_do_not_mix_in_a_batch(read):
    source = open_source([np.zeros((2, 4, 6), np.uint8), np.zeros((2, 4, 6), np.float32)])
    assert [batch.images.dtype for batch in source.batches(8)] == [np.uint8, np.float32]


def test_batches_are_checked():
    with pytest.raises(ValueError, match="1 images for 2 readable frames"):
        FrameBatch(np.zeros((1, 1, 4, 6), np.uint8), (FrameRef(0, 0), FrameRef(0, 1)))
    with pytest.raises(OptionError, match="batch_size is a whole number from 1 up, found 0"):
        next(source_of(["gray"]).batches(0))
    with pytest.raises(ValueError, match="a batch is"):
        FrameBatch(np.zeros((4, 6), np.uint8), ())


def test_a_source_can_be_read_again(videos, read, same):
    source = open_source(videos / "one_fly.mp4", [1, 2])
    same([image for _, image in read(source)], [image for _, image in read(source)])


def test_leaving_a_source_closes_all_its_readers():
    source = source_of(["gray"], ["gray"])
    with pytest.raises(RuntimeError, match="stop"), source:
        raise RuntimeError("stop")
    assert all(part.reader.is_closed for part in source.parts)


@pytest.mark.parametrize("frames", [None, [0, 199]])
def test_stopping_early_gives_the_file_back(b_frames, frames):
    def is_open():
        return str(b_frames) in [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    batches = open_source(b_frames, frames).batches(1)
    next(batches)
    assert is_open()
    batches.close()
    assert not is_open()


def test_importing_frames_imports_neither_torch_nor_sleap_io():
    code = "import sys, sleap_infer.frames; print([name for name in ('torch', 'sleap_io') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "[]\n"
