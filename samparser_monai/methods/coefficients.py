"""SAM-PARSER: tune the coefficients of the neck's convolutions, 512 numbers."""

from torch import nn

from samparser_monai.methods.parts import Decoder, start
from samparser_monai.methods.prefixes import PROJECTION
from samparser_monai.spectrum import Step, decompose


def coefficients(sam: nn.Module, decoder: Decoder = "tuned", step: Step = "relative") -> nn.Module:
    """Split the two convolutions of the encoder's neck into bases and coefficients (Eq. 3).

    The bases are frozen, the coefficients are tuned: 256 + 256 numbers for every published
    backbone. The paper tunes all of the mask decoder beside them (Section 2.2).

    Args:
        sam: changed in place, and returned.
        decoder: ``tuned`` or ``frozen``; with it frozen, 512 numbers are all that is tuned.
        step: how a coefficient moves, see SpectralWeight.
    """
    start(sam, decoder)
    for layer in sam.image_encoder.neck:
        if isinstance(layer, nn.Conv2d):
            decompose(layer, step).step.requires_grad_(True)
    sam.split = PROJECTION
    return sam
