"""Export trained models as ONNX graphs with the same poses, checked before they are written."""

from sleap_infer.checks.report import Report
from sleap_infer.checks.validate import validate
from sleap_infer.config.graph_options import ExportOptions
from sleap_infer.export.exporting import export
from sleap_infer.export.result import ExportResult

__all__ = ["ExportOptions", "ExportResult", "Report", "export", "validate"]
