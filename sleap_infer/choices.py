"""The closed lists of names. Each list is written here once; options, CLI help and docs read it from here.

Backends are not among them: other packages may add some (`runners.registry`).
"""

from typing import Literal, TypeAlias

BackboneKind: TypeAlias = Literal["unet", "convnext", "swint"]

ModelFormat: TypeAlias = Literal["sleap-nn", "sleap", "onnx"]
"""Content of a model directory: weights of sleap-nn (PyTorch) or of SLEAP up to 1.4 (Keras), or an exported graph."""

CentroidMethod: TypeAlias = Literal["center_of_mass", "bbox_center", "geometric_median"]
"""Centre of an animal whose points are known: their mean, the middle of their bounding box, or the
point with the smallest sum of distances to them."""

TransposeAlignment: TypeAlias = Literal["sleap-nn", "tensorflow"]
"""Where a stride-2 transposed convolution puts its output; the two differ by one pixel."""

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
"""In what kind of numbers an exported network is stored and computes."""

PrecisionChoice: TypeAlias = Literal["auto", Precision]
"""A precision, or the fastest that keeps within the budget."""

GraphInside: TypeAlias = Literal["network", "scaling", "fitting"]
"""Preprocessing inside an exported graph: none; scaling and padding; these and fitting to a size."""

Layout: TypeAlias = Literal["batched", "flat"]
"""Outputs of a graph: arrays with a fixed number of places for each image, or one row for each point that was found."""

ExportFormat: TypeAlias = Literal["onnx", "mnn", "tensorrt", "both"]
"""Content of an export besides its graph: nothing; its networks for MNN; TensorRT engines, with a graph that is right
for them; the same, and the graph is checked on its own as well."""

Exporter: TypeAlias = Literal["sleap-infer", "sleap-nn"]
"""The program that made an exported graph. Those of sleap-nn have ways of their own, which are undone."""

Refinement: TypeAlias = Literal["integral", "none"]
"""Sub-pixel refinement of a peak: the centre of mass around it, or none."""

OverlapMethod: TypeAlias = Literal["iou", "oks"]
"""Measure of the overlap of two instances: bounding boxes, or keypoints."""

Decoder: TypeAlias = Literal["cpu", "nvdec"]
"""Decoder of video files: FFmpeg on the CPU, or an NVIDIA GPU, where the frames stay."""

Aim: TypeAlias = Literal["throughput", "latency"]
"""Goal of CPU threading: throughput or latency."""

StageName: TypeAlias = Literal["decode", "preprocess", "transfer", "network", "candidates", "grouping", "writing"]
"""Stages of the processing of a frame, in order."""

ProgressForm: TypeAlias = Literal["auto", "bar", "lines", "json", "none"]
"""Forms of progress reports."""

OnFrameError: TypeAlias = Literal["keep_place", "raise"]
"""Effect of an unreadable frame: a frame without instances, or an error that ends the run."""

FrameStatus: TypeAlias = Literal["ok", "empty", "decode_failed", "predict_failed", "skipped"]
"""Status of a frame of a job: poses; none, since nobody is there; unreadable; without a result, since the network
or the process failed on it; or never tried."""

OutputFormat: TypeAlias = Literal["slp", "analysis_h5", "csv", "parquet", "ledger"]
"""Formats of results."""

Engine: TypeAlias = Literal["local", "ray"]
"""Where the workers of a job run: on this machine, or on a Ray cluster."""
