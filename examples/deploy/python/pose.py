"""Points of one image, with nothing but onnxruntime, numpy and OpenCV.

python pose.py model.onnx frame.png
"""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import onnxruntime


def load_model(path: str) -> onnxruntime.InferenceSession:
    """Open a graph; once, then it takes any number of images."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it would warn that an input, peak_threshold, has a default
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def node_names(session: onnxruntime.InferenceSession) -> list[str]:
    """Names of the nodes, in the order of the points."""
    return json.loads(session.get_modelmeta().custom_metadata_map["sleap_infer"])["skeleton"]["nodes"]


def find_points(
    session: onnxruntime.InferenceSession, image: np.ndarray, peak_threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) as (x, y), NaN where missing, and values (N,) of a uint8 image: (H, W), or (H, W, 3) as RGB."""
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    fed = {"image": np.ascontiguousarray(planes[None])}  # (1, channels, H, W)
    if peak_threshold is not None:
        fed["peak_threshold"] = np.array(peak_threshold, np.float32)
    peaks, values = session.run(["peaks", "peak_vals"], fed)
    return peaks[0], values[0]


def main(model: str, picture: str) -> None:
    """Print `node x y value`, a line per node."""
    session = load_model(model)
    image = cv2.imread(picture, cv2.IMREAD_ANYCOLOR)
    if image is None:
        sys.exit(f"{picture} cannot be read as an image")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    for node, (x, y), value in zip(node_names(session), *find_points(session, image), strict=True):
        print(f"{node} {x:.3f} {y:.3f} {value:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python pose.py model.onnx frame.png")
    main(*sys.argv[1:])
