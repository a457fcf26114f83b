"""Make the images of the documentation: poses on frames of the package's own videos, and the chart of speed.

    python docs/images/make_images.py

`poses.png` needs PyTorch. `speed.svg` is drawn from `benchmarks/results/versus_sleap_nn.json` alone.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ASSETS = REPOSITORY / "sleap_infer" / "assets"
RESULTS = REPOSITORY / "benchmarks" / "results" / "versus_sleap_nn.json"

PANELS = (
    ("two_flies", ("centroid", "centered_instance"), 5),
    ("two_flies", ("centroid", "centered_instance"), 35),
    ("two_flies_rgb", ("multi_class_bottomup",), 20),
)
"""Video, models and frame of each panel of `poses.png`."""
SIDE, SCALE, MARGIN = 112, 2.5, 6
"""Side of a panel in pixels of the frame, its magnification, and the white space between panels."""

SERIES = (("onnx", "fp32", "fp32 on ONNX Runtime", "#0072b2"), ("openvino", "fp16", "fp16 on OpenVINO", "#e69f00"))
"""Backend, precision, label and colour of each series of `speed.svg`."""
CASES = {
    "single instance": "single instance, 384 x 384",
    "top-down": "top-down, 384 x 384",
    "bottom-up": "bottom-up, 384 x 384",
    "192x192 single instance": "single instance, 192 x 192 *",
    "1024x1024 centroid": "centroid, 1024 x 1024 *",
    "1024x1024 top-down": "top-down, 1024 x 1024 *",
    "1024x1280 bottom-up": "bottom-up, 1024 x 1280 *",
}
"""Cases of the results that are drawn, and their labels."""


def draw_poses(path: Path) -> None:
    """Write crops of three predicted frames, side by side."""
    import numpy as np

    from sleap_infer import Predictor
    from sleap_infer.render.frame import write_image

    panels = []
    for video, models, frame in PANELS:
        paths = [ASSETS / "models" / name for name in models]
        with Predictor.from_model_paths(paths, backend="torch", device="cpu", return_images=True) as predictor:
            (outputs,) = predictor.predict(ASSETS / "videos" / f"{video}.mp4", as_labels=False, frames=[frame])
        picture = outputs.plot(scale=SCALE)
        side = round(SIDE * SCALE)
        centre = np.nanmean(outputs.pred_keypoints, axis=(0, 1)) * SCALE
        left, top = (int(min(max(value - side / 2, 0), len(picture) - side)) for value in centre)
        panels += [picture[top : top + side, left : left + side], np.full((side, MARGIN, 3), 255, np.uint8)]
    write_image(path, np.hstack(panels[:-1]))


def draw_speed(results: dict[str, Any]) -> str:
    """Return an SVG chart: frames per second relative to sleap-nn, a bar for each case and series.

    Only results whose poses agree with sleap-nn's are drawn.

    Args:
        results: content of a JSON file of `benchmarks/versus_sleap_nn.py`.
    """
    left, top, bar, gap, unit = 210, 44, 13, 14, 17.0
    ratios = {
        (row["case"], row["backend"], row["precision"]): row["ratios"]["frames_per_second"]["median"]
        for row in results["rows"]
        if row["verdict"] == "agrees"
    }
    height = top + len(CASES) * (2 * bar + gap) + 44
    parts = []
    for value in range(0, 30, 5):
        x = left + value * unit
        parts.append(f'<line x1="{x}" y1="{top - 6}" x2="{x}" y2="{height - 40}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x}" y="{height - 24}" text-anchor="middle">{value}</text>')
    for number, (case, label) in enumerate(CASES.items()):
        y = top + number * (2 * bar + gap)
        parts.append(f'<text x="{left - 10}" y="{y + bar + 4}" text-anchor="end">{escape(label)}</text>')
        for row, (backend, precision, _, colour) in enumerate(SERIES):
            ratio = ratios.get((case, backend, precision))
            x, middle = left, y + row * bar + bar - 2.5
            if ratio is None:
                parts.append(f'<text x="{x + unit + 6}" y="{middle}" fill="#666666">poses differ</text>')
                continue
            width = ratio * unit
            parts.append(f'<rect x="{x}" y="{y + row * bar}" width="{width:.1f}" height="{bar - 1}" fill="{colour}"/>')
            parts.append(f'<text x="{x + width + 4:.1f}" y="{middle}">{ratio:.1f}</text>')
    x = left + unit
    parts.append(f'<line x1="{x}" y1="{top - 6}" x2="{x}" y2="{height - 40}" stroke="#000000" stroke-dasharray="3 3"/>')
    for number, (_, _, label, colour) in enumerate(SERIES):
        x = left + number * 180
        parts.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="24">{escape(label)}</text>')
    caption = "frames per second, relative to sleap-nn (vertical line: 1)"
    parts.append(f'<text x="{left + 12.5 * unit}" y="{height - 8}" text-anchor="middle">{caption}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="Speed relative to sleap-nn">'
    )
    return "\n".join([head, f'<rect width="700" height="{height}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (HERE / "speed.svg").write_text(draw_speed(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    draw_poses(HERE / "poses.png")
