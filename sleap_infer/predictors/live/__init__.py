"""Predict one frame at a time with low latency."""
