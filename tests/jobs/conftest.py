"""A model that is loaded without PyTorch, in no time."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def graph(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single-instance model as an exported directory."""
    from sleap_infer.export import ExportOptions, export

    place = tmp_path_factory.mktemp("graph") / "single_instance"
    export(models / "single_instance", place, ExportOptions(validate=False))
    return place
