"""What `export_metadata.json` says to other programs."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sleap_infer.graphs.metadata import published_fields
from sleap_infer.model import read_spec
from sleap_infer.model.spec import ExportFacts


@pytest.mark.parametrize(
    ("batch_size", "max_batch_size", "published"), [(None, None, 8), (4, None, 4), (None, 32, 32), (2, 16, 2)]
)
def test_largest_batch_is_a_number(
    models: Path, batch_size: int | None, max_batch_size: int | None, published: int
) -> None:
    """sleap-nn 0.3.5 stops at null. With a number it gives the points of the trained model to 1e-5 px (tried)."""
    facts = ExportFacts(sha256="", n_places=20, batch_size=batch_size, max_batch_size=max_batch_size)
    for model in sorted(models.iterdir()):
        fields = published_fields(attrs.evolve(read_spec(model), exported=facts))
        assert fields["max_batch_size"] == published
