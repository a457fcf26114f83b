"""TensorRT without PyTorch: engines, and batches in flight on a GPU."""
