"""The tuned network in the formats of other programs."""

from samparser_monai.export.onnx import export_onnx
from samparser_monai.export.transformers import export_transformers

__all__ = ["export_onnx", "export_transformers"]
