"""A control for the coefficients: tune the norms beside the same weights."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import TRUNK
from samparser_monai.spectrum import Step


def norms(sam: Sam, decoder: Decoder = "tuned", step: Step = "relative") -> Sam:
    """Tune weight and bias of the two layer norms that end the encoder: 1 024 numbers.

    Norm tuning (https://arxiv.org/abs/2003.00152) scales and shifts channels where SAM-PARSER
    scales pairs of bases: what the one gains and the other does not is what the bases are worth.

    Args:
        sam: changed in place, and returned.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
    """
    start(sam, "norms", decoder, step)
    for norm in sam.image_encoder.neck[1::2]:
        norm.requires_grad_(True)
    sam.split = TRUNK
    return sam
