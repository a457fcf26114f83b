"""A `.slp` file as SLEAP Analysis HDF5, by sleap-io: one video as dense arrays, which are made in memory."""

from __future__ import annotations

from pathlib import Path

from sleap_infer.frames.descriptions import absolute

UNTRACKED = (
    "several animals have no track. The tracks of the Analysis HDF5 file are positions in the list of each frame, not "
    "animals: the same track may be another animal in the next frame"
)
"""Why the tracks of a file may be none."""


def write_analysis(path: Path, labels_file: Path, video: int, labels_path: Path | None) -> None:
    """Write one video of a `.slp` file as SLEAP Analysis HDF5.

    Instances without a track get places in the order in which they stand in their frame.

    Args:
        path: of the file to write.
        labels_file: the `.slp` file.
        video: number of the video in it.
        labels_path: of a `.slp` file with the same poses that stays, which the file then names.
    """
    import sleap_io as sio

    labels = sio.load_slp(str(labels_file), open_videos=False, lazy=True)
    name = None if labels_path is None else absolute(labels_path)
    labels.provenance.pop("filename", None)
    if name is not None:
        labels.provenance["filename"] = name
    sio.save_analysis_h5(labels, str(path), video=video, labels_path=name)
