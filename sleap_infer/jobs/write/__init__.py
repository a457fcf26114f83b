"""From the journal to the requested files: .slp, CSV, Parquet, Analysis HDF5, frame status."""
