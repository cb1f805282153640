"""The promptable network: Segment Anything's parts, its backbones and their published weights."""

from samparser_monai.sam.backbones import BACKBONES, Backbone, backbone_named
from samparser_monai.sam.builder import architecture, build
from samparser_monai.sam.memory import keep_memory
from samparser_monai.sam.network import SamNetwork, Split

__all__ = [
    "BACKBONES",
    "Backbone",
    "SamNetwork",
    "Split",
    "architecture",
    "backbone_named",
    "build",
]

keep_memory()  # whoever computes comes by here
