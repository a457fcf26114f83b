"""Runs pose models trained with SLEAP and sleap-nn on videos."""

__version__ = "0.1.0"
