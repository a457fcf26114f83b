"""Comparing poses, for several tests."""

from __future__ import annotations

import numpy as np

from sleap_infer import Outputs


def close(found: list[Outputs], expected: list[Outputs]) -> None:
    """Same instances, points within 0.01 px, scores within 1e-3."""
    assert len(found) == len(expected) > 0
    assert sum(out.n_instances for out in expected) > 0
    for given, wanted in zip(found, expected, strict=True):
        for name in ("pred_keypoints", "pred_centroids", "instance_scores", "pred_peak_values", "pred_classes"):
            a, b = getattr(given, name), getattr(wanted, name)
            assert (a is None) == (b is None)
            if a is not None:
                tolerance = 0.01 if name in ("pred_keypoints", "pred_centroids") else 1e-3
                np.testing.assert_allclose(a, b, atol=tolerance, rtol=0, err_msg=name)
