"""Label files: which of their frames are read, and what a person said about these."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames import open_source

SKELETON = sio.Skeleton(["a", "b"])
POINTS = np.array([[1.0, 2.0], [3.0, np.nan]])


def labelled(video: sio.Video, frame_inds: list[int]) -> list[sio.LabeledFrame]:
    """Frames with one instance by a person, and one that was predicted."""
    return [
        sio.LabeledFrame(
            video=video,
            frame_idx=n,
            instances=[
                sio.PredictedInstance.from_numpy(POINTS + 50, skeleton=SKELETON, score=1.0),
                sio.Instance.from_numpy(POINTS + n, skeleton=SKELETON),
            ],
        )
        for n in frame_inds
    ]


@pytest.fixture
def video(tmp_path, b_frames):
    return Path(shutil.copy(b_frames, tmp_path / "video.mp4"))


@pytest.fixture
def label_file(tmp_path, video):
    """Frames 4, 30 and 17 of one video, beside it, and named without a folder."""
    described = sio.load_video(video)
    labels = sio.Labels(labelled(described, [4, 30, 17]), videos=[described], skeletons=[SKELETON])
    labels.replace_filenames(new_filenames=["video.mp4"], open_videos=False)
    labels.save(str(tmp_path / "labels.slp"), embed=False, verbose=False)
    return tmp_path / "labels.slp"


def test_labelled_frames_are_read_with_the_points_that_a_person_gave(label_file, video, read, same):
    source = open_source(label_file)
    found = read(source)
    assert (source.n_frames, source.node_names) == (3, ("a", "b"))
    assert [ref.frame_idx for ref, _ in found] == [4, 17, 30]
    same([image for _, image in found], [image for _, image in read(open_source(video, [4, 17, 30]))])
    for ref, _ in found:
        np.testing.assert_array_equal(ref.known, np.float32(POINTS + ref.frame_idx)[None])


def test_frames_of_labels_are_selected_by_position(label_file, read):
    assert [ref.frame_idx for ref, _ in read(open_source(label_file, [1, 2]))] == [17, 30]
    with pytest.raises(FrameSelectionError, match=r"Position 3 .* labelled frames 0 to 2.*by position"):
        open_source(label_file, [3])


def test_all_frames_of_the_videos_can_be_asked_for(label_file, read):
    source = open_source(label_file, "all")
    found = read(source)
    assert len(found) == source.n_frames == 200
    assert source.node_names is None
    assert all(ref.known is None for ref, _ in found)


def test_labels_in_memory_are_a_source_and_keep_their_videos(label_file, read):
    labels = sio.load_slp(label_file)
    source = open_source(labels)
    assert source.videos()[0] is labels.videos[0]
    assert [ref.frame_idx for ref, _ in read(source)] == [4, 17, 30]


def test_a_frame_without_a_persons_instance_knows_no_points(video, read):
    described = sio.load_video(video)
    frame = labelled(described, [3])[0]
    frame.instances = frame.instances[:1]
    ((ref, _),) = read(open_source(sio.Labels([frame], videos=[described], skeletons=[SKELETON])))
    assert ref.known.shape == (0, 2, 2)


def test_what_a_person_gave_is_matched_by_the_names_of_the_nodes(video, read):
    described = sio.load_video(video)
    other, foreign = sio.Skeleton(["c", "b"]), sio.Skeleton(["x", "y", "z"])
    frame = labelled(described, [3])[0]
    frame.instances += [
        sio.Instance.from_numpy(np.array([[7.0, 7.0], [8.0, 9.0]]), skeleton=other),
        sio.Instance.from_numpy(np.ones((3, 2)), skeleton=foreign),
    ]
    source = open_source(sio.Labels([frame], videos=[described], skeletons=[SKELETON, other, foreign]))
    ((ref, _),) = read(source)
    assert source.node_names == ("a", "b", "c", "x", "y", "z")
    nan = [np.nan, np.nan]
    expected = [[*(POINTS + 3), *[nan] * 4], [nan, [8, 9], [7, 7], *[nan] * 3], [*[nan] * 3, *[[1, 1]] * 3]]
    np.testing.assert_array_equal(ref.known, np.float32(expected))


def test_a_frame_that_is_labelled_twice_is_read_once_with_all_its_points(video, read):
    described = sio.load_video(video)
    frames = labelled(described, [3, 3])
    frames[1].instances = [sio.Instance.from_numpy(POINTS + 20, skeleton=SKELETON)]
    ((ref, _),) = read(open_source(sio.Labels(frames, videos=[described], skeletons=[SKELETON])))
    np.testing.assert_array_equal(ref.known, np.float32([POINTS + 3, POINTS + 20]))


def test_a_video_lies_beside_its_labels_wherever_one_works(label_file, encode, tmp_path, monkeypatch, read):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(read(open_source(label_file))) == 3
    monkeypatch.chdir(tmp_path)
    assert len(read(open_source("labels.slp"))) == 3
    encode(elsewhere / "video.mp4", 2)
    monkeypatch.chdir(elsewhere)
    assert open_source(label_file, "all").n_frames == 200


def test_images_lie_beside_their_labels_too(tmp_path, draw, read, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "images").mkdir()
    names = [f"images/{n}.png" for n in range(3)]
    for n, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), draw(n)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    described = sio.load_video(names)
    labels = sio.Labels(labelled(described, [2]), videos=[described], skeletons=[SKELETON])
    labels.save("labels.slp", embed=False, verbose=False)
    monkeypatch.chdir("/")
    ((ref, image),) = read(open_source(tmp_path / "labels.slp"))
    assert ref.frame_idx == 2
    assert np.array_equal(image, draw(2))


def test_shipped_labels_find_their_videos(videos, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in videos.glob("*.truth.slp"):
        source = open_source(path, [0])
        assert Path(source.videos()[0].filename).parent == videos
        assert [ref.failure for ref, _ in read(source)] == [None]
        source = open_source(os.path.relpath(path), [0])
        assert [ref.failure for ref, _ in read(source)] == [None]


def test_a_missing_video_is_named(label_file, video):
    video.unlink()
    with pytest.raises(
        SourceNotFoundError,
        match=r"labels\.slp is missing.*video\.mp4.*beside the label file.*--replace-path 'video.mp4=NEW'",
    ):
        open_source(label_file)


def test_labels_without_frames_are_empty(tmp_path, video):
    empty = sio.Labels(videos=[sio.load_video(video)], skeletons=[SKELETON])
    empty.save(str(tmp_path / "empty.slp"), verbose=False)
    with pytest.raises(EmptySourceError, match=r"empty\.slp has no labelled frame.*frames='all'"):
        open_source(tmp_path / "empty.slp")
    assert open_source(tmp_path / "empty.slp", "all").n_frames == 200
    with pytest.raises(EmptySourceError, match="holds no video"):
        open_source(sio.Labels(), "all")


@pytest.mark.parametrize(
    "damage", [lambda data: b"nonsense" * 200, lambda data: data[: len(data) // 2], lambda data: b""]
)
def test_a_broken_label_file_is_said_to_be_one(label_file, damage):
    label_file.write_bytes(damage(label_file.read_bytes()))
    with pytest.raises(SourceFormatError, match="cannot be read as a SLEAP label file"):
        open_source(label_file)


def test_another_hdf5_file_is_no_label_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.slp", "w") as file:
        file["x"] = [1, 2, 3]
    with pytest.raises(SourceFormatError, match="cannot be read as a SLEAP label file"):
        open_source(tmp_path / "other.slp")


def test_labels_stand_alone(label_file, video):
    with pytest.raises(SourceFormatError, match="give it alone"):
        open_source([video, label_file])
    with pytest.raises(SourceFormatError, match="give them alone"):
        open_source([video, sio.load_slp(label_file)])


@pytest.fixture
def package(tmp_path, video):
    """Frames 5, 40 and 41, embedded."""
    described = sio.load_video(video)
    labels = sio.Labels(labelled(described, [5, 40, 41]), videos=[described], skeletons=[SKELETON])
    labels.save(str(tmp_path / "labels.pkg.slp"), embed=True, verbose=False)
    return tmp_path / "labels.pkg.slp"


@pytest.mark.parametrize("frames", [None, "all"])
def test_embedded_frames_are_read_without_the_video(package, video, read, same, frames):
    expected = [image for _, image in read(open_source(video, [5, 40, 41]))]
    video.unlink()
    source = open_source(package, frames)
    found = read(source)
    assert source.n_frames == 3
    assert [ref.frame_idx for ref, _ in found] == [5, 40, 41]
    assert [ref.known is None for ref, _ in found] == [frames == "all"] * 3
    same([image for _, image in found], expected)


def test_embedded_frames_are_selected_by_position_in_labels_and_by_index_in_a_video(package, read):
    assert [ref.frame_idx for ref, _ in read(open_source(package, [1]))] == [40]
    embedded = sio.load_slp(package).videos[0]
    assert [ref.frame_idx for ref, _ in read(open_source(embedded, [41]))] == [41]
    with pytest.raises(FrameSelectionError, match=r"Frame 6 .* embeds only these frames: 5, 40, 41"):
        open_source(embedded, [6])


def test_a_labelled_frame_that_is_not_embedded_is_a_failure(package, read):
    labels = sio.load_slp(package)
    labels.append(labelled(labels.videos[0], [7])[0])
    found = read(open_source(labels))
    assert [ref.frame_idx for ref, _ in found] == [5, 7, 40, 41]
    assert [bool(ref.failure) for ref, _ in found] == [False, True, False, False]
    assert "not embedded" in found[1][0].failure


def test_a_package_of_sleap_is_read(corpus, read):
    found = read(open_source(corpus / "labels" / "minimal_instance.pkg.slp"))
    assert [(ref.frame_idx, ref.known.shape, image.shape) for ref, image in found] == [(0, (2, 2, 2), (384, 384, 1))]


@pytest.mark.parametrize("second", [("x", "y"), ("b", "a"), ("b", "x"), ("x", "a")])
@pytest.mark.parametrize("anchor", [None, "a"])
def test_instances_of_every_skeleton_give_crops(second, anchor, video):
    """Around the anchor where an instance's own skeleton has it, else around the mean of its points."""
    from sleap_infer.predictors.known_centroids import known_centroids

    described, other = sio.load_video(video), sio.Skeleton(list(second))
    points = np.array([[10.0, 20.0], [30.0, 60.0]])
    frames = [
        sio.LabeledFrame(video=described, frame_idx=n, instances=[sio.Instance.from_numpy(points, skeleton=skeleton)])
        for n, skeleton in enumerate((SKELETON, other))
    ]
    source = open_source(sio.Labels(frames, videos=[described], skeletons=[SKELETON, other]))
    index = None if anchor is None else source.node_names.index(anchor)
    first, found = (known_centroids(source.parts[0].known[n], index) for n in (0, 1))
    mean = points.mean(axis=0)
    np.testing.assert_allclose(first, [points[0] if anchor else mean])
    np.testing.assert_allclose(found, [points[second.index(anchor)] if anchor in second else mean])


def test_the_cases(cases, corpus):
    pytest.importorskip("torch")
    from sleap_infer import Predictor

    with Predictor.from_model_paths(
        corpus / "models" / "minimal_instance_centered_instance", backend="torch"
    ) as predictor:
        for name in ("two_skeletons.slp", "nodes_renamed.slp"):
            found = predictor.predict(cases / name, as_labels=False)
            assert [len(outputs) for outputs in found] == [1, 1], name
