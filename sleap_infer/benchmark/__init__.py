"""Backends, precisions and batch sizes on one model and one video: whether they agree, then how fast they are.

`running.run_benchmark` makes a `report.Report`; `benchmarks/README.md` is the contract that it keeps. Nothing is
imported here: the worker processes, whose start is measured, go through this module.
"""
