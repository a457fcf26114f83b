"""Types of the inference options, for type checkers and editors.

`config.options` is the home of each option: its default, help and checks. A test compares the names and types here with
those there.
"""

from __future__ import annotations

from typing import TypedDict

from sleap_infer.choices import Aim, Decoder, OnFrameError, OverlapMethod, Refinement
from sleap_infer.reports import OnProgress


class OptionValues(TypedDict, total=False):
    """Inference options by name; `None` counts as not given. `config.options` explains each."""

    ensure_rgb: bool | None
    ensure_grayscale: bool | None
    max_height: int | None
    max_width: int | None
    input_scaling: float | None
    pad_to_stride: int | None
    crop_size: int | None
    anchor_part: str | None
    peak_threshold: float | tuple[float, float] | None
    refinement: Refinement | None
    integral_patch_size: int | None
    max_instances: int | None
    max_peaks_per_node: int | None
    n_points: int | None
    max_edge_length_ratio: float | None
    dist_penalty_weight: float | None
    min_line_scores: float | None
    min_instance_peaks: int | float | None
    min_visible_nodes: int | None
    min_visible_node_fraction: float | None
    min_instance_score: float | None
    min_mean_node_score: float | None
    max_overlap: float | None
    overlap_method: OverlapMethod | None
    min_centroid_distance: float | None
    return_images: bool | None
    return_confmaps: bool | None
    return_pafs: bool | None
    return_class_maps: bool | None
    on_frame_error: OnFrameError | None
    decoder: Decoder | None
    aim: Aim | None
    crop_batch_size: int | None
    queue_size: int | None
    ignore_unknown_settings: bool | None


class OpeningOptions(OptionValues, total=False):
    """Inference options, and what takes the lines of progress while models are opened and run."""

    on_progress: OnProgress | None
