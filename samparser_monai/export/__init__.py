"""The tuned network in the formats of other programs."""

from samparser_monai.tuned.onnx import export_onnx
from samparser_monai.tuned.transformers import export_transformers

__all__ = ["export_onnx", "export_transformers"]
