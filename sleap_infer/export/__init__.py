"""Export: trained models as ONNX graphs that give the same poses, checked before they are put in place."""

from sleap_infer.export.exporting import export
from sleap_infer.export.report import Report
from sleap_infer.export.result import ExportResult
from sleap_infer.export.validating import validate
from sleap_infer.graph_options import ExportOptions

__all__ = ["ExportOptions", "ExportResult", "Report", "export", "validate"]
