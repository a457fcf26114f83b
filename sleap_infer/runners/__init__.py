"""Runners: one network each, from frames to poses. One short module per backend; see `base` for how to add one."""

from sleap_infer.runners.base import BaseInferenceRunner, Opening
from sleap_infer.runners.fake import FakeRunner
from sleap_infer.runners.registry import find_runner

__all__ = ["BaseInferenceRunner", "FakeRunner", "Opening", "find_runner"]
