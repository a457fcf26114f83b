"""Geometry, preprocessing, postprocessing, and what they work on: candidates, `Outputs`, `sleap_io.Labels`."""
