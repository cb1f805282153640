"""The layers of SAM that torch computes faster in one kernel than as SAM writes them."""

from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from samparser_monai.sam.channel_norm import ChannelNorm
from samparser_monai.sam.relative_attention import RelativeAttention

FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Attention: RelativeAttention,
    LayerNorm2d: ChannelNorm,
}


def fuse(network: nn.Module) -> None:
    """Let SAM's own layers compute through fused kernels, in place; parameters stay."""
    for module in network.modules():
        if type(module) in FUSED:
            module.__class__ = FUSED[type(module)]
