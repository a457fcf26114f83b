"""Export: a trained model as an ONNX graph from uint8 frames to candidates, checked against its source."""

from sleap_infer.export.exporting import ExportResult, export
from sleap_infer.export.gate import Report, compare_runners

__all__ = ["ExportResult", "Report", "compare_runners", "export"]
