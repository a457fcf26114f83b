"""The mathematics, as free functions.

Torch, traceable, on maps: `peaks`, `pafs`, `classes`. numpy and scipy, on instances: `grouping`, `identity`, `filters`.
numpy, on images: `resize`. Nothing here reads or writes files, and the numpy modules never import torch.
"""
