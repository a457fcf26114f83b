"""PyTorch, eager and compiled, on CPUs and GPUs."""
