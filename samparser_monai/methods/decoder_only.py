"""The baseline of every SAM fine-tuning paper: the encoder stays, the mask decoder is tuned."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import EMBEDDING
from samparser_monai.spectrum import Step


def decoder_only(sam: Sam, decoder: Decoder = "tuned", step: Step = "relative") -> Sam:
    """Freeze all but the mask decoder.

    Args:
        sam: changed in place, and returned.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
    """
    start(sam, "decoder_only", decoder, step)
    sam.split = EMBEDDING
    return sam
