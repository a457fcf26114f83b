"""Backends that run exported ONNX graphs: ONNX Runtime and OpenVINO."""
