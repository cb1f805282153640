"""Tune all of the image encoder, the most that any method can."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.spectrum import Step


def full(sam: Sam, decoder: Decoder = "tuned", step: Step = "relative") -> Sam:
    """Release every parameter of the encoder.

    The statistics of batch normalization, which TinyViT has, are no parameters: they stay.

    Args:
        sam: changed in place, and returned.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
    """
    start(sam, "full", decoder, step)
    sam.image_encoder.requires_grad_(True)
    return sam
