"""A request for a backend, part of which may be open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sleap_infer.choices import Precision, PrecisionChoice
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.predictors.factory import Runtime
from sleap_infer.runners import BaseInferenceRunner


@frozen
class Request:
    """A request for a backend; `"auto"` and `None` leave a value open."""

    backend: str | type[BaseInferenceRunner] = "auto"
    device: str = "auto"
    precision: PrecisionChoice | None = None
    batch_size: int | None = None
    backend_options: Mapping[str, Any] = field(factory=dict)

    def runtime(
        self, backend: str | type[BaseInferenceRunner], precision: Precision | None, batch_size: int | None = None
    ) -> Runtime:
        """Return what to open, with values for what the request leaves open."""
        sizes = (batch_size, self.batch_size, DEFAULT_BATCH_SIZE)
        size = next(size for size in sizes if size is not None)
        return Runtime(backend, self.device, precision, size, self.backend_options)
