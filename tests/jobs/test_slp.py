"""The writer in pieces against sleap-io's own, byte for byte where both write the same."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import sleap_io as sio
from jobs import assert_same, models_of, task_in

from sleap_infer import Predictor, save_labels
from sleap_infer.jobs import JobOptions, Task, run_job

PIPELINES = (
    ("single_instance",),
    ("centroid",),
    ("centroid", "centered_instance"),
    ("bottomup",),
    ("multi_class_bottomup",),
    ("centroid", "multi_class_topdown"),
)


@pytest.mark.parametrize("kinds", PIPELINES, ids="+".join)
def test_a_job_writes_what_the_predictor_gives(
    kinds: tuple[str, ...], models: Path, videos: Path, tmp_path: Path
) -> None:
    task = task_in(tmp_path, videos / "two_flies.mp4", frames=tuple(range(22)))
    (report,) = run_job(models_of(models, *kinds), [task], JobOptions(chunk=8), n_workers=0)
    with Predictor.from_model_paths([models / kind for kind in kinds], backend="torch", device="cpu") as predictor:
        labels = predictor.predict(task.sources[0], frames=range(22))
    save_labels(labels, tmp_path / "other.slp")
    assert report.files == (task.output,)
    assert report.n_frames == 22
    assert report.n_instances == sum(len(frame.instances) for frame in labels)
    assert_same(task.output, tmp_path / "other.slp")
    found, expected = (sio.load_slp(str(path)) for path in (task.output, tmp_path / "other.slp"))
    assert found.skeletons[0].node_names == expected.skeletons[0].node_names
    assert [track.name for track in found.tracks] == [track.name for track in expected.tracks]
    left_out = {"inference_runtime_seconds", "frame_selection", "inference_start_timestamp", "inference_end_timestamp"}
    assert set(expected.provenance) - left_out <= set(found.provenance)


def test_embedded_videos_keep_their_names(models: Path, videos: Path, tmp_path: Path) -> None:
    truth = sio.load_slp(str(videos / "two_flies.truth.slp"))
    truth.extract([3, 7, 30]).save(str(tmp_path / "some.pkg.slp"), embed=True, verbose=False)
    task = Task((str(tmp_path / "some.pkg.slp"),), tmp_path / "found.slp")
    run_job(models_of(models, "bottomup"), [task], n_workers=0)
    with Predictor.from_model_paths(models / "bottomup", backend="torch", device="cpu") as predictor:
        save_labels(predictor.predict(tmp_path / "some.pkg.slp"), tmp_path / "other.slp")
    assert_same(task.output, tmp_path / "other.slp")
    assert len(sio.load_slp(str(task.output))) == 3


def test_tables_are_those_of_sleap_io_even_without_frames(models: Path, tmp_path: Path) -> None:
    labels = sio.Labels()
    labels.save(str(tmp_path / "empty.slp"), verbose=False)
    with h5py.File(tmp_path / "empty.slp") as file:
        assert set(file["frames"].dtype.names) == {
            "frame_id",
            "video",
            "frame_idx",
            "instance_id_start",
            "instance_id_end",
        }
        assert "tracking_score" in file["instances"].dtype.names
