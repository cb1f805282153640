"""The baseline of every SAM fine-tuning paper: the encoder stays, the mask decoder is tuned."""

from torch import nn

from samparser_monai.methods.parts import start
from samparser_monai.methods.prefixes import EMBEDDING


def decoder_only(sam: nn.Module) -> nn.Module:
    """Freeze all but the mask decoder; the network is changed in place, and returned."""
    start(sam, "tuned")
    sam.split = EMBEDDING
    return sam
