"""Read the models that `sleap-nn export` writes."""
