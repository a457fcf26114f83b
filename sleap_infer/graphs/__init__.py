"""From a trained model to an ONNX graph in a directory of its own, from uint8 frames to candidates. Torch and onnx."""
