"""Decode video files on NVIDIA GPUs."""
