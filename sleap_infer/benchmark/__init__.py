"""Compare backends, precisions and batch sizes on one model and one video: first their poses, then their speed.

`run.run_benchmark` returns a `report.schema.Report`; `benchmarks/README.md` describes the method. Nothing is imported
here, because worker processes, whose start-up is measured, import this package.
"""
