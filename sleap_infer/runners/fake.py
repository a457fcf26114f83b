"""A runner whose network is a function, for quick tests."""

from __future__ import annotations

from collections.abc import Callable

from sleap_infer.config.options import ReturnOptions
from sleap_infer.model import ModelSpec
from sleap_infer.model.settings import StageSettings
from sleap_infer.poses.candidates import Candidates
from sleap_infer.runners.base import BaseInferenceRunner, Images


class FakeRunner(BaseInferenceRunner):
    """Runs a function instead of a network.

    Args:
        function: maps preprocessed images (B, C, H, W) to candidates.
        spec: the facts of the model that it replaces.
        settings: its resolved settings.
        returned: the large arrays that outputs carry.
    """

    def __init__(
        self,
        function: Callable[[Images], Candidates],
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions | None = None,
    ) -> None:
        super().__init__(spec, settings, returned)
        self.function = function

    def _predict(self, images: Images) -> Candidates:
        return self.function(images)
