"""Frames: what is read, in batches. `open_source` takes anything that holds frames.

To add a reader: a class with `n_frames`, `read(frame_inds)` and `close()` as in `frames.reader`, and a line in
`frames.readers.choose`, which chooses readers.
"""

from sleap_infer.frames.batch import FrameBatch, FrameRef
from sleap_infer.frames.opening import open_source
from sleap_infer.frames.source import Source

__all__ = ["FrameBatch", "FrameRef", "Source", "open_source"]
