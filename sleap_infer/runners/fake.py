"""A runner whose network is a function: for tests of everything around a network, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from sleap_infer.candidates import Candidates
from sleap_infer.errors import BackendError
from sleap_infer.model import ModelSpec
from sleap_infer.options import ReturnOptions
from sleap_infer.runners.base import BaseInferenceRunner, Images
from sleap_infer.settings import StageSettings


class FakeRunner(BaseInferenceRunner):
    """Runs a function instead of a network.

    Args:
        function: preprocessed images (B, C, H, W) to candidates.
        spec: the facts of the model that it stands for.
        settings: its resolved settings.
        returned: the heavy things that outputs carry.
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

    @classmethod
    def _open(
        cls,
        path: Path,
        spec: ModelSpec,
        settings: StageSettings,
        returned: ReturnOptions,
        device: str,
        backend_options: Mapping[str, Any],
    ) -> Self:
        raise BackendError("A FakeRunner is made from a function, not from a model's files: FakeRunner(function, ...).")

    def _predict(self, images: Images) -> Candidates:
        return self.function(images)
