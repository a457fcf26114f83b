"""What a user asked for to run the networks on, part of which may be left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sleap_infer.choices import Backend, Precision, PrecisionChoice
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.predictors.factory import Runtime


@frozen
class Request:
    """What a user asked for; `"auto"` and `None` leave it open."""

    backend: str = "auto"
    device: str = "auto"
    precision: PrecisionChoice | None = None
    batch_size: int | None = None
    backend_options: Mapping[str, Any] = field(factory=dict)

    def runtime(self, backend: Backend, precision: Precision | None, batch_size: int | None = None) -> Runtime:
        """What the request becomes with what it left open."""
        sizes = (batch_size, self.batch_size, DEFAULT_BATCH_SIZE)
        size = next(size for size in sizes if size is not None)
        return Runtime(backend, self.device, precision, size, self.backend_options)
